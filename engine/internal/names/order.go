package names

import "net/netip"

// order returns the addresses of an answer in the order in which they are tried: each once,
// families in turn, the first address's first (RFC 8305, section 4). An answer with the
// addresses of before keeps their order: name servers rotate it, and then the next one would
// be any one.
func order(before, answer []netip.Addr) []netip.Addr {
	var families [2][]netip.Addr
	seen := make(map[netip.Addr]bool, len(answer))
	for _, a := range answer {
		a = a.Unmap()
		if !a.IsValid() || seen[a] {
			continue
		}
		seen[a] = true
		family := 0
		if len(families[0]) > 0 && a.Is4() != families[0][0].Is4() {
			family = 1
		}
		families[family] = append(families[family], a)
	}
	if len(before) == len(seen) && allOf(before, seen) {
		return before
	}
	return inTurn(families[0], families[1])
}

// allOf reports whether all addresses are in the set.
func allOf(addrs []netip.Addr, set map[netip.Addr]bool) bool {
	for _, a := range addrs {
		if !set[a] {
			return false
		}
	}
	return true
}

// inTurn returns one of each in turn, then the rest of the longer one.
func inTurn(first, second []netip.Addr) []netip.Addr {
	out := make([]netip.Addr, 0, len(first)+len(second))
	for i := range max(len(first), len(second)) {
		if i < len(first) {
			out = append(out, first[i])
		}
		if i < len(second) {
			out = append(out, second[i])
		}
	}
	return out
}

// sameAddr reports whether a and b are one address. A zone has two forms, a name and a number,
// so it is not compared.
func sameAddr(a, b netip.AddrPort) bool {
	return a.Port() == b.Port() && a.Addr().WithZone("") == b.Addr().WithZone("")
}
