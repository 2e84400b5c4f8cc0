package engine

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"systole/engine/internal/netlink"
	"systole/engine/internal/network"
	"systole/engine/internal/udp"
)

// interfaces knows which interfaces of this host are down or have no carrier. What is
// sent through such a one is taken by the kernel and lost without an error, so silence
// from behind it accuses nobody. The kernel tells of carriers once a second at most: of a
// link that flaps faster, the suspicion may still say silence, the verdict does not. It
// also counts the changes of links, addresses and routes, and keeps the sources that
// follow an interface's name. Goroutines listen to the kernel; shards only load.
type interfaces struct {
	links   *netlink.Links        // nil: the kernel or a sandbox refuses to tell
	routes  *netlink.RouteChanges // nil likewise
	down    atomic.Pointer[[]int]
	epoch   atomic.Uint32
	sources sources
	closing sync.Once
	closed  chan struct{} // wakes listenRoutes from its pause
}

// watchInterfaces starts to listen, in the network namespace of the calling thread,
// where the sockets are as well. Without it the engine runs, and a lost carrier
// looks like silence.
func (e *Engine) watchInterfaces() {
	i := &e.interfaces
	links, err := netlink.OpenLinks()
	if err == nil {
		err = links.Ask()
	}
	if err != nil {
		e.warn("a link that loses its carrier will look like silence of the peers behind it", err)
		if links != nil {
			_ = links.Close() // it was never used
		}
		return
	}
	i.links = links
	e.running.Add(1)
	go i.listen(e.running.Done)
	routes, err := netlink.OpenRouteChanges()
	if err != nil {
		e.warn("a change of routes will not be noticed", err)
		return
	}
	i.routes, i.closed = routes, make(chan struct{})
	e.running.Add(1)
	go i.listenRoutes(e.running.Done)
}

// warn tells the logger, if there is one.
func (e *Engine) warn(what string, err error) {
	if e.cfg.Logger != nil {
		e.cfg.Logger.Warn(what, "error", err)
	}
}

// routesPause is how long changes of routes gather: a routing daemon makes thousands.
const routesPause = 100 * time.Millisecond

// listenRoutes counts changes of routes until it is closed.
func (i *interfaces) listenRoutes(done func()) {
	defer done()
	for i.routes.Next() == nil {
		i.epoch.Add(1)
		select {
		case <-i.closed:
			return
		case <-time.After(routesPause):
		}
	}
}

// listen keeps down up to date until links is closed. When it ends, for whatever reason,
// nothing is known: an interface that was down may be up again.
func (i *interfaces) listen(done func()) {
	defer done()
	defer i.down.Store(nil)
	var down []int
	for {
		changes, err := i.links.Next()
		switch {
		case errors.Is(err, netlink.ErrResync):
			down = nil
			if i.links.Ask() != nil {
				return
			}
		case err != nil:
			return
		}
		down = downAfter(down, changes)
		i.publish(down)
		i.follow(changes)
		i.epoch.Add(1)
	}
}

// downAfter returns which interfaces are down after changes.
func downAfter(down []int, changes []netlink.LinkChange) []int {
	for _, c := range changes {
		switch c.Kind {
		case netlink.LinkUp, netlink.LinkDown, netlink.LinkGone:
			down = slices.DeleteFunc(down, func(index int) bool { return index == c.Index })
		}
		if c.Kind == netlink.LinkDown {
			down = append(down, c.Index)
		}
	}
	return down
}

// follow tells the sources which index an interface's name has now.
func (i *interfaces) follow(changes []netlink.LinkChange) {
	for _, c := range changes {
		if c.Name != "" {
			i.sources.follow(uint32(c.Index), c.Name)
		}
	}
}

// publish stores a copy of down, unless that is known.
func (i *interfaces) publish(down []int) {
	if known := i.down.Load(); known == nil || !slices.Equal(*known, down) {
		published := slices.Clone(down)
		i.down.Store(&published)
	}
}

// close ends listening.
func (i *interfaces) close() {
	if i.links != nil {
		_ = i.links.Close() // it fails only if it is closed
	}
	if i.routes != nil {
		i.closing.Do(func() { close(i.closed) })
		_ = i.routes.Close() // likewise
	}
}

// anyDown reports whether any interface is down.
func (i *interfaces) anyDown() bool {
	down := i.down.Load()
	return down != nil && len(*down) > 0
}

// isDown reports whether the interface is down.
func (i *interfaces) isDown(index int) bool {
	down := i.down.Load()
	return down != nil && slices.Contains(*down, index)
}

// LinkDown asks for the route only while some interface is down: two system calls per
// silent peer, and none on a healthy host. A socket that cannot be read is no way either.
func (n *sockets) LinkDown(addr *udp.Addr) bool {
	if i := n.SocketFor(addr, network.AnySource); i != network.NoSocket && n.list[i].Faulty() {
		return true
	}
	if !n.interfaces.anyDown() {
		return false
	}
	if scope := addr.Scope(); scope != 0 {
		return n.interfaces.isDown(int(scope))
	}
	way, ok := n.route(addr, 0)
	return ok && (way.Device == 0 || n.interfaces.isDown(way.Device))
}

// DeviceDown looks at the interface alone: what a source names, the routes do not choose.
func (n *sockets) DeviceDown(number uint8) bool {
	s := n.sources().at(number)
	return s != nil && (s.device == noDevice || s.device != 0 && n.interfaces.isDown(int(s.device)))
}

// Epoch counts the changes that the engine heard of.
func (n *sockets) Epoch() uint32 { return n.interfaces.epoch.Load() }
