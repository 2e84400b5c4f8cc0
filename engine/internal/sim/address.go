package sim

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"systole/engine/internal/udp"
)

// address is one address of a host. Each lies on a plane, and a link joins two hosts on one
// plane: the first addresses on plane 0, the second ones on plane 1, as two networks do.
type address struct {
	port  netip.AddrPort
	own   udp.Addr // port, as the host's sockets have it
	seen  udp.Addr // as others see it: another one behind a NAT
	plane int
}

// holder is the host that has an address, nil once nobody has it, and the plane of the address.
type holder struct {
	host  *Host
	plane int
}

// Addr returns the address at which others reach the host: the first that it has, the zero
// AddrPort if it has none.
func (h *Host) Addr() netip.AddrPort {
	if len(h.addrs) == 0 {
		return netip.AddrPort{}
	}
	return h.addrs[0].seen.AddrPort()
}

// Addrs returns the addresses at which others reach the host.
func (h *Host) Addrs() []netip.AddrPort {
	var out []netip.AddrPort
	for i := range h.addrs {
		out = append(out, h.addrs[i].seen.AddrPort())
	}
	return out
}

// AddAddr gives the host one more address, on the plane after those of the addresses that it
// has. The error says that another host has it.
func (h *Host) AddAddr(addr netip.AddrPort) error {
	a := udp.AddrFrom(addr)
	if w := h.world.at[a]; w.host != nil {
		return fmt.Errorf("sim: host %q at %v: host %q has that address", h.Name, addr, w.host.Name)
	}
	h.hold(addr, len(h.addrs))
	h.mine = append(h.mine, a)
	return nil
}

// hold adds an address that nobody has, in the order of the planes.
func (h *Host) hold(addr netip.AddrPort, plane int) {
	a := udp.AddrFrom(addr)
	i := len(h.addrs)
	for i > 0 && h.addrs[i-1].plane > plane {
		i--
	}
	h.addrs = slices.Insert(h.addrs, i, address{addr, a, a, plane})
	h.epoch++
	if !slices.Contains(h.listens, a) {
		h.listens = append(h.listens, a)
	}
	h.world.at[a] = holder{h, plane}
	h.world.planes = max(h.world.planes, plane+1)
}

// Take gives the host an address at once, whoever had it: a virtual address that fails over, or
// one that a new pod gets. A socket that is bound to it stays without. It keeps its plane.
func (h *Host) Take(addr netip.AddrPort) {
	before := h.world.at[udp.AddrFrom(addr)]
	switch before.host {
	case h:
		return
	case nil:
	default:
		before.host.Release(addr)
	}
	h.hold(addr, before.plane)
}

// Release takes an address from the host. Nobody has it then.
func (h *Host) Release(addr netip.AddrPort) {
	if i := h.seenAs(udp.AddrFrom(addr)); i >= 0 {
		h.world.at[h.addrs[i].seen] = holder{nil, h.addrs[i].plane}
		h.addrs = slices.Delete(h.addrs, i, i+1)
		h.epoch++
	}
}

// Move gives the host another first address in place of the one that it has.
func (h *Host) Move(to netip.AddrPort) {
	if i := slices.Index(h.mine, h.addrs[0].own); i >= 0 {
		h.mine[i] = udp.AddrFrom(to)
	}
	h.Release(h.Addr())
	h.hold(to, 0)
}

// Rebind has a NAT show others another address in place of the host's first one. The host
// does not learn of it, and nothing reaches it any more at the address that it had.
func (h *Host) Rebind(to netip.AddrPort) {
	if len(h.addrs) == 0 {
		return
	}
	a := &h.addrs[0]
	delete(h.world.at, a.seen)
	a.seen = udp.AddrFrom(to)
	h.world.at[a.seen] = holder{h, a.plane}
}

// seenAs returns the number of the address that others see as addr, -1 if the host has none.
func (h *Host) seenAs(addr udp.Addr) int {
	return slices.IndexFunc(h.addrs, func(a address) bool { return a.seen == addr })
}

// owns returns the number of the address that the host's sockets know as addr.
func (h *Host) owns(addr udp.Addr) int {
	return slices.IndexFunc(h.addrs, func(a address) bool { return a.own == addr })
}

// Route has what goes to an address leave from one of the host's, where the process does not
// choose. Without a route, the source is the host's address on the same plane or, if that is none
// of the family, its first one.
func (h *Host) Route(to, source netip.AddrPort) {
	if h.routes == nil {
		h.routes = make(map[udp.Addr]udp.Addr)
	}
	h.routes[udp.AddrFrom(to)] = udp.AddrFrom(source)
	h.epoch++
}

// sourceFor returns the number of the address that the routes choose for what goes to addr, -1
// if there is none.
func (h *Host) sourceFor(addr *udp.Addr) int {
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

// RefuseTo makes every send to an address fail with errno, as a local firewall does, until
// it is 0.
func (h *Host) RefuseTo(to netip.AddrPort, errno unix.Errno) {
	if h.refusals == nil {
		h.refusals = make(map[udp.Addr]unix.Errno)
	}
	h.refusals[udp.AddrFrom(to)] = errno
}

// HasTrouble reports whether the host has no carrier, refuses sends, or lacks an address that it
// was given.
func (h *Host) HasTrouble() bool {
	refuses := h.Refuse != 0 || slices.ContainsFunc(h.mine, func(own udp.Addr) bool { return h.owns(own) < 0 })
	for _, errno := range h.refusals {
		refuses = refuses || errno != 0
	}
	return refuses || h.Unplugged
}

// RefuseNone ends every refusal of sends.
func (h *Host) RefuseNone() {
	h.Refuse = 0
	clear(h.refusals)
}
