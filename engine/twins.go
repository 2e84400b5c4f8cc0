package engine

import "systole/engine/clock"

// twins finds peers that have one id and different incarnations at the same time: two processes with one
// id. A restart looks alike for as long as one path has yet to hear of it, so both have to be
// heard after they were first found.
type twins struct {
	at      clock.Instant
	as      uint64                    // sessions that had begun at the last look
	suspect map[[2]Peer]clock.Instant // pairs, and when they were first found
}

// twinsEvery is how often to look, if sessions have begun.
const twinsEvery = 1e9

// findTwins looks for two processes with one id, and has them published once. Only the background
// goroutine calls it.
func (e *Engine) findTwins(now clock.Instant) {
	t := &e.twins
	sessions := e.sessions.Load()
	if now < t.at || sessions == t.as && len(t.suspect) == 0 {
		return
	}
	t.at = now.Add(twinsEvery)
	found := make(map[[2]Peer]clock.Instant)
	if sessions != t.as {
		t.as = sessions
		e.eachPair(func(pair [2]Peer) {
			if since, ok := t.suspect[pair]; ok {
				found[pair] = since
			} else {
				found[pair] = now
			}
		})
	} else {
		found = t.suspect
	}
	for pair, since := range found {
		a, b := pair[0].Stats(), pair[1].Stats()
		switch {
		case a.ID != b.ID || a.Incarnation == b.Incarnation || a.State != Alive || b.State != Alive:
			delete(found, pair)
		case a.LastArrival > since.Add(twinsEvery) && b.LastArrival > since.Add(twinsEvery):
			e.tell(command{
				kind: commandCollision, slot: pair[0].slot, generation: pair[0].generation,
				watch: watch{other: pair[1].slot, otherOf: pair[1].generation},
			})
			delete(found, pair)
		}
	}
	t.suspect = found
}

// eachPair calls f with pairs of peers that are alive and have one id and different incarnations:
// each peer with the first that has its id.
func (e *Engine) eachPair(f func([2]Peer)) {
	first := make(map[uint64]Peer)
	for slot := uint32(1); slot < e.table.slots.Load(); slot++ {
		p := e.table.peer(slot)
		generation, state, _, _ := unpackStatus(p.verdict.status.Load())
		id := p.session.id.Load()
		if state != Alive || id == 0 {
			continue
		}
		peer := Peer{e, slot, generation}
		other, taken := first[id]
		if !taken {
			first[id] = peer
		} else if other.record().session.incarnation.Load() != p.session.incarnation.Load() {
			f([2]Peer{other, peer})
		}
	}
}
