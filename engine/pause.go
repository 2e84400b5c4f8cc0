// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"time"

	"systole/engine/clock"
	"systole/ringbuf"
)

// pauses remembers the times at which this node stood still: stopped by a signal,
// starved of its CPU, or suspended with its whole machine. The kernel may have stood
// still as well, so an empty socket then proves nothing against a peer. Every deadline
// is later by what was lost since the peer's last arrival, once.
type pauses struct {
	total int64         // ns of all pauses so far
	from  clock.Instant // the last pause
	to    clock.Instant
}

// pauseThreshold is the lateness above which a turn counts as a pause, beyond what the turn
// before worked.
func (s *shard) pauseThreshold() time.Duration { return pauseThreshold(s.grid) }

// pauseThreshold returns that lateness for a loop that wakes on a grid.
func pauseThreshold(grid time.Duration) time.Duration { return max(2*grid, minPauseThreshold) }

// minPauseThreshold is far above what a waiting thread of an idle machine is late (0.1
// ms) and below the least margin anyone would use.
const minPauseThreshold = 2 * time.Millisecond

// paused notes that this node stood still for d until now. Pauses of a period and more
// are published.
func (s *shard) paused(d time.Duration) {
	s.pause.total += int64(d)
	s.pause.from, s.pause.to = s.now.Add(-d), s.now
	s.shown.pausedTo.Set(uint64(s.pause.to))
	s.shown.paused.Set(uint64(s.pause.total))
	s.counters.pauses.Add(1)
	if d >= s.engine.cfg.Period {
		s.publishNode(record{cause: LocalPause, pause: int64(d)})
	}
}

// lostAt returns the sum of pauses as it stood at the instant at, which is not after
// now. Only the last pause can lie around at: earlier arrivals were read earlier.
func (s *shard) lostAt(at clock.Instant) int64 {
	if at >= s.pause.to {
		return s.pause.total
	}
	return s.pause.total - int64(s.pause.to.Sub(max(at, s.pause.from)))
}

// excuse returns what this node's own faults take off p's silence.
func (s *shard) excuse(p *peer) excuse {
	return excuse{
		from: p.deadline.from, lost: time.Duration(s.pause.total - int64(p.deadline.paused.Get())), to: s.pause.to,
		grace: clock.Instant(p.deadline.grace.Get()),
	}
}

// effective returns a deadline of p's as it counts.
func (s *shard) effective(p *peer, deadline clock.Instant) clock.Instant {
	x := s.excuse(p)
	return x.deadline(deadline)
}

// shownEvidence is what a shard publishes for those who judge its peers elsewhere: up to
// when it has heard everything, and what it stood still. A few plain stores per turn,
// and none per heartbeat.
type shownEvidence struct {
	readTo   ringbuf.Word // clock.Instant: what had arrived until then is published
	paused   ringbuf.Word // pauses.total
	pausedTo ringbuf.Word // pauses.to; stored before paused
}

// showRead publishes up to when the sockets were read for certain. To be certain up to now may
// take a system call, which is made where Peer.Poll asks. Like putOff, it gives
// sockets that could not be read empty a little longer.
func (s *shard) showRead() {
	if s.readAsked {
		s.readAsked = !s.isSure()
		s.unfinished = s.unfinished || s.readAsked
	}
	to := s.sure
	if s.drained != s.now {
		to = s.drained - clock.Instant(maxUndrained)
	}
	if to > clock.Instant(s.shown.readTo.Get()) {
		s.shown.readTo.Set(uint64(to))
	}
}

// LoopPauses finds the pauses of a loop of the program's own that judges peers: times at which it was
// stopped, starved of its CPU, or suspended with its machine. The engine's loops notice those only
// if they had something to do meanwhile. A pause is no evidence against a peer: Summary.Excuse takes
// it off.
//
// One goroutine at a time may use a LoopPauses.
type LoopPauses struct {
	// Grid is the raster on which the loop wakes, Engine.Grid for instance. Lateness of two steps,
	// and of 2 ms, is no pause.
	Grid time.Duration

	cost turnCost
	lost time.Duration // in the last pause, and those that it followed closely
	to   clock.Instant // its end
}

// Begin starts a pass of the loop at now. The loop had wanted it at due: 0 for the first pass,
// clock.Never if only an event was waited for, the instant of the pass before if that had more to
// do. work is what the pass before had to do, in units that take about as long each, such as
// peers judged: a pass that is long for that reason is no pause.
func (l *LoopPauses) Begin(now, due clock.Instant, work int) {
	l.cost.units = work
	pause := l.cost.pause(now, due, pauseThreshold(l.Grid))
	l.cost.begin(now, due == l.cost.began)
	if pause == 0 {
		return
	}
	if now.Add(-pause) > l.to.Add(l.lost) {
		l.lost = 0
	}
	l.lost, l.to = l.lost+pause, now
}
