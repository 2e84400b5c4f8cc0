package engine

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"systole/engine/internal/netlink"
	"systole/engine/internal/network"
)

// interfaces is what the kernel reports of this host's interfaces: which are down or have
// no carrier, so that the kernel takes what is sent through them and loses it without an
// error, and silence behind them accuses no peer. The kernel reports carriers once a
// second at most: if a link flaps faster, a suspicion may still say silence, a verdict
// does not. It also counts the changes of links, addresses and routes. Two goroutines
// listen to the kernel; shards only load.
type interfaces struct {
	links   *netlink.Links        // nil if the kernel or a sandbox refuses
	routes  *netlink.RouteChanges // likewise
	down    atomic.Pointer[[]int] // indexes; nil if nothing is known
	epoch   atomic.Uint32
	sources sources
	closing sync.Once
	closed  chan struct{} // ends the pause of listenRoutes
}

// watchInterfaces starts to listen in the network namespace of the calling thread, which
// is that of the sockets. If it fails, the engine runs, and a lost carrier looks like
// silence.
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

// warn logs an error if there is a logger.
func (e *Engine) warn(what string, err error) {
	if e.cfg.Logger != nil {
		e.cfg.Logger.Warn(what, "error", err)
	}
}

// routesPause is the time in which changes of routes are counted as one: a routing daemon
// makes thousands.
const routesPause = 100 * time.Millisecond

// listenRoutes counts changes of routes until close.
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

// listen keeps the state of interfaces until close. When it ends, nothing is known: an
// interface that was down may be up again.
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
		for _, c := range changes {
			down = i.apply(down, c)
		}
		i.down.Store(new(slices.Clone(down)))
		i.epoch.Add(1)
	}
}

// apply returns down after a change, and updates the sources.
func (i *interfaces) apply(down []int, c netlink.LinkChange) []int {
	if c.Name != "" {
		i.sources.setName(uint32(c.Index), c.Name)
	}
	switch c.Kind {
	case netlink.LinkUp, netlink.LinkGone:
		return slices.DeleteFunc(down, func(index int) bool { return index == c.Index })
	case netlink.LinkDown:
		if !slices.Contains(down, c.Index) {
			return append(down, c.Index)
		}
	}
	return down
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

// downIndexes returns the interfaces that are known to be down.
func (i *interfaces) downIndexes() []int {
	if down := i.down.Load(); down != nil {
		return *down
	}
	return nil
}

// LinkDown asks for the route only while some interface is down: two system calls per
// silent peer, and none on a healthy host. A socket that cannot be read counts as down.
func (n *sockets) LinkDown(addr *network.Addr) bool {
	if i := n.SocketFor(addr, network.AnySource); i != network.NoSocket && n.list[i].Faulty() {
		return true
	}
	down := n.interfaces.downIndexes()
	if len(down) == 0 {
		return false
	}
	if scope := addr.Scope(); scope != 0 {
		return slices.Contains(down, int(scope))
	}
	route, ok := n.route(addr, 0)
	return ok && (route.Device == 0 || slices.Contains(down, route.Device))
}

func (n *sockets) DeviceDown(number uint8) bool {
	device := n.sources().at(number).device
	return device == noDevice || slices.Contains(n.interfaces.downIndexes(), int(device))
}

func (n *sockets) Epoch() uint32 { return n.interfaces.epoch.Load() }
