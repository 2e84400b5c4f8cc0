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
		s.publishNode(LocalPause, d)
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

// effective returns deadline, later by what this node stood still since p's last
// arrival, but never later than the end of the last pause plus p's whole wait: after
// that much time awake, silence is silence.
func (s *shard) effective(p *peer, deadline clock.Instant) clock.Instant {
	lost, grace := s.pause.total-int64(p.pausedBefore.Get()), clock.Instant(p.graceTo.Get())
	if canary {
		lost = 0
	}
	if lost <= 0 || deadline == clock.Never {
		return max(deadline, grace)
	}
	wait := s.granted(p, deadline)
	shifted := min(deadline.Add(time.Duration(lost)), s.pause.to.Add(wait))
	return max(deadline, shifted, grace)
}

// granted returns for how long p may be silent until deadline: since it was heard last, be it by
// one that did not prove to hear us. Who was never heard has ConnectTimeout.
func (s *shard) granted(p *peer, deadline clock.Instant) time.Duration {
	switch {
	case p.arrival != 0:
		return deadline.Sub(p.arrival)
	case p.candidateAt != 0:
		return deadline.Sub(p.candidateAt)
	}
	return s.engine.cfg.ConnectTimeout
}
