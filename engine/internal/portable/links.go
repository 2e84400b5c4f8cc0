package portable

import (
	"fmt"
	"hash/maphash"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"systole/engine/internal/network"
)

// links is the state of this host's interfaces, looked at once a second: a link that fails is known as
// late as that.
type links struct {
	epoch atomic.Uint32                 // number of changes
	down  atomic.Pointer[[]interfaceOf] // interfaces that are down
	hash  uint64                        // of what was seen last; of the goroutine that looks
}

// interfaceOf is an interface and its addresses.
type interfaceOf struct {
	index uint32
	addrs []netip.Addr
}

// lookEvery is the time between two looks at the interfaces.
const lookEvery = time.Second

var seed = maphash.MakeSeed()

// watch looks at the interfaces until the sockets are closed.
func (l *links) watch(n *Sockets) {
	defer n.running.Done()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-n.closed:
			return
		case <-tick.C:
			l.look()
		}
	}
}

// look reads the state of the interfaces. If the system does not tell it, none is down.
func (l *links) look() {
	all, err := net.Interfaces()
	if err != nil {
		all = nil
	}
	var h maphash.Hash
	h.SetSeed(seed)
	var down []interfaceOf
	for _, i := range all {
		addrs, _ := i.Addrs() // none if it is gone meanwhile
		fmt.Fprintln(&h, i.Index, i.Name, i.Flags, addrs)
		if i.Flags&(net.FlagUp|net.FlagRunning) != net.FlagUp|net.FlagRunning {
			down = append(down, interfaceOf{uint32(i.Index), ipsOf(addrs)})
		}
	}
	if sum := h.Sum64(); sum != l.hash {
		l.hash = sum
		l.down.Store(&down)
		l.epoch.Add(1)
	}
}

// ipsOf returns the addresses without their prefixes.
func ipsOf(addrs []net.Addr) (out []netip.Addr) {
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().Unmap())
		}
	}
	return out
}

// isDown reports whether an interface with an index, or with an address, is down.
func (l *links) isDown(is func(i *interfaceOf) bool) bool {
	down := l.down.Load()
	return down != nil && slices.ContainsFunc(*down, func(i interfaceOf) bool { return is(&i) })
}

// Epoch counts changes of interfaces and of their addresses. Changes of routes alone are not seen.
func (n *Sockets) Epoch() uint32 { return n.links.epoch.Load() }

// LinkDown looks for the route only while some interface is down.
func (n *Sockets) LinkDown(addr *network.Addr) bool {
	if i := n.SocketFor(addr, network.AnySource); i != network.NoSocket && n.list[i].broken.Load() {
		return true
	}
	if !n.links.isDown(func(*interfaceOf) bool { return true }) {
		return false
	}
	if scope := addr.Scope(); scope != 0 {
		return n.links.isDown(func(i *interfaceOf) bool { return i.index == scope })
	}
	source, err := routeSource(addr)
	if err != nil {
		return true // there is no route
	}
	return n.links.isDown(func(i *interfaceOf) bool { return slices.Contains(i.addrs, source.IP()) })
}

// DeviceDown returns false: no source has an interface.
func (n *Sockets) DeviceDown(uint8) bool { return false }

// zones turns addresses of package net into the engine's. It keeps the index of the last zone, since a
// look-up takes system calls. It belongs to one reading goroutine.
type zones struct {
	links *links
	name  string
	index uint32
	epoch uint32
}

// addr returns an address as the engine has it.
func (z *zones) addr(a netip.AddrPort) network.Addr {
	zone := a.Addr().Zone()
	if zone == "" {
		return network.AddrFrom(a)
	}
	bare := network.AddrFrom(netip.AddrPortFrom(a.Addr().WithZone(""), a.Port()))
	if epoch := z.links.epoch.Load(); zone != z.name || epoch != z.epoch {
		with := network.AddrFrom(a)
		z.name, z.epoch, z.index = zone, epoch, with.Scope()
	}
	bare.SetScope(z.index)
	return bare
}
