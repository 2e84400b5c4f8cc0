package engine

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"systole/engine/clock"
	"systole/wire"
)

// Two processes with one id are reported by this node if it is one of them (ownID), or if it watches
// both (twins).

// ownID handles a datagram with this node's own id and reports whether it is done with. The datagram is
// our own, returned to us, or of another process with the same id that has proved to read what this
// node sends. Without that proof it is an introduction.
func (s *shard) ownID(h *wire.Header, p *peer, slot uint32, j int) bool {
	switch {
	case h.Incarnation == s.incarnated:
		s.counters.looped.Add(1)
		if slot := wire.Slot(h.MyDiscriminator); slot != 0 && slot < s.table.slots.Load() {
			s.letter = letter{kind: letterOwn, slot: slot, introduction: introduction{h: *h, from: *s.net.From(j)}}
			s.pass(&s.letter)
		}
	case p != nil || s.engine.hasCookie(&introduction{h: *h, from: *s.net.From(j)}, s.now):
		s.counters.collisions.Add(1)
		if p != nil && p.verdict.state() == Connecting && s.setFault(p, OwnID) {
			s.tellFault(p, slot, OwnID) // the process at that address is not the peer
		}
		if s.collidedAt == 0 || s.now.Sub(s.collidedAt) >= collisionGap {
			s.collidedAt = s.now
			s.publishNode(NodeEvent{Cause: IDCollision, ID: h.Sender, Incarnation: h.Incarnation})
		}
	default:
		return false
	}
	return true
}

// collisionGap is the least time between two events about one id in use twice.
const collisionGap = time.Second

// twins finds two processes with one id: two peers that are alive at the same time, with one id and
// different incarnations. A restart looks the same until every path to the node has noticed it, so
// both peers must be heard again after the pair was found.
type twins struct {
	next     clock.Instant             // next search
	sessions uint64                    // Engine.sessions as of the last search
	found    map[[2]Peer]clock.Instant // pairs, and when they were found
}

// twinsEvery is the time between searches. There is none while no session begins.
const twinsEvery = time.Second

// findTwins publishes each pair of twins once. Only the background goroutine calls it.
func (e *Engine) findTwins(now clock.Instant) {
	t := &e.twins
	sessions := e.sessions.Load()
	if now < t.next || sessions == t.sessions && len(t.found) == 0 {
		return
	}
	t.next = now.Add(twinsEvery)
	if sessions != t.sessions {
		t.sessions = sessions
		e.searchTwins(now)
	}
	// In the order of slots, so that simulated runs are reproducible.
	bySlot := func(a, b [2]Peer) int { return cmp.Compare(a[1].slot, b[1].slot) }
	for _, pair := range slices.SortedFunc(maps.Keys(t.found), bySlot) {
		since := t.found[pair]
		a, b := pair[0].Stats(), pair[1].Stats()
		switch {
		case a.ID != b.ID || a.Incarnation == b.Incarnation || a.State != Alive || b.State != Alive:
			delete(t.found, pair)
		case a.LastArrival > since.Add(twinsEvery) && b.LastArrival > since.Add(twinsEvery):
			e.tell(command{
				kind: commandCollision, slot: pair[0].slot, generation: pair[0].generation,
				watch: watch{other: pair[1].slot, otherOf: pair[1].generation},
			})
			delete(t.found, pair)
		}
	}
}

// searchTwins replaces twins.found by the present pairs: each living peer with the first one of its
// id, if their incarnations differ.
func (e *Engine) searchTwins(now clock.Instant) {
	before := e.twins.found
	e.twins.found = make(map[[2]Peer]clock.Instant)
	first := make(map[uint64]Peer)
	for slot := uint32(1); slot < e.table.slots.Load(); slot++ {
		p := e.table.peer(slot)
		generation, state, _, _ := unpackStatus(p.verdict.status.Load())
		id := p.session.id.Load()
		if state != Alive || id == 0 {
			continue
		}
		peer := Peer{e, slot, generation}
		other, ok := first[id]
		if !ok {
			first[id] = peer
			continue
		}
		if other.record().session.incarnation.Load() == p.session.incarnation.Load() {
			continue
		}
		pair := [2]Peer{other, peer}
		since, ok := before[pair]
		if !ok {
			since = now
		}
		e.twins.found[pair] = since
	}
}
