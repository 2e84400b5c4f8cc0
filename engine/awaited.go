package engine

import (
	"sync"
	"sync/atomic"

	"systole/engine/internal/udp"
)

// awaited is the register of addresses at which a process with a yet unknown id is
// expected: peers added by address, before their first heartbeat and after they fell
// silent. Shards consult it for senders that no slot has, on the way of a first
// contact, never for a heartbeat of a known peer. The addresses of admitted strangers are in
// it as well, so that nobody else is expected there.
type awaited struct {
	count atomic.Int64 // len(slots), so that shards look only when there is something
	mu    sync.Mutex
	slots map[udp.Addr]awaitedPeer

	// The admitted stranger whose place AddPeer has just taken, until it is certain that the peer
	// is added: else the stranger gets its place back. There is one AddPeer at a time.
	held   awaitedPeer
	heldAt udp.Addr
}

// awaitedPeer is the slot that waits at an address, and the shard that owns it.
type awaitedPeer struct {
	slot       uint32
	generation uint32
	shard      uint8
	admitted   bool // nobody is awaited: an admitted stranger is there
}

// handle is the slot and generation of an admitted stranger in one word; 0 if w is none.
func (w awaitedPeer) handle() uint64 {
	if !w.admitted {
		return 0
	}
	return uint64(w.generation)<<32 | uint64(w.slot)
}

// is reports whether w is that peer. No peer has generation 0.
func (w awaitedPeer) is(slot, generation uint32) bool {
	return w.slot == slot && w.generation == generation
}

// begin is add for AddPeer, which must call end.
func (a *awaited) begin(addr udp.Addr, slot uint32, shard int, generation uint32) (stranger awaitedPeer, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	stranger, ok = a.set(addr, awaitedPeer{slot, generation, uint8(shard), false}, true)
	a.held, a.heldAt = stranger, addr
	return stranger, ok
}

// end ends what AddPeer began at addr. If the peer was not added, the stranger has its place
// again, unless it was removed meanwhile.
func (a *awaited) end(addr udp.Addr, added bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case added:
	case a.held.admitted:
		a.slots[addr] = a.held
	default:
		delete(a.slots, addr)
	}
	a.count.Store(int64(len(a.slots)))
	a.held = awaitedPeer{}
}

// add registers a slot that has just got its address. It reports false if the address is taken
// by another one. An admitted stranger gives way: it is returned, and must be removed.
func (a *awaited) add(addr udp.Addr, slot uint32, shard int, generation uint32) (stranger awaitedPeer, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.set(addr, awaitedPeer{slot, generation, uint8(shard), false}, true)
}

// again registers a slot that fell silent. It reports false if another one is there, even
// an admitted stranger: that is who answers now.
func (a *awaited) again(addr udp.Addr, slot uint32, shard int, generation uint32) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.set(addr, awaitedPeer{slot, generation, uint8(shard), false}, false)
	return ok
}

// admit registers an admitted stranger. It reports false if somebody is awaited at addr: that is
// who the stranger must be. Of two strangers it is the later one that is there now.
func (a *awaited) admit(addr udp.Addr, slot uint32, shard int, generation uint32) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.set(addr, awaitedPeer{slot, generation, uint8(shard), true}, true)
	return ok
}

// set registers p at addr unless another slot is there. If replace is set, it takes the place
// of an admitted stranger, which is returned. a.mu is held.
func (a *awaited) set(addr udp.Addr, p awaitedPeer, replace bool) (stranger awaitedPeer, ok bool) {
	if old, taken := a.slots[addr]; taken && !old.is(p.slot, p.generation) {
		if !replace || !old.admitted {
			return stranger, false
		}
		stranger = old
	}
	if a.slots == nil {
		a.slots = make(map[udp.Addr]awaitedPeer)
	}
	a.slots[addr] = p
	a.count.Store(int64(len(a.slots)))
	return stranger, true
}

// remove takes addr off the register if that peer is registered there, and not one that has its
// slot since.
func (a *awaited) remove(addr udp.Addr, slot, generation uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.heldAt == addr && a.held.is(slot, generation) {
		a.held = awaitedPeer{}
	}
	if a.slots[addr].is(slot, generation) {
		delete(a.slots, addr)
		a.count.Store(int64(len(a.slots)))
	}
}

// moved notes that shard now owns the peer at addr, if it is still registered there.
func (a *awaited) moved(addr udp.Addr, slot, generation uint32, shard int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.slots[addr]; p.is(slot, generation) {
		p.shard = uint8(shard)
		a.slots[addr] = p
	}
}

// answer is what the register says of an address.
type answer uint8

const (
	nobodyAwaited answer = iota
	somebodyAwaited
	registerLocked // ask again
)

// lookup returns who waits at addr. It never waits for the lock: a shard that finds it held
// leaves the sender alone until its next heartbeat.
func (a *awaited) lookup(addr udp.Addr) (awaitedPeer, answer) {
	if a.count.Load() == 0 {
		return awaitedPeer{}, nobodyAwaited
	}
	if !a.mu.TryLock() {
		return awaitedPeer{}, registerLocked
	}
	p, ok := a.slots[addr]
	a.mu.Unlock()
	if !ok || p.admitted {
		return awaitedPeer{}, nobodyAwaited
	}
	return p, somebodyAwaited
}
