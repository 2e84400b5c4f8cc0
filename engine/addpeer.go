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
)

// PeerConfig configures the watch of a node over one path. The node is given by Addr or by Name. Watch
// a node with several paths by one peer per path.
type PeerConfig struct {
	// Addr is the peer's address; leave it unset if Name is set. An interface name in it, as in
	// fe80::1%eth0, stands for the interface that has the name at the time.
	Addr netip.AddrPort
	// Name is "host:port". It is looked up repeatedly, and the peer follows its addresses. If it has
	// several addresses they are tried in turn until the peer is heard. Until it resolves the peer
	// is Connecting and nothing is sent.
	Name string
	// ID is the peer's id. 0 means the id of the first process that answers. If that process falls
	// silent, another one that answers at the address becomes the peer. If the process moves to
	// another address, the peer follows it; but a process that then answers at Addr becomes the peer
	// in its place, unless ID is set.
	ID uint64
	// Local is the source address of heartbeats to the peer, one that Config.Listen covers. Unset
	// means that the routes choose it.
	Local netip.Addr
	// Device is the name of the interface through which heartbeats to the peer leave. Empty means
	// that the routes choose it.
	Device string
	// Period is the wanted time between heartbeats to this peer. 0 means Config.Period.
	Period time.Duration
	// Class groups peers whose paths are alike, such as one rack or one site. The detector of a new
	// peer starts with what was measured of its class. Below Classes.
	Class uint8
	// Tag is the program's own word for the peer, such as a rack or a job, for logs and metrics. Events and
	// snapshots carry it. At most 255 bytes of UTF-8 without control characters; several peers may
	// have the same.
	Tag string
}

// Validate returns all faults of c, each a *FieldError, joined; nil if there are none.
func (c *PeerConfig) Validate() error {
	var f faults
	switch {
	case c.Addr.IsValid() && c.Name != "":
		f.add("Name", "%q and Addr %v are both set; choose one", c.Name, c.Addr)
	case c.Name != "":
		if _, _, err := splitName(c.Name); err != nil {
			f.add("Name", "%v", err)
		}
	case !c.Addr.IsValid() || c.Addr.Port() == 0:
		f.add("Addr", "%v has no address or no port", c.Addr)
	case !onePeer(c.Addr):
		f.add("Addr", "%v is not the address of one peer", c.Addr)
	}
	f.duration("Period", c.Period, minPeriod, maxPeriod)
	if c.Class >= Classes {
		f.add("Class", "%d is not below %d", c.Class, Classes)
	}
	f.tag("Tag", c.Tag)
	return errors.Join(f...)
}

// onePeer reports whether a is the address and port of a single host.
func onePeer(a netip.AddrPort) bool {
	ip := a.Addr().Unmap()
	return a.Port() != 0 && !ip.IsUnspecified() && !ip.IsMulticast() && ip != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// splitName splits "host:port". The port must be a number.
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

// AddPeer begins to watch a peer. A stranger that was admitted at the address becomes the peer, and gets
// the tag. AddPeer
// returns the faults of c as Validate does, ErrDuplicate if a peer with the same name, or the same
// address and id, was added before, ErrFull, ErrBusy or ErrClosed. After an error nothing has
// changed. Any goroutine may call it; it does not wait for the network. For many peers at once there is
// AddPeers, and SetPeers for a list that changes.
func (e *Engine) AddPeer(c PeerConfig) (Peer, error) {
	if err := c.Validate(); err != nil {
		return Peer{}, err
	}
	w, err := e.watchOf(&c)
	if err != nil {
		return Peer{}, err
	}
	return e.add(&c, w, e.post)
}

// add adds a peer whose configuration is valid. post passes the command to the peer's shard, or returns
// ErrBusy. After an error nothing has changed.
func (e *Engine) add(c *PeerConfig, w *watch, post func(command) error) (Peer, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopping.Load() {
		return Peer{}, ErrClosed
	}
	if _, taken := e.byName[named{c.Name, c.ID}]; taken {
		return Peer{}, fmt.Errorf("%w: %s", ErrDuplicate, c.Name)
	}
	p, err := e.addPeer(c, w, post)
	if err == nil {
		e.setOptions(p.slot, c)
	}
	return p, err
}

// watchOf returns c as the shard needs it. It fails for a path that this host does not have.
func (e *Engine) watchOf(c *PeerConfig) (*watch, error) {
	n := e.shards[0].net
	w := &watch{id: c.ID, period: c.Period, class: c.Class, named: c.Name != "", socket: network.NoSocket}
	if c.ID == e.id {
		return nil, fieldError("ID", "%#x is this node's own id", c.ID)
	}
	if keys := e.keys.Load(); keys != nil && keys.Pairwise() && c.ID == 0 {
		return nil, fieldError("ID", "pairwise keys need it: give the peer's id")
	}
	source, err := n.SourceOf(c.Local, c.Device)
	if err != nil {
		return nil, fieldError("Local", "%w", err)
	}
	w.source = source
	if c.Name == "" {
		w.addr = network.AddrFrom(c.Addr)
		at := w.addr
		if at.IsZero() { // the interface is not there yet
			at = network.AddrFrom(netip.AddrPortFrom(c.Addr.Addr().WithZone(""), c.Addr.Port()))
		}
		if w.socket = n.SocketFor(&at, source); w.socket == network.NoSocket {
			return nil, fieldError("Addr", "%v: Config.Listen or Local has no address of its family", c.Addr)
		}
	}
	return w, nil
}

// addPeer is add with e.mu held.
func (e *Engine) addPeer(c *PeerConfig, w *watch, post func(command) error) (Peer, error) {
	slot, err := e.takeSlot()
	if err != nil {
		return Peer{}, err
	}
	p := Peer{e, slot, e.table.nextGeneration(slot)}
	entry := book.Entry{Slot: slot, Generation: p.generation}
	place := book.Place{Addr: w.addr, ID: c.ID}
	switch {
	case w.named:
	case w.addr.IsZero(): // its interface is not there: followZones will give it a place in the book
		if e.isZoned(c) {
			e.free = append(e.free, slot)
			return Peer{}, fmt.Errorf("%w: address %v", ErrDuplicate, c.Addr)
		}
	default:
		stranger, ok := e.book.Watch(place, entry, e.mayShare)
		if !ok {
			e.free = append(e.free, slot)
			return Peer{}, fmt.Errorf("%w: address %v", ErrDuplicate, c.Addr)
		}
		if stranger.Slot != 0 {
			e.free = append(e.free, slot)
			return e.configure(c, stranger, place, w, post)
		}
	}
	e.labels.settle(2) // twice as fast as peers are added
	e.labels.add(slot, &label{words: wordsOf(c), id: c.ID, addr: w.addr, generation: p.generation})
	if err := post(command{kind: commandAdd, slot: slot, generation: p.generation, watch: *w}); err != nil {
		e.labels.put(slot, nil)
		e.book.Leave(place, entry)
		e.free = append(e.free, slot)
		return Peer{}, err
	}
	if w.named {
		host, port, _ := splitName(c.Name) // Validate has checked it
		k := names.Key{Slot: slot, Generation: p.generation}
		e.named[slot] = named{c.Name, c.ID}
		e.byName[e.named[slot]] = k
		e.names.Add(k, host, port)
	}
	e.zone(p, c)
	return p, nil
}

// configure turns a stranger into a configured peer. The book has it at place already.
func (e *Engine) configure(c *PeerConfig, s book.Entry, place book.Place, w *watch, post func(command) error) (Peer, error) {
	p := Peer{e, s.Slot, s.Generation}
	if err := post(command{kind: commandConfigure, slot: s.Slot, generation: s.Generation, watch: *w}); err != nil {
		e.book.Unwatch(place, book.Place{Addr: place.Addr, ID: p.ID()}, s)
		return Peer{}, err
	}
	if c.Tag != "" {
		e.labels.put(s.Slot, &label{words: wordsOf(c), generation: s.Generation})
	}
	e.zone(p, c)
	return p, nil
}

// named is the name and the id with which a peer was added.
type named struct {
	name string
	id   uint64
}

// mayShare reports whether a peer that is at a place leaves room for another one there: it leaves, or it is
// there because its name has the address at present. Whether AddPeer succeeds does not depend on a
// look-up. e.mu is held.
func (e *Engine) mayShare(o book.Entry) bool {
	_, byName := e.named[o.Slot]
	return byName || e.isLeaving(o)
}

// isLeaving reports whether RemovePeer was called for a peer. e.mu is held.
func (e *Engine) isLeaving(o book.Entry) bool { return e.leaving[o.Slot] == o.Generation }

// takeSlot returns a free slot, or a new one. e.mu is held.
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
		e.labels.retire(slot)
		return slot, nil
	}
	slot, ok := e.table.extend()
	if !ok {
		return 0, ErrFull
	}
	for _, c := range *e.carriers.Load() {
		c.in.reserve(slot)
	}
	return slot, nil
}

// RemovePeer ends the watch of p and sends p one goodbye. The other node then sees this node as Left
// or, if the goodbye is lost, as silent and then failed; after another AddPeer it sees this node alive
// again. RemovePeer returns ErrNoPeer if p was removed before, ErrBusy or ErrClosed. Any goroutine may
// call it.
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
	delete(e.options, p.slot)
	if n, ok := e.named[p.slot]; ok {
		delete(e.named, p.slot)
		delete(e.byName, n)
		e.names.Remove(names.Key{Slot: p.slot, Generation: p.generation})
	}
	return nil
}
