package engine

import (
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"systole/engine/internal/netlink"
	"systole/engine/internal/network"
	"systole/engine/internal/udp"
)

// source is where a datagram is to leave from, in place of what the routes choose. It does
// not change; one that must, because an interface has a new index, is replaced.
type source struct {
	socket uint8    // the socket, or network.NoSocket for whichever has local
	local  udp.Addr // the local address, with port 0; the zero Addr: the routes choose
	device uint32   // the interface's index, 0: the routes choose
	name   string   // the interface's, if the source follows it
}

// sources are the sources of an engine, numbered from 1; 0 is network.AnySource. One is
// added under the lock and never taken away. Any goroutine reads them.
type sources struct {
	mu    sync.Mutex
	n     int
	table [maxSources + 1]atomic.Pointer[source]
}

const (
	// maxSources bounds the sources.
	maxSources = 255
	// maxLearned bounds those at which the sources that datagrams teach end: on a host that
	// has a whole network as its own, strangers could take what peers are configured with.
	maxLearned = 191
	// noDevice is the index of no interface: sending through it is refused with ENODEV.
	noDevice = 1<<31 - 1
)

// at returns a source, nil for network.AnySource.
func (t *sources) at(i uint8) *source { return t.table[i].Load() }

// number returns the number of a source equal to want, which is added if need be and there
// are fewer than limit. Otherwise it reports false.
func (t *sources) number(want source, limit int) (uint8, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := 1; i <= t.n; i++ {
		have := *t.table[i].Load()
		if want.name != "" {
			have.device = want.device // the one that the name has now
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

// follow takes note that the interface with the index has the name: sources that follow the
// name leave through it, those that follow another and had its index through none.
func (t *sources) follow(index uint32, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := 1; i <= t.n; i++ {
		s := *t.table[i].Load()
		switch {
		case s.name == "":
			continue
		case s.name == name && s.device != index:
			s.device = index
		case s.name != name && s.device == index:
			s.device = noDevice
		default:
			continue
		}
		if !s.local.IsZero() {
			s.local.SetScope(s.device)
		}
		t.table[i].Store(&s)
	}
}

// SourceOf validates a local address and a device against the kernel, and numbers them.
func (n *sockets) SourceOf(local netip.Addr, device string) (uint8, error) {
	local = local.Unmap()
	if local.Zone() != "" && device == "" {
		device = local.Zone()
	}
	if !local.IsValid() && device == "" {
		return network.AnySource, nil
	}
	s := source{socket: network.NoSocket, name: device}
	if device != "" {
		index, err := n.deviceOf(device)
		if err != nil {
			return network.AnySource, err
		}
		s.device = uint32(index)
	}
	if local.IsValid() {
		if err := n.checkLocal(local, &s); err != nil {
			return network.AnySource, err
		}
	}
	i, ok := n.sources().number(s, maxSources)
	if !ok {
		return network.AnySource, &udp.Error{Op: "send from another local address", Err: unix.ENOSPC,
			Help: "an engine has at most " + strconv.Itoa(maxSources) + " pairs of local address and interface"}
	}
	return i, nil
}

// checkLocal sets a source's local address, or says why datagrams cannot leave from it.
func (n *sockets) checkLocal(local netip.Addr, s *source) error {
	op := "send from " + local.String()
	switch {
	case local.IsUnspecified():
		return &udp.Error{Op: op, Err: unix.EINVAL, Help: "leave the address out, and the routes choose one"}
	case local.IsLinkLocalUnicast() && local.Is6() && s.device == 0:
		return &udp.Error{Op: op, Err: unix.EINVAL, Help: "a link-local address needs an interface"}
	}
	s.local = udp.AddrFrom(netip.AddrPortFrom(local.WithZone(""), 0))
	s.local.SetScope(s.device)
	mine, err := n.isLocal(&s.local)
	switch {
	case err != nil:
		return &udp.Error{Op: op, Err: err}
	case !mine:
		return &udp.Error{Op: op, Err: unix.EADDRNOTAVAIL, Help: "no interface of this host has this address"}
	case n.boundTo(&s.local) == network.NoSocket:
		return &udp.Error{Op: op, Err: unix.EADDRNOTAVAIL, Help: "no socket listens there: listen on it, or on any address"}
	}
	return nil
}

// deviceOf asks the kernel for the index of an interface.
func (n *sockets) deviceOf(name string) (int, error) {
	n.asking.Lock()
	defer n.asking.Unlock()
	if n.closed {
		return 0, &udp.Error{Op: "look up the interface " + strconv.Quote(name), Err: ErrClosed}
	}
	return n.list[0].Device(name)
}

// isLocal asks the kernel whether an address is this host's.
func (n *sockets) isLocal(addr *udp.Addr) (bool, error) {
	n.asking.Lock()
	defer n.asking.Unlock()
	if n.routes == nil {
		return true, nil // sending will tell
	}
	return n.routes.IsLocal(addr.IP(), int(addr.Scope()))
}

// route asks the kernel for the route of a datagram to addr, through a device unless that
// is 0, and reports whether the kernel answered. A scope of addr is its device.
func (n *sockets) route(addr *udp.Addr, device uint32) (netlink.Route, bool) {
	n.asking.Lock()
	defer n.asking.Unlock()
	if n.routes == nil {
		return netlink.Route{}, false
	}
	if scope := addr.Scope(); scope != 0 {
		device = scope
	}
	way, err := n.routes.To(addr.IP(), int(device))
	return way, err == nil
}

// Source pins the answer to datagram j to the socket that it came through and the address
// that it was written to, unless the routes choose them anyway.
func (n *sockets) Source(j int) uint8 {
	i, from := n.received, n.in.From(j)
	s := n.list[i]
	pinned := n.SocketFor(from, network.AnySource) != i
	want := source{socket: i}
	if n.wildcard(i) {
		local := n.in.Local(j)
		if ip := local.IP(); !ip.IsValid() || ip.IsMulticast() {
			return network.AnySource // nothing can leave from there
		}
		way, _ := n.route(from, 0)
		pinned = pinned || local.IP() != way.Source
		want.local, want.device = local, local.Scope()
	}
	if !pinned || s.Is6() != from.Is6() {
		return network.AnySource
	}
	k, _ := n.sources().number(want, maxLearned)
	return k
}

// SocketFor returns a source's socket, or the one that has the address that the routes
// choose.
func (n *sockets) SocketFor(addr *udp.Addr, number uint8) uint8 {
	first, several := n.v4, n.several4
	if addr.Is6() {
		first, several = n.v6, n.several6
	}
	s := n.sources().at(number)
	switch {
	case s == nil && !several:
		return first
	case s == nil:
		return n.routed(addr, 0)
	case s.socket != network.NoSocket:
		return n.ofFamily(s.socket, addr)
	case !s.local.IsZero():
		return n.ofFamily(n.boundTo(&s.local), addr)
	case !several:
		return first
	}
	return n.routed(addr, s.device)
}

// ofFamily returns socket i if it is of addr's family.
func (n *sockets) ofFamily(i uint8, addr *udp.Addr) uint8 {
	if i == network.NoSocket || n.list[i].Is6() != addr.Is6() {
		return network.NoSocket
	}
	return i
}

// boundTo returns the socket that is bound to a local address or, without one, a socket on
// any address of its family.
func (n *sockets) boundTo(local *udp.Addr) uint8 {
	wildcard := uint8(network.NoSocket)
	for i := range n.list {
		i := uint8(i)
		switch {
		case n.list[i].Is6() != local.Is6():
		case n.list[i].LocalAddr().SameIP(local):
			return i
		case wildcard == network.NoSocket && n.wildcard(i):
			wildcard = i
		}
	}
	return wildcard
}

// routed returns the socket of addr's family that has the address that the routes choose;
// else one on any address; else the first that is most like addr.
func (n *sockets) routed(addr *udp.Addr, device uint32) uint8 {
	if way, _ := n.route(addr, device); way.Source.IsValid() {
		chosen := udp.AddrFrom(netip.AddrPortFrom(way.Source, 0))
		chosen.SetScope(uint32(way.Device))
		if i := n.boundTo(&chosen); i != network.NoSocket {
			return i
		}
	}
	best, most := uint8(network.NoSocket), -1
	for i, s := range n.list {
		if s.Is6() != addr.Is6() {
			continue
		}
		if l := n.likeness(uint8(i), addr); l > most {
			best, most = uint8(i), l
		}
	}
	return best
}

// likeness returns how well socket i fits addr where the routes name none: a socket on any
// address fits all, one on loopback fits loopback only, one on a link fits that.
func (n *sockets) likeness(i uint8, addr *udp.Addr) int {
	local, l := n.list[i].LocalAddr(), 0
	if n.wildcard(i) {
		return 4
	}
	if local.IP().IsLoopback() == addr.IP().IsLoopback() {
		l += 2
	}
	if local.Scope() == addr.Scope() {
		l++
	}
	return l
}

// wildcard reports whether socket i is bound to any address.
func (n *sockets) wildcard(i uint8) bool { return n.wildcards&(1<<i) != 0 }

// sources returns the engine's.
func (n *sockets) sources() *sources { return &n.interfaces.sources }

// commitFrom commits a datagram with its source. A socket that is bound to an address
// sends from that whatever the source says.
func (n *sockets) commitFrom(i, size int, to *udp.Addr, number uint8) int {
	b, s := n.senders[i], n.sources().at(number)
	if s == nil {
		return b.Commit(size, to)
	}
	local := &s.local
	if !n.wildcard(uint8(i)) {
		if s.device == 0 {
			return b.Commit(size, to)
		}
		local = n.list[i].LocalAddr()
	}
	if !local.IsZero() && local.Is6() != to.Is6() {
		return b.Commit(size, to) // the kernel says what is wrong with it
	}
	return b.CommitFrom(size, to, local, s.device)
}
