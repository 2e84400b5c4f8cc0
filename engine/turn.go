// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"systole/engine/clock"
)

// turn does all the work that is due at r, each part bounded, and returns when the
// next turn is due. It never blocks and reads no clock. The order matters: lateness
// first, since judging depends on it; commands before receiving, so that an added peer
// is known to its first heartbeat; receiving before judging, so that whoever is in
// the socket is heard before he is judged; learning last, when nobody waits for it.
func (s *shard) turn(r clock.Reading) clock.Instant {
	s.begin(r)
	s.commands()
	s.receive()
	s.expire()
	s.transmit()
	s.learn()
	return s.end()
}

// begin takes over the reading and measures our own lateness.
func (s *shard) begin(r clock.Reading) {
	if r.Now < s.now {
		r.Now = s.now // a program's own clock went back; instants never do
	}
	s.counters.watched.Add(uint64(s.alive) * uint64(r.Now-s.now))
	s.reading = r
	s.now = r.Now
	pause := s.cost.pause(s.now, s.wakeAt, s.pauseThreshold())
	s.cost.begin(s.now, s.unfinished)
	s.unfinished = false
	s.dropsAsked = false
	s.followIncarnation()
	s.followKeys()
	s.followPlan()
	late := s.now.Sub(s.wakeAt)
	if s.wakeAt == 0 || late < 0 {
		late = 0
	}
	s.counters.turn(late)
	if pause > 0 {
		s.paused(pause)
	}
}

// followIncarnation takes over the incarnation that Reincarnate has begun since the turn before.
func (s *shard) followIncarnation() {
	if now := s.engine.incarnation.Load(); now != s.incarnated {
		s.incarnated, s.incarnatedAt = now, s.now
	}
}

// expire serves the timers that are due: judge timers check a peer, send timers
// write a heartbeat.
func (s *shard) expire() {
	n, more := s.wheel.Advance(s.now, s.expired[:])
	s.cost.units += n
	for _, id := range s.expired[:n] {
		slot := id >> 1
		p := s.table.peer(slot)
		if p.session.mine == 0 {
			continue // removed by a timer served just now
		}
		if id&1 == 0 {
			s.sendDue(p, slot)
		} else {
			s.check(p, slot)
		}
	}
	if more {
		s.unfinished = true
	}
	s.housekeeping()
}

// transmit hands the written heartbeats to the kernel, then gives back the slots of peers
// that were removed, which nothing names any more.
func (s *shard) transmit() {
	for i := range s.net.Sockets() {
		s.flush(i)
	}
	s.freeSlots()
}

// end returns when the next turn is due.
func (s *shard) end() clock.Instant {
	s.previous = s.reading
	s.wakeAt = s.wheel.Next()
	if s.leaving.active {
		s.wakeAt = min(s.wakeAt, s.leaving.next)
	}
	if s.unfinished {
		s.wakeAt = s.now
	}
	return s.wakeAt
}
