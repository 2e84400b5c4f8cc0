package names

import (
	"net/netip"
	"slices"
)

// order returns the addresses of an answer in the order in which they are tried: each once,
// families in turn, that of the first address first (RFC 8305, section 4). An answer with the
// addresses of before keeps their order, because name servers rotate theirs.
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
	unlisted := func(a netip.Addr) bool { return !seen[a] }
	if len(before) == len(seen) && !slices.ContainsFunc(before, unlisted) {
		return before
	}
	out := make([]netip.Addr, 0, len(seen))
	for i := range len(seen) {
		for _, f := range families {
			if i < len(f) {
				out = append(out, f[i])
			}
		}
	}
	return out
}

// sameAddr reports whether a and b are one address. Zones are not compared, because a zone has two
// forms: a name and a number.
func sameAddr(a, b netip.AddrPort) bool {
	return a.Port() == b.Port() && a.Addr().WithZone("") == b.Addr().WithZone("")
}
