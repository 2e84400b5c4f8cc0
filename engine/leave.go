package engine

import (
	"time"

	"systole/engine/clock"
)

// leaving is the state of a shard that says goodbye to its peers. Goodbyes are heartbeats with the
// leaving flag. They are sent in several rounds, because datagrams get lost, and spread over turns,
// so that they do not overflow the device's queue.
//
// A stranger gets no goodbye before it has sent a heartbeat to pay for it. One that was admitted a moment
// ago has spent all on the handshake, so further rounds wait for its next heartbeat.
type leaving struct {
	active bool
	owing  bool          // this round has met a peer that was not told and cannot pay yet
	round  int           // rounds completed
	slot   uint32        // next slot of this round
	since  clock.Instant // when the goodbyes began
	next   clock.Instant // when the next turn's goodbyes are due
}

const (
	// goodbyes is the number of rounds. At a loss of 20 % one peer in 125 misses all three.
	goodbyes = 3
	// goodbyesPerTurn bounds the goodbyes of one turn.
	goodbyesPerTurn = 16 * batchSize
	// goodbyeGap is the time between rounds, so that a short burst of loss does not hit all of them.
	goodbyeGap = 2 * time.Millisecond
	// goodbyeWait is how long goodbyes wait for peers that cannot pay yet: a long round trip.
	goodbyeWait = 250 * time.Millisecond
)

// startLeaving starts the goodbyes. Scheduled heartbeats continue, also with the leaving flag.
func (s *shard) startLeaving() {
	if !s.leaving.active {
		s.leaving = leaving{active: true, since: s.now, next: s.now}
	}
}

// done reports whether all goodbyes were sent.
func (l *leaving) done() bool { return l.next == clock.Never }

// sayGoodbye sends a bounded number of goodbyes.
func (s *shard) sayGoodbye() {
	l := &s.leaving
	for range goodbyesPerTurn {
		if l.slot >= s.table.slots.Load() {
			s.endGoodbyes()
			return
		}
		slot := l.slot
		l.slot++
		if s.engine.shardOf(slot) == s.number {
			s.goodbye(s.table.peer(slot), slot)
		}
	}
	l.next = s.now
}

// endGoodbyes ends a round, and schedules the next one, if any.
func (s *shard) endGoodbyes() {
	l := &s.leaving
	waits := l.owing && s.now.Sub(l.since) < goodbyeWait
	l.round, l.slot, l.owing = l.round+1, 0, false
	l.next = s.now.Add(goodbyeGap)
	if l.round >= goodbyes && !waits {
		l.next = clock.Never
		s.engine.depart()
	}
}

// goodbye sends a goodbye to p, if it is watched and in touch. Rounds beyond the last are for those that
// were not told.
func (s *shard) goodbye(p *peer, slot uint32) {
	s.readBelow(p, slot, s.now) // a stranger gets a goodbye for a heartbeat
	if p.session.mine == 0 || !inTouch(p.verdict.state()) {
		return
	}
	told := clock.Instant(p.sends.last.Get()) >= s.leaving.since
	switch {
	case told && s.leaving.round >= goodbyes:
	case p.pace.mayLeave():
		s.send(p, slot, s.now)
	case !told:
		s.leaving.owing = true
	}
}

// inTouch reports whether a peer in this state expects heartbeats.
func inTouch(state State) bool {
	switch state {
	case Connecting, Alive, OneWay, Suspect:
		return true
	}
	return false
}
