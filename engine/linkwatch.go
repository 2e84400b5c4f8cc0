package engine

import (
	"errors"
	"slices"
	"sync/atomic"

	"systole/engine/internal/network"
	"systole/engine/internal/udp"
)

// interfaces knows which interfaces of this host are down or have no carrier. What is
// sent through such a one is taken by the kernel and lost without an error, so silence
// from behind it accuses nobody. The kernel tells of carriers once a second at most: of a
// link that flaps faster, the suspicion may still say silence, the verdict does not. A
// goroutine listens to the kernel; shards only load.
type interfaces struct {
	links *udp.Links // nil: the kernel or a sandbox refuses to tell
	down  atomic.Pointer[[]int]
}

// watchInterfaces starts to listen, in the network namespace of the calling thread,
// where the sockets are as well. Without it the engine runs, and a lost carrier
// looks like silence.
func (e *Engine) watchInterfaces() {
	links, err := udp.OpenLinks()
	if err == nil {
		err = links.Ask()
	}
	if err != nil {
		if e.cfg.Logger != nil {
			e.cfg.Logger.Warn("a link that loses its carrier will look like silence of the peers behind it", "error", err)
		}
		if links != nil {
			_ = links.Close() // it was never used
		}
		return
	}
	e.interfaces.links = links
	e.running.Add(1)
	go e.interfaces.listen(e.running.Done)
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
		case errors.Is(err, udp.ErrResync):
			down = nil
			if i.links.Ask() != nil {
				return
			}
		case err != nil:
			return
		}
		down = downAfter(down, changes)
		i.publish(down)
	}
}

// downAfter returns which interfaces are down after changes.
func downAfter(down []int, changes []udp.LinkChange) []int {
	for _, c := range changes {
		switch c.Kind {
		case udp.LinkUp, udp.LinkDown, udp.LinkGone:
			down = slices.DeleteFunc(down, func(index int) bool { return index == c.Index })
		}
		if c.Kind == udp.LinkDown {
			down = append(down, c.Index)
		}
	}
	return down
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
	if i := n.SocketFor(addr); i != network.NoSocket && n.list[i].Faulty() {
		return true
	}
	if n.routes == nil || !n.interfaces.anyDown() {
		return false
	}
	index, err := n.routes.Interface(addr)
	return err == nil && (index == 0 || n.interfaces.isDown(index))
}
