// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"time"

	"systole/engine/clock"
	"systole/ringbuf"
)

// pauses records when this node stood still: it was stopped by a signal, starved of CPU, or suspended
// with its machine. The kernel may have stood still as well, so an empty socket is no evidence against
// a peer. Deadlines are extended by the pauses since the peer's last arrival.
type pauses struct {
	total int64         // sum of all pauses, ns
	from  clock.Instant // begin of the last pause
	to    clock.Instant // end of the last pause
}

// pauseThreshold is the lateness above which a turn counts as a pause. The time that the previous turn
// worked does not count.
func (s *shard) pauseThreshold() time.Duration { return pauseThreshold(s.grid) }

// pauseThreshold returns that lateness for a loop that wakes on a grid.
func pauseThreshold(grid time.Duration) time.Duration { return max(2*grid, minPauseThreshold) }

// minPauseThreshold is far above the wake-up latency of an idle machine (0.1 ms), and below any useful
// margin.
const minPauseThreshold = 2 * time.Millisecond

// paused records a pause of length d that ended now. It is published if it took a period or more.
func (s *shard) paused(d time.Duration) {
	s.pause.total += int64(d)
	s.pause.from, s.pause.to = s.now.Add(-d), s.now
	s.shown.pausedTo.Set(uint64(s.pause.to))
	s.shown.paused.Set(uint64(s.pause.total))
	s.counters.pauses.Add(1)
	if d >= s.engine.cfg.Period {
		s.publishNode(NodeEvent{Cause: LocalPause, Pause: d})
	}
}

// lostAt returns the sum of pauses at the instant at, which is not after now. Only the last pause can
// include at: earlier arrivals were read earlier.
func (s *shard) lostAt(at clock.Instant) int64 {
	if at >= s.pause.to {
		return s.pause.total
	}
	return s.pause.total - int64(s.pause.to.Sub(max(at, s.pause.from)))
}

// excuse returns by how much this node's own faults excuse p's silence.
func (s *shard) excuse(p *peer) excuse {
	return excuse{
		from: p.deadline.from, lost: time.Duration(s.pause.total - int64(p.deadline.paused.Get())), to: s.pause.to,
		grace: clock.Instant(p.deadline.grace.Get()),
	}
}

// effective returns a deadline of p with its excuse applied.
func (s *shard) effective(p *peer, deadline clock.Instant) clock.Instant {
	x := s.excuse(p)
	return x.deadline(deadline)
}

// shownEvidence is the part of a shard's evidence that interpreters read. It costs a few plain stores
// per turn.
type shownEvidence struct {
	readTo   ringbuf.Word // clock.Instant: all earlier arrivals are published
	paused   ringbuf.Word // pauses.total
	pausedTo ringbuf.Word // pauses.to; stored before paused
}

// showRead publishes up to when the sockets have been read for certain. To find out may take a system
// call, which showRead makes only if Peer.Poll has asked. Like putOff, it takes sockets that could
// not be read empty as read after a while.
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
	// Grid is the step of the grid on which the loop wakes, Engine.Grid for instance. Lateness of two steps,
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
