package engine

import (
	"time"

	"systole/engine/clock"
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
func (s *shard) pauseThreshold() time.Duration {
	return max(2*s.grid, minPauseThreshold)
}

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
