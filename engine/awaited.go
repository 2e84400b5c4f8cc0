package engine

import (
	"sync"
	"sync/atomic"

	"systole/engine/internal/udp"
)

// awaited is the register of the addresses of peers whose id was not given. At some of them a
// process with a yet unknown id is expected: before the first heartbeat of a peer, and after it
// fell silent. Shards consult it for senders that no slot has, on the way of a first contact,
// never for a heartbeat of a known peer. The others are in it so that nobody else is expected
// there. A peer that was not registered, because another one has its address, is no less watched.
type awaited struct {
	count atomic.Int64 // of those at which somebody is expected: shards look only if there are any
	mu    sync.Mutex
	peers map[udp.Addr]awaitedPeer

	// The peer whose place AddPeer has just taken, until it is certain that the new one is added:
	// else that one gets its place back. There is one AddPeer at a time.
	held   awaitedPeer
	heldAt udp.Addr
}

// awaitedPeer is a peer in the register, and the shard that owns it.
type awaitedPeer struct {
	slot       uint32
	generation uint32
	shard      uint8
	place      place
}

// place is what a peer has in the register, or a set of them.
type place uint8

const (
	placeAwaited  place = 1 << iota // whoever answers there is this peer
	placeWatched                    // the peer is there
	placeAdmitted                   // an admitted stranger is there
)

// is reports whether w is that peer. No peer has generation 0.
func (w awaitedPeer) is(slot, generation uint32) bool {
	return w.slot == slot && w.generation == generation
}

// stranger is the slot and generation of w in one word; 0 unless it is an admitted stranger.
func (w awaitedPeer) stranger() uint64 {
	if w.place != placeAdmitted {
		return 0
	}
	return uint64(w.generation)<<32 | uint64(w.slot)
}

// enter registers w at addr, where it may be already. It reports false if another peer is there
// whose place is not one of giving, those that give way. It returns the one that did.
func (a *awaited) enter(addr udp.Addr, w awaitedPeer, giving place) (gone awaitedPeer, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old, taken := a.peers[addr]
	if taken && !old.is(w.slot, w.generation) {
		if old.place&giving == 0 {
			return awaitedPeer{}, false
		}
		gone = old
	}
	a.put(addr, w)
	return gone, true
}

// begin registers w for AddPeer, which must call end. It reports false if another peer is there
// that is neither an admitted stranger, which is returned, nor leaving.
func (a *awaited) begin(addr udp.Addr, w awaitedPeer, leaving func(awaitedPeer) bool) (gone awaitedPeer, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old, taken := a.peers[addr]
	if taken && old.place != placeAdmitted && !leaving(old) {
		return awaitedPeer{}, false
	}
	a.held, a.heldAt = old, addr
	a.put(addr, w)
	return old, true
}

// end ends what AddPeer began. If the peer was not added, the one whose place it took has it
// again, unless that one was removed meanwhile.
func (a *awaited) end(added bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !added {
		a.drop(a.heldAt)
		if a.held.generation != 0 {
			a.put(a.heldAt, a.held)
		}
	}
	a.held = awaitedPeer{}
}

// remove takes addr off the register if that peer is registered there, and not one that has its
// slot since.
func (a *awaited) remove(addr udp.Addr, slot, generation uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.heldAt == addr && a.held.is(slot, generation) {
		a.held = awaitedPeer{}
	}
	if a.peers[addr].is(slot, generation) {
		a.drop(addr)
	}
}

// moved notes that shard now owns the peer at addr, if it is still registered there.
func (a *awaited) moved(addr udp.Addr, slot, generation uint32, shard int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if w := a.peers[addr]; w.is(slot, generation) {
		w.shard = uint8(shard)
		a.put(addr, w)
	}
}

// put and drop change what is at addr, and count. a.mu is held.
func (a *awaited) put(addr udp.Addr, w awaitedPeer) {
	a.drop(addr)
	if a.peers == nil {
		a.peers = make(map[udp.Addr]awaitedPeer)
	}
	a.peers[addr] = w
	if w.place == placeAwaited {
		a.count.Add(1)
	}
}

func (a *awaited) drop(addr udp.Addr) {
	if old, taken := a.peers[addr]; taken && old.place == placeAwaited {
		a.count.Add(-1)
	}
	delete(a.peers, addr)
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
	w, taken := a.peers[addr]
	a.mu.Unlock()
	if !taken || w.place != placeAwaited {
		return awaitedPeer{}, nobodyAwaited
	}
	return w, somebodyAwaited
}
