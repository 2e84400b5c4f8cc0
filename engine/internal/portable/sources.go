package portable

import (
	"errors"
	"net"
	"net/netip"

	"systole/engine/internal/network"
)

// A source is a socket: source number i is socket i-1.

// errNoDevice refuses an interface.
var errNoDevice = errors.New("the choice of an interface needs Linux")

// SourceOf returns the source with a local address. An interface is refused, unless it is the zone of
// an address that a socket is bound to.
func (n *Sockets) SourceOf(local netip.Addr, device string) (uint8, error) {
	switch {
	case device != "":
		return network.AnySource, &network.Error{Op: "send through the interface " + device, Err: errNoDevice,
			Help: "give a local address of that interface in place of it, and listen there"}
	case !local.IsValid():
		return network.AnySource, nil
	}
	want := network.AddrFrom(netip.AddrPortFrom(local, 0))
	for i, s := range n.list {
		if s.local.SameIP(&want) && !s.isWildcard() {
			return uint8(i + 1), nil
		}
	}
	return network.AnySource, &network.Error{Op: "send from " + local.String(), Err: error(noAddress),
		Help: "listen on this address: a socket on any address sends from where the routes choose"}
}

// Source returns the socket of datagram j, if the routes would choose another one.
func (n *Sockets) Source(j int) uint8 {
	if n.SocketFor(n.From(j), network.AnySource) == n.at {
		return network.AnySource
	}
	return n.at + 1
}

// SocketFor returns the socket of a source; for network.AnySource, the one that is bound to the source
// address of the route to addr, or a socket on any address.
func (n *Sockets) SocketFor(addr *network.Addr, source uint8) uint8 {
	if source != network.AnySource {
		return n.ofFamily(source-1, addr)
	}
	first, several := uint8(network.NoSocket), false
	for i, s := range n.list {
		if s.is6() == addr.Is6() {
			several = several || first != network.NoSocket
			first = min(first, uint8(i))
		}
	}
	if !several {
		return first
	}
	return n.onRoute(addr, first)
}

// ofFamily returns socket i if it can send to addr.
func (n *Sockets) ofFamily(i uint8, addr *network.Addr) uint8 {
	if int(i) >= len(n.list) || n.list[i].is6() != addr.Is6() {
		return network.NoSocket
	}
	return i
}

// onRoute returns the socket of the route to addr, else one on any address, else the first one.
func (n *Sockets) onRoute(addr *network.Addr, first uint8) uint8 {
	source, err := routeSource(addr)
	best := uint8(network.NoSocket)
	for i, s := range n.list {
		switch {
		case s.is6() != addr.Is6():
		case err == nil && s.local.SameIP(&source):
			return uint8(i)
		case s.isWildcard():
			best = min(best, uint8(i))
		}
	}
	if best == network.NoSocket {
		return first
	}
	return best
}

// routeSource returns the local address of the route to addr. It connects a socket, which sends nothing.
func routeSource(addr *network.Addr) (network.Addr, error) {
	family := "udp6"
	if addr.Is4() {
		family = "udp4"
	}
	c, err := net.DialUDP(family, nil, net.UDPAddrFromAddrPort(addr.AddrPort()))
	if err != nil {
		return network.Addr{}, err
	}
	source := network.AddrFrom(c.LocalAddr().(*net.UDPAddr).AddrPort())
	return source, c.Close()
}
