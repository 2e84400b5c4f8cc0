package engine

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"systole/engine/clock"
	"systole/engine/internal/network"
	"systole/engine/internal/udp"
	"systole/wire"
)

// PeerConfig says whom to watch: by Addr, or by Name, which is resolved in the
// background again and again, so that a peer that moves is followed.
type PeerConfig struct {
	// Addr is the peer's address. Leave it unset when Name is set.
	Addr netip.AddrPort
	// Name is "host:port". Until it resolves the peer is Connecting, and nothing is sent.
	Name string
	// ID is the peer's id. 0 means whoever answers there first; should another id
	// answer there after that one fell silent, it is taken for its successor.
	ID uint64
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
	case c.Addr.Addr().IsUnspecified() || c.Addr.Addr().IsMulticast():
		bad("Addr", "%v is not the address of one peer", c.Addr)
	}
	durationWithin(bad, "Period", c.Period, minPeriod, maxPeriod)
	if c.Class >= Classes {
		bad("Class", "%d is not below %d", c.Class, Classes)
	}
	return errors.Join(faults...)
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
// ErrClosed. Duplicate is an id that was given for another peer, or an address, without an id, at
// which another peer without a given id is watched. A peer that was not given that id, but turned
// out to have it, is no duplicate, nor is an admitted stranger at that address: it is Removed,
// because Replaced. After ErrBusy, everything is as before. Any goroutine may call it; it never
// waits for the network.
func (e *Engine) AddPeer(c PeerConfig) (Peer, error) {
	if err := c.Validate(); err != nil {
		return Peer{}, err
	}
	if c.ID == e.id {
		return Peer{}, fieldError("ID", "%#x is this node's own id", c.ID)
	}
	var addr udp.Addr
	if c.Name == "" {
		addr = udp.AddrFrom(c.Addr)
		if e.shards[0].net.SocketFor(&addr) == network.NoSocket {
			return Peer{}, fieldError("Addr", "%v: Config.Listen has no address of that family", c.Addr)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return Peer{}, ErrClosed
	}
	if _, taken := e.byID[c.ID]; taken {
		return Peer{}, fmt.Errorf("%w: id %#x", ErrDuplicate, c.ID)
	}
	return e.addPeer(&c, &addr)
}

// addPeer does it for a valid c. e.mu is held. Either the shard gets the one command by which it
// watches the peer, or everything is as before.
func (e *Engine) addPeer(c *PeerConfig, addr *udp.Addr) (Peer, error) {
	slot, err := e.takeSlot()
	if err != nil {
		return Peer{}, err
	}
	p := e.table.peer(slot)
	shard := e.fillPeer(p, slot, c, addr)
	p.owner.Set(uint64(shard) + 1)
	var gone awaitedPeer
	generation, awaited := p.generation, p.flags&flagAwaited != 0 // soon the shard's
	if awaited {
		var free bool
		gone, free = e.awaited.begin(*addr, awaitedPeer{slot, generation, uint8(shard), placeAwaited}, e.isLeaving)
		if !free {
			e.takeBack(p, slot)
			return Peer{}, fmt.Errorf("%w: address %v", ErrDuplicate, c.Addr)
		}
	}
	err = e.handOut(slot, generation, shard, c, gone.stranger())
	if awaited {
		e.awaited.end(err == nil)
	}
	if err != nil {
		e.takeBack(p, slot)
		return Peer{}, err
	}
	return Peer{e, slot, generation}, nil
}

// isLeaving reports whether RemovePeer was called for w. e.mu is held.
func (e *Engine) isLeaving(w awaitedPeer) bool { return e.leaving[w.slot] == w.generation }

// takeBack frees the slot of a peer that its shard was not told of. The owner goes first: a
// shard that asks is told that the slot is not its.
func (e *Engine) takeBack(p *peer, slot uint32) {
	p.owner.Set(0)
	e.free = append(e.free, slot)
}

// fillPeer fills the free slot as c says and returns the shard that is to own it.
func (e *Engine) fillPeer(p *peer, slot uint32, c *PeerConfig, addr *udp.Addr) int {
	e.resetPeer(p)
	p.class = c.Class
	if c.Period != 0 {
		p.want(onGrid(c.Period, e.shards[0].grid))
	} else if e.cfg.follow {
		p.flags |= flagPlanned
		p.want(e.periodOf(c.Class))
	}
	if c.Name != "" {
		p.flags |= flagNamed
	} else {
		p.addr = *addr
		p.socket = e.shards[0].net.SocketFor(addr)
	}
	if c.ID != 0 {
		p.flags |= flagPinned
		p.known.Set(c.ID)
		return e.shardOf(c.ID)
	}
	if c.Name == "" {
		p.flags |= flagAwaited
	}
	return int(slot) % len(e.shards)
}

// handOut gives a filled slot to its shard, and says which stranger gives way. e.mu is held. The
// ring is emptied with every turn; a burst of additions may fill it, so it is given a little time.
func (e *Engine) handOut(slot, generation uint32, shard int, c *PeerConfig, stranger uint64) error {
	add := command{kind: commandAdd, slot: slot, generation: generation, arg: stranger}
	for end := e.reading().Now.Add(maxAddWait); !e.shards[shard].post(add); time.Sleep(addWait) {
		if e.cfg.Manual || e.reading().Now >= end {
			return ErrBusy
		}
	}
	if c.ID != 0 {
		e.byID[c.ID] = slot
	}
	if c.Name != "" {
		e.names[slot] = namedPeer{name: c.Name, generation: generation}
		e.ask()
	}
	return nil
}

const (
	addWait    = 50 * time.Microsecond
	maxAddWait = time.Second
)

// resetPeer makes p a peer that was never heard nor written to. Readers of an old
// handle may still look, so published words are set one by one: first the generation, so that
// who finds it unchanged after reading the others has read none that are of p.
func (e *Engine) resetPeer(p *peer) {
	generation := max(p.generation, 1)
	p.status.Set(packStatus(generation, Unknown, Unknown, NoCause))
	for _, w := range p.counts() {
		w.Set(0)
	}
	p.peerOwned = peerOwned{generation: generation, replay: wire.ReplayWindow{}}
	p.want(e.cfg.Period)
	p.checkAt = clock.Never
}

// want sets the period that the configuration asks for, and begins with it.
func (p *peer) want(period time.Duration) {
	p.period, p.wanted = int64(period), uint32(period/time.Microsecond)
}

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
	slot := e.slots.Load()
	if slot >= maxPeers {
		return 0, ErrFull
	}
	if slot%chunkPeers == 0 {
		e.table.extend(slot)
	}
	e.slots.Store(slot + 1)
	return slot, nil
}

// RemovePeer ends the watch of p and tells p goodbye, once: p sees Left or, should that be
// lost on the way, silence and a failure, which is final. When AddPeer adds the same peer
// again, p takes a goodbye back. It returns ErrNoPeer if p was removed before, ErrBusy or
// ErrClosed. Any goroutine may call it.
func (e *Engine) RemovePeer(p Peer) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return ErrClosed
	}
	if p.engine != e || !p.present() {
		return ErrNoPeer
	}
	rec := p.record()
	e.wrote(rec.sent.Load() + lastWrites)
	remove := command{kind: commandRemove, slot: p.slot, generation: p.generation}
	if !e.ownerOf(rec).post(remove) {
		return ErrBusy
	}
	e.leaving[p.slot] = p.generation
	delete(e.names, p.slot)
	if id := rec.known.Load(); id != 0 && e.byID[id] == p.slot {
		delete(e.byID, id)
	}
	return nil
}

// lastWrites is how many heartbeats a peer may still get before its shard removes it. Whoever
// is added meanwhile, on another shard perhaps, gets greater sequences than those.
const lastWrites = 16

// ownerOf returns the shard that owns rec, as of a moment ago. A shard that has handed
// the peer over passes commands on.
func (e *Engine) ownerOf(rec *peer) *shard {
	return e.shards[max(rec.owner.Load(), 1)-1]
}
