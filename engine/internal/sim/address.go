package sim

import (
	"fmt"
	"net/netip"
	"slices"

	"systole/engine/internal/network"
)

// address is one address of a host. Planes model separate networks: plane 0 joins the first
// addresses of all hosts, plane 1 the second ones.
type address struct {
	own   network.Addr // as the host's sockets see it
	seen  network.Addr // as other hosts see it; differs from own behind a NAT
	plane int
}

// holder is the host that holds an address, nil after a release, and the plane of the address.
type holder struct {
	host  *Host
	plane int
}

// Addr returns the first address at which others reach the host, or the zero AddrPort.
func (h *Host) Addr() netip.AddrPort {
	if len(h.addrs) == 0 {
		return netip.AddrPort{}
	}
	return h.addrs[0].seen.AddrPort()
}

// Addrs returns all addresses at which others reach the host.
func (h *Host) Addrs() []netip.AddrPort {
	var out []netip.AddrPort
	for i := range h.addrs {
		out = append(out, h.addrs[i].seen.AddrPort())
	}
	return out
}

// AddAddr gives the host one more address, on the next plane. It fails if another host holds the
// address.
func (h *Host) AddAddr(addr netip.AddrPort) error {
	a := network.AddrFrom(addr)
	if w := h.world.at[a]; w.host != nil {
		return fmt.Errorf("sim: host %q: address %v: host %q holds it", h.Name, addr, w.host.Name)
	}
	h.hold(addr, len(h.addrs))
	h.given = append(h.given, a)
	return nil
}

// hold adds an address that no host holds. Addresses are sorted by plane.
func (h *Host) hold(addr netip.AddrPort, plane int) {
	a := network.AddrFrom(addr)
	i := len(h.addrs)
	for i > 0 && h.addrs[i-1].plane > plane {
		i--
	}
	h.addrs = slices.Insert(h.addrs, i, address{a, a, plane})
	h.epoch++
	if !slices.Contains(h.held, a) {
		h.held = append(h.held, a)
	}
	h.world.at[a] = holder{h, plane}
	h.world.planes = max(h.world.planes, plane+1)
}

// Take moves an address to the host from whichever host holds it, as a virtual address fails over or
// a new pod gets a used one. The address keeps its plane. Sockets that the previous holder bound to it
// receive nothing more.
func (h *Host) Take(addr netip.AddrPort) {
	before := h.world.at[network.AddrFrom(addr)]
	if before.host == h {
		return
	}
	if before.host != nil {
		before.host.Release(addr)
	}
	h.hold(addr, before.plane)
}

// Release takes an address from the host. No host holds it afterwards.
func (h *Host) Release(addr netip.AddrPort) {
	if i := h.seenAs(network.AddrFrom(addr)); i >= 0 {
		h.world.at[h.addrs[i].seen] = holder{nil, h.addrs[i].plane}
		h.addrs = slices.Delete(h.addrs, i, i+1)
		h.epoch++
	}
}

// Move replaces the first address of the host.
func (h *Host) Move(to netip.AddrPort) {
	if i := slices.Index(h.given, h.addrs[0].own); i >= 0 {
		h.given[i] = network.AddrFrom(to)
	}
	h.Release(h.Addr())
	h.hold(to, 0)
}

// Rebind changes the NAT binding of the host's first address: other hosts see the address to instead,
// and what they send to the previous one is lost. The host does not notice.
func (h *Host) Rebind(to netip.AddrPort) {
	if len(h.addrs) == 0 {
		return
	}
	a := &h.addrs[0]
	delete(h.world.at, a.seen)
	a.seen = network.AddrFrom(to)
	h.world.at[a.seen] = holder{h, a.plane}
}

// seenAs returns the index of the address that others see as addr, or -1.
func (h *Host) seenAs(addr network.Addr) int {
	return slices.IndexFunc(h.addrs, func(a address) bool { return a.seen == addr })
}

// owns returns the index of the address that the host's sockets see as addr, or -1.
func (h *Host) owns(addr network.Addr) int {
	return slices.IndexFunc(h.addrs, func(a address) bool { return a.own == addr })
}

// Route sets the source address of datagrams to an address, for sockets that choose none. Without a
// route the source is the host's address on the same plane, else its first one of the family.
func (h *Host) Route(to, source netip.AddrPort) {
	if h.routes == nil {
		h.routes = make(map[network.Addr]network.Addr)
	}
	h.routes[network.AddrFrom(to)] = network.AddrFrom(source)
	h.epoch++
}

// sourceFor returns the index of the address that the routes choose as source for addr, or -1.
func (h *Host) sourceFor(addr *network.Addr) int {
	if source, ok := h.routes[*addr]; ok {
		if i := h.owns(source); i >= 0 {
			return i
		}
	}
	plane, first := h.world.at[*addr].plane, -1
	for i := range h.addrs {
		if a := &h.addrs[i]; a.own.Is6() != addr.Is6() {
			continue
		} else if a.plane == plane {
			return i
		}
		if first < 0 {
			first = i
		}
	}
	return first
}

// RefuseTo makes every send to an address fail with a refusal, as a local firewall does.
// network.Sent ends that.
func (h *Host) RefuseTo(to netip.AddrPort, why network.Refusal) {
	if h.refusals == nil {
		h.refusals = make(map[network.Addr]network.Refusal)
	}
	h.refusals[network.AddrFrom(to)] = why
}

// HasTrouble reports whether the host has no carrier, refuses sends, or lost an address that it
// was given.
func (h *Host) HasTrouble() bool {
	for _, why := range h.refusals {
		if why != 0 {
			return true
		}
	}
	lost := slices.ContainsFunc(h.given, func(own network.Addr) bool { return h.owns(own) < 0 })
	return lost || h.Refuse != 0 || h.Unplugged
}

// RefuseNone ends every refusal of sends.
func (h *Host) RefuseNone() {
	h.Refuse = 0
	clear(h.refusals)
}
