package engine

import (
	"cmp"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"systole/engine/internal/netlink"
	"systole/engine/internal/network"
	"systole/engine/internal/udp"
)

// source is a local address and an interface to send from, in place of those that the
// routes choose. It is immutable: if its interface gets another index, another source
// replaces it.
type source struct {
	socket uint8        // the socket, or network.NoSocket for any that can send from local
	local  network.Addr // the local address, with port 0; the zero Addr leaves it to the routes
	device uint32       // the interface's index; 0 leaves it to the routes
	name   string       // the interface's name, if the source follows the name
}

// anySource is the source network.AnySource: the routes choose.
var anySource = source{socket: network.NoSocket}

// sources is the table of an engine's sources, numbered from 1; 0 is network.AnySource.
// A source is added under the lock and never removed. Any goroutine may read.
type sources struct {
	mu    sync.Mutex
	n     int
	table [maxSources + 1]atomic.Pointer[source]
}

const (
	maxSources = 255
	// maxLearned bounds the sources that arriving datagrams add: on a host that owns a whole
	// network, strangers could take those that peers are configured with.
	maxLearned = 191
	// noDevice is an index that no interface has: the kernel refuses it with ENODEV.
	noDevice = 1<<31 - 1
)

// at returns the source with a number.
func (t *sources) at(number uint8) *source {
	if s := t.table[number].Load(); s != nil {
		return s
	}
	return &anySource
}

// add returns the number of a source equal to want. It adds one unless the table has it;
// it reports false if the table has limit sources.
func (t *sources) add(want source, limit int) (uint8, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := 1; i <= t.n; i++ {
		have := *t.table[i].Load()
		if want.name != "" {
			have.device = want.device // the present index of the name
		}
		if have == want {
			t.table[i].Store(&want)
			return uint8(i), true
		}
	}
	if t.n >= limit {
		return network.AnySource, false
	}
	t.n++
	t.table[t.n].Store(&want)
	return uint8(t.n), true
}

// setName records that the interface with an index has a name: sources with this name
// get the index, and sources with another name lose it.
func (t *sources) setName(index uint32, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := 1; i <= t.n; i++ {
		s := *t.table[i].Load()
		switch {
		case s.name == name && s.device != index:
			s.device = index
		case s.name != "" && s.name != name && s.device == index:
			s.device = noDevice
		default:
			continue
		}
		s.local.SetScope(s.device)
		t.table[i].Store(&s)
	}
}

// SourceOf checks a local address and an interface against the kernel, and adds them.
func (n *sockets) SourceOf(local netip.Addr, device string) (uint8, error) {
	local = local.Unmap()
	device = cmp.Or(device, local.Zone())
	if !local.IsValid() && device == "" {
		return network.AnySource, nil
	}
	const op = "choose a source"
	n.queryMu.Lock()
	defer n.queryMu.Unlock()
	if n.closed {
		return network.AnySource, &udp.Error{Op: op, Err: ErrClosed}
	}
	s := source{socket: network.NoSocket, name: device}
	if device != "" {
		index, err := n.list[0].Device(device)
		if err != nil {
			return network.AnySource, err
		}
		s.device = uint32(index)
	}
	if local.IsValid() {
		if err := n.setLocal(&s, local); err != nil {
			return network.AnySource, err
		}
	}
	number, ok := n.sources().add(s, maxSources)
	if !ok {
		return network.AnySource, &udp.Error{Op: op, Err: unix.ENOSPC,
			Help: "an engine has at most " + strconv.Itoa(maxSources) + " pairs of local address and interface"}
	}
	return number, nil
}

// setLocal sets the local address of a source, or returns why the kernel or the sockets
// cannot send from it. It is called with queryMu held.
func (n *sockets) setLocal(s *source, local netip.Addr) error {
	refused := func(err error, help string) error {
		return &udp.Error{Op: "send from " + local.String(), Err: err, Help: help}
	}
	switch {
	case local.IsUnspecified():
		return refused(unix.EINVAL, "leave the address out, and the routes choose one")
	case local.IsLinkLocalUnicast() && local.Is6() && s.device == 0:
		return refused(unix.EINVAL, "a link-local address needs an interface")
	}
	s.local = network.AddrFrom(netip.AddrPortFrom(local.WithZone(""), 0))
	s.local.SetScope(s.device)
	if n.routes != nil { // otherwise the kernel refuses the datagrams
		own, err := n.routes.IsLocal(local, int(s.local.Scope()))
		switch {
		case err != nil:
			return refused(err, "")
		case !own:
			return refused(unix.EADDRNOTAVAIL, "no interface of this host has this address")
		}
	}
	if n.boundTo(&s.local) == network.NoSocket {
		return refused(unix.EADDRNOTAVAIL, "no socket listens there: listen on it, or on any address")
	}
	return nil
}

// route asks the kernel for the route of a datagram to addr, through a device unless that
// is 0, and reports whether the kernel answered. A scope of addr is its device.
func (n *sockets) route(addr *network.Addr, device uint32) (netlink.Route, bool) {
	n.queryMu.Lock()
	defer n.queryMu.Unlock()
	if n.routes == nil {
		return netlink.Route{}, false
	}
	route, err := n.routes.To(addr.IP(), int(cmp.Or(addr.Scope(), device)))
	return route, err == nil
}

// Source returns the socket that datagram j arrived on and the address that it was sent
// to, as a source, unless an answer would leave from there anyway.
func (n *sockets) Source(j int) uint8 {
	i, from := n.received, n.in.From(j)
	s := n.list[i]
	pinned := n.SocketFor(from, network.AnySource) != i
	want := source{socket: i}
	if isWildcard(s) {
		local := n.in.Local(j)
		if ip := local.IP(); !ip.IsValid() || ip.IsMulticast() {
			return network.AnySource // nothing can be sent from there
		}
		route, _ := n.route(from, 0)
		pinned = pinned || local.IP() != route.Source
		want.local, want.device = local, local.Scope()
	}
	if !pinned || s.Is6() != from.Is6() {
		return network.AnySource
	}
	number, _ := n.sources().add(want, maxLearned)
	return number
}

// SocketFor returns the socket of a source; for network.AnySource, the socket that is
// bound to the source address of the route to addr.
func (n *sockets) SocketFor(addr *network.Addr, number uint8) uint8 {
	s := n.sources().at(number)
	i, several := n.ofFamily(addr)
	switch {
	case s.socket != network.NoSocket:
		i = s.socket
	case !s.local.IsZero():
		i = n.boundTo(&s.local)
	case several:
		i = n.onRoute(addr, s.device)
	}
	if i != network.NoSocket && n.list[i].Is6() != addr.Is6() {
		return network.NoSocket
	}
	return i
}

// ofFamily returns the first socket of addr's family, and whether there are several.
func (n *sockets) ofFamily(addr *network.Addr) (first uint8, several bool) {
	first = network.NoSocket
	for i, s := range n.list {
		switch {
		case s.Is6() != addr.Is6():
		case first == network.NoSocket:
			first = uint8(i)
		default:
			return first, true
		}
	}
	return first, false
}

// boundTo returns the socket that is bound to a local address or, without one, the first
// wildcard socket of its family.
func (n *sockets) boundTo(local *network.Addr) uint8 {
	wildcard := uint8(network.NoSocket)
	for i, s := range n.list {
		switch {
		case s.Is6() != local.Is6():
		case s.LocalAddr().SameIP(local):
			return uint8(i)
		case wildcard == network.NoSocket && isWildcard(s):
			wildcard = uint8(i)
		}
	}
	return wildcard
}

// onRoute returns the socket that is bound to the source address of the route to addr, or
// a wildcard socket, or the first socket that matches addr best.
func (n *sockets) onRoute(addr *network.Addr, device uint32) uint8 {
	if route, _ := n.route(addr, device); route.Source.IsValid() {
		local := network.AddrFrom(netip.AddrPortFrom(route.Source, 0))
		local.SetScope(uint32(route.Device))
		if i := n.boundTo(&local); i != network.NoSocket {
			return i
		}
	}
	best, most := uint8(network.NoSocket), -1
	for i, s := range n.list {
		if m := match(s, addr); s.Is6() == addr.Is6() && m > most {
			best, most = uint8(i), m
		}
	}
	return best
}

// match ranks a socket for a datagram to addr without a route: a wildcard socket is best,
// and a socket on loopback, or on a link, matches addresses there.
func match(s *udp.Socket, addr *network.Addr) (rank int) {
	local := s.LocalAddr()
	if isWildcard(s) {
		return 4
	}
	if local.IP().IsLoopback() == addr.IP().IsLoopback() {
		rank += 2
	}
	if local.Scope() == addr.Scope() {
		rank++
	}
	return rank
}

// isWildcard reports whether a socket receives datagrams to any address.
func isWildcard(s *udp.Socket) bool { return s.LocalAddr().IP().IsUnspecified() }

// sources returns the engine's table.
func (n *sockets) sources() *sources { return &n.interfaces.sources }

// commitFrom commits a datagram with its source. A socket that is bound to an address
// sends from that address whatever the source says.
func (n *sockets) commitFrom(i, size int, to *network.Addr, s *source) int {
	b, local, bound := n.senders[i], &s.local, !isWildcard(n.list[i])
	if bound {
		local = n.list[i].LocalAddr()
	}
	if bound && s.device == 0 || !local.IsZero() && local.Is6() != to.Is6() {
		return b.Commit(size, to) // the kernel refuses another family
	}
	return b.CommitFrom(size, to, local, s.device)
}
