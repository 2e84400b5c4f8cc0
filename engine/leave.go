package engine

import (
	"time"

	"systole/engine/clock"
)

// leaving is the state of a shard that says goodbye to its peers. Goodbyes are heartbeats with the
// leaving flag. They are sent in several rounds, because datagrams get lost, and spread over turns,
// so that they do not overflow the device's queue.
type leaving struct {
	active bool
	round  int           // rounds completed
	slot   uint32        // next slot of this round
	next   clock.Instant // when the next turn's goodbyes are due
}

const (
	// goodbyes is the number of rounds. At a loss of 20 % one peer in 125 misses all three.
	goodbyes = 3
	// goodbyesPerTurn bounds the goodbyes of one turn.
	goodbyesPerTurn = 16 * batchSize
	// goodbyeGap is the time between rounds, so that a short burst of loss does not hit all of them.
	goodbyeGap = 2 * time.Millisecond
)

// startLeaving starts the goodbyes. Scheduled heartbeats continue, also with the leaving flag.
func (s *shard) startLeaving() {
	if !s.leaving.active {
		s.leaving = leaving{active: true, next: s.now}
	}
}

// done reports whether all goodbyes were sent.
func (l *leaving) done() bool { return l.round == goodbyes }

// sayGoodbye sends a bounded number of goodbyes.
func (s *shard) sayGoodbye() {
	l := &s.leaving
	for range goodbyesPerTurn {
		if l.slot >= s.table.slots.Load() {
			l.round++
			l.slot = 0
			l.next = s.now.Add(goodbyeGap)
			if l.done() {
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
		p := s.table.peer(slot)
		s.readBelow(p, slot, s.now) // a stranger gets a goodbye for a heartbeat
		if s.mayLeave(p) {
			s.send(p, slot, s.now)
		}
	}
	l.next = s.now
}

// mayLeave reports whether p gets a goodbye: it is watched and in touch.
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
