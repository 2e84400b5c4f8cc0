package engine

import (
	"time"

	"systole/engine/clock"
)

// leaving is the state of saying goodbye to every peer: rounds of heartbeats with the
// leaving flag, a few because datagrams get lost, spread over turns because a thousand
// at once would overflow the device's queue.
type leaving struct {
	active bool
	round  int
	slot   uint32        // the next one to say goodbye to in this round
	next   clock.Instant // when to go on
	done   bool
}

const (
	// goodbyes is how often each peer is told. Each is lost independently at worst
	// with the share of the link: at 20 % loss one peer in 125 misses all.
	goodbyes = 3
	// goodbyesPerTurn bounds the goodbyes written in one turn.
	goodbyesPerTurn = 16 * batchSize
	// goodbyeGap separates the rounds, so that one burst of loss does not eat all.
	goodbyeGap = 2 * time.Millisecond
)

// startLeaving begins to say goodbye. Heartbeats by schedule go on, and say it too.
func (s *shard) startLeaving() {
	if s.leaving.active {
		return
	}
	s.leaving = leaving{active: true, next: s.now}
}

// housekeeping does what is due but is of no single peer.
func (s *shard) housekeeping() {
	if s.leaving.active && !s.leaving.done && s.leaving.next <= s.now {
		s.sayGoodbye()
	}
	if s.now.Sub(s.dropsAt) >= dropsEvery {
		s.askDrops()
	}
}

// dropsEvery is how often the kernel is asked for drops when no verdict does.
const dropsEvery = time.Second

// sayGoodbye writes a bounded number of goodbyes.
func (s *shard) sayGoodbye() {
	l := &s.leaving
	for range goodbyesPerTurn {
		if l.slot >= s.table.slots.Load() {
			l.round++
			l.slot = 0
			l.next = s.now.Add(goodbyeGap)
			if l.round == goodbyes {
				l.done = true
				l.next = clock.Never
				s.engine.depart()
			}
			return
		}
		slot := l.slot
		l.slot++
		if s.engine.shardOf(slot) != s.number {
			continue
		}
		if p := s.table.peer(slot); s.mayLeave(p) {
			s.send(p, slot, s.now)
		}
	}
	l.next = s.now
}

// mayLeave reports whether p is to be told goodbye: watched, and in touch.
func (s *shard) mayLeave(p *peer) bool {
	if p.session.mine == 0 {
		return false
	}
	switch p.verdict.state() {
	case Connecting, Alive, OneWay, Suspect:
		return p.pace.mayLeave()
	}
	return false
}
