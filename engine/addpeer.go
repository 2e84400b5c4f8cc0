package engine

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"systole/engine/internal/book"
	"systole/engine/internal/names"
	"systole/engine/internal/network"
	"systole/engine/internal/udp"
)

// PeerConfig says whom to watch, and over which path: by Addr, or by Name, which is looked up in the
// background again and again, so that a peer that moves is followed. A node that is reached
// over several paths is a peer on each.
type PeerConfig struct {
	// Addr is the peer's address. Leave it unset when Name is set. The name of an interface in it is that of
	// whichever interface has the name at the time.
	Addr netip.AddrPort
	// Name is "host:port". Until it resolves the peer is Connecting, and nothing is sent. Of several
	// addresses the next one is tried while the peer is not heard at one.
	Name string
	// ID is the peer's id. 0 means whoever answers there first; should another process answer there after
	// that one fell silent, it is taken for its successor. One that moves is followed; but Addr stays its
	// home: another process that answers there takes its place, unless ID names it.
	ID uint64
	// Local is the local address that heartbeats to the peer leave from, one that Config.Listen
	// covers. Unset leaves it to the routes.
	Local netip.Addr
	// Device is the name of the interface through which they leave. Empty leaves it to the routes.
	Device string
	// Period is the wanted time between heartbeats to this peer. 0 means Config.Period.
	Period time.Duration
	// Class tells apart peers whose ways differ: the same rack, another site. What peers
	// of a class have shown is where the detector begins with a new one. Below Classes.
	Class uint8
}

// Validate reports every fault of c at once, each a *FieldError, joined.
func (c *PeerConfig) Validate() error {
	var faults []error
	bad := func(field, format string, args ...any) {
		faults = append(faults, fieldError(field, format, args...))
	}
	switch {
	case c.Addr.IsValid() && c.Name != "":
		bad("Name", "%q and Addr %v are both set; choose one", c.Name, c.Addr)
	case c.Name != "":
		if _, _, err := splitName(c.Name); err != nil {
			bad("Name", "%v", err)
		}
	case !c.Addr.IsValid() || c.Addr.Port() == 0:
		bad("Addr", "%v has no address or no port", c.Addr)
	case !onePeer(c.Addr):
		bad("Addr", "%v is not the address of one peer", c.Addr)
	}
	durationWithin(bad, "Period", c.Period, minPeriod, maxPeriod)
	if c.Class >= Classes {
		bad("Class", "%d is not below %d", c.Class, Classes)
	}
	return errors.Join(faults...)
}

// onePeer reports whether one peer can have an address.
func onePeer(a netip.AddrPort) bool {
	ip := a.Addr().Unmap()
	return a.Port() != 0 && !ip.IsUnspecified() && !ip.IsMulticast() && ip != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// splitName splits "host:port"; the port is a number.
func splitName(name string) (host string, port uint16, err error) {
	host, service, err := net.SplitHostPort(name)
	if err != nil || host == "" {
		return "", 0, fmt.Errorf("%q is not host:port", name)
	}
	n, err := strconv.ParseUint(service, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("%q: the port is not a number from 1 to 65535", name)
	}
	return host, uint16(n), nil
}

// AddPeer begins to watch a peer. It returns the faults of c, ErrDuplicate, ErrFull, ErrBusy or
// ErrClosed. Duplicate is a name, or an address and id, under which a peer was added already. A
// stranger that was admitted at the address becomes the peer. After an error everything is as
// before. Any goroutine may call it; it never waits for the network.
func (e *Engine) AddPeer(c PeerConfig) (Peer, error) {
	if err := c.Validate(); err != nil {
		return Peer{}, err
	}
	w, err := e.watchOf(&c)
	if err != nil {
		return Peer{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopping.Load() {
		return Peer{}, ErrClosed
	}
	if _, taken := e.byName[named{c.Name, c.ID}]; taken {
		return Peer{}, fmt.Errorf("%w: %s", ErrDuplicate, c.Name)
	}
	return e.addPeer(&c, w)
}

// watchOf returns what the shard of a new peer is told of it, or what this host does not have.
func (e *Engine) watchOf(c *PeerConfig) (*watch, error) {
	n := e.shards[0].net
	w := &watch{id: c.ID, period: c.Period, class: c.Class, named: c.Name != "", socket: network.NoSocket}
	if c.ID == e.id {
		return nil, fieldError("ID", "%#x is this node's own id", c.ID)
	}
	if keys := e.keys.Load(); keys != nil && keys.Pairwise() && c.ID == 0 {
		return nil, fieldError("ID", "pairwise keys are for the nodes' ids: give the peer's")
	}
	source, err := n.SourceOf(c.Local, c.Device)
	if err != nil {
		return nil, fieldError("Local", "%w", err)
	}
	w.source = source
	if c.Name == "" {
		w.addr = udp.AddrFrom(c.Addr)
		if w.socket = n.SocketFor(&w.addr, source); w.socket == network.NoSocket {
			return nil, fieldError("Addr", "%v: Config.Listen has no address of that family, or Local is of another one", c.Addr)
		}
	}
	return w, nil
}

// addPeer adds a peer whose configuration is valid. e.mu is held. Either the shard gets the one
// command by which it watches the peer, or everything is as before.
func (e *Engine) addPeer(c *PeerConfig, w *watch) (Peer, error) {
	slot, err := e.takeSlot()
	if err != nil {
		return Peer{}, err
	}
	p := Peer{e, slot, e.table.nextGeneration(slot)}
	entry, place := book.Entry{Slot: slot, Generation: p.generation}, book.Place{Addr: w.addr, ID: c.ID}
	if !w.named {
		stranger, ok := e.book.Watch(place, entry, e.isLeaving)
		if !ok {
			e.free = append(e.free, slot)
			return Peer{}, fmt.Errorf("%w: address %v", ErrDuplicate, c.Addr)
		}
		if stranger.Slot != 0 {
			e.free = append(e.free, slot)
			return e.configure(c, stranger, place, w)
		}
	}
	if err := e.post(command{kind: commandAdd, slot: slot, generation: p.generation, watch: *w}); err != nil {
		e.book.Leave(place, entry)
		e.free = append(e.free, slot)
		return Peer{}, err
	}
	if w.named {
		host, port, _ := splitName(c.Name) // valid since Validate
		e.named[slot] = named{c.Name, c.ID}
		e.byName[e.named[slot]] = slot
		e.names.Add(names.Key{Slot: slot, Generation: p.generation}, host, port)
	}
	e.zone(p, c.Addr)
	return p, nil
}

// configure makes a stranger, which the book has at place as a configured peer, one.
func (e *Engine) configure(c *PeerConfig, s book.Entry, place book.Place, w *watch) (Peer, error) {
	p := Peer{e, s.Slot, s.Generation}
	if err := e.post(command{kind: commandConfigure, slot: s.Slot, generation: s.Generation, watch: *w}); err != nil {
		e.book.Unwatch(place, book.Place{Addr: place.Addr, ID: p.ID()}, s)
		return Peer{}, err
	}
	e.zone(p, c.Addr)
	return p, nil
}

// named is a name under which a peer was added, and the id that was given with it.
type named struct {
	name string
	id   uint64
}

// isLeaving reports whether RemovePeer was called for a peer. e.mu is held.
func (e *Engine) isLeaving(o book.Entry) bool { return e.leaving[o.Slot] == o.Generation }

// takeSlot returns a free slot, a new one if there is none. e.mu is held.
func (e *Engine) takeSlot() (uint32, error) {
	if len(e.free) == 0 {
		var freed [64]uint32
		n := e.freed.PopBatch(freed[:])
		e.free = append(e.free, freed[:n]...)
	}
	if n := len(e.free); n > 0 {
		slot := e.free[n-1]
		e.free = e.free[:n-1]
		delete(e.leaving, slot)
		return slot, nil
	}
	slot, ok := e.table.extend()
	if !ok {
		return 0, ErrFull
	}
	return slot, nil
}

// RemovePeer ends the watch of p and tells p goodbye, once: p sees Left or, should that be
// lost on the way, silence and a failure. When AddPeer adds the same peer again, p takes a goodbye
// back. It returns ErrNoPeer if p was removed before, ErrBusy or ErrClosed. Any goroutine may call it.
func (e *Engine) RemovePeer(p Peer) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopping.Load() {
		return ErrClosed
	}
	if p.engine != e || p.State() == Removed || e.leaving[p.slot] == p.generation {
		return ErrNoPeer
	}
	if !e.tell(command{kind: commandRemove, slot: p.slot, generation: p.generation}) {
		return ErrBusy
	}
	e.leaving[p.slot] = p.generation
	delete(e.zoned, p.slot)
	if n, ok := e.named[p.slot]; ok {
		delete(e.named, p.slot)
		delete(e.byName, n)
		e.names.Remove(names.Key{Slot: p.slot, Generation: p.generation})
	}
	return nil
}
