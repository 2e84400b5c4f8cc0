// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"time"

	"systole/engine/clock"
	"systole/engine/internal/prefetch"
)

// turn does the work that is due at r and returns when the next turn is due. Each part is bounded.
// turn never blocks and reads no clock. The order of the parts matters:
//   - lateness first: verdicts depend on it
//   - commands before receiving: the first heartbeat of an added peer finds the peer
//   - receiving before judging: heartbeats in the socket count
//   - learning last: no heartbeat waits for it
func (s *shard) turn(r clock.Reading) clock.Instant {
	s.begin(r)
	s.commands()
	s.receive()
	s.expire()
	s.transmit()
	s.learn()
	return s.end()
}

// begin starts a turn at r: it measures this node's lateness and loads what other goroutines have set.
func (s *shard) begin(r clock.Reading) {
	if r.Now < s.now {
		r.Now = s.now // a Manual program passed an earlier reading
	}
	s.counters.watched.Add(uint64(s.alive) * uint64(r.Now-s.now))
	s.reading = r
	s.now = r.Now
	s.span = spanOf(s.now)
	pause := s.cost.pause(s.now, s.wakeAt, s.pauseThreshold())
	s.cost.begin(s.now, s.unfinished)
	s.unfinished = false
	s.dropsAsked = false
	s.followIncarnation()
	s.followKeys()
	s.followCarriers()
	late := s.now.Sub(s.wakeAt)
	if s.wakeAt == 0 || late < 0 {
		late = 0
	}
	s.counters.turn(late, s.span)
	if pause > 0 {
		s.paused(pause)
	}
}

// followIncarnation loads the incarnation that Reincarnate may have begun.
func (s *shard) followIncarnation() {
	if now := s.engine.incarnation.Load(); now != s.incarnated {
		s.incarnated, s.incarnatedAt = now, s.now
	}
}

// expire serves the timers that are due, and work that belongs to no peer. A judge timer checks a
// peer, a send timer writes a heartbeat.
func (s *shard) expire() {
	n, more := s.wheel.Advance(s.now, s.expired[:])
	s.cost.units += n
	for k, id := range s.expired[:n] {
		if k+timersAhead < n {
			prefetch.Value(s.table.peer(s.expired[k+timersAhead] >> 1))
		}
		slot := id >> 1
		p := s.table.peer(slot)
		if p.session.mine == 0 {
			continue // removed earlier in this turn
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
	if s.leaving.active && s.leaving.next <= s.now {
		s.sayGoodbye()
	}
	if s.now.Sub(s.dropsAt) >= dropsEvery {
		s.askDrops()
	}
}

// dropsEvery is how often the kernel is asked for drops when no verdict depends on them.
const dropsEvery = time.Second

// timersAhead is how many timers ahead the memory of a timer's peer is asked for.
const timersAhead = 8

// transmit passes the written heartbeats to the kernel. No batch names the slots of removed peers then,
// so it frees them.
func (s *shard) transmit() {
	for i := range s.net.Sockets() {
		s.flush(i)
	}
	s.freeSlots()
}

// end publishes what the turn counted, and returns when the next turn is due.
func (s *shard) end() clock.Instant {
	s.showFigures()
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
