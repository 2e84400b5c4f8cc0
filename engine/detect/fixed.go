// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package detect

import (
	"time"

	"systole/engine/clock"
)

// Fixed is the rule of BFD (RFC 5880, 6.8.4): a peer is suspect when nothing arrived for Multiplier
// periods. Suspicion is the silence in units of that detection time.
//
// It does not adapt to the path: a queue that delays one heartbeat by Multiplier periods is a
// mistake.
type Fixed struct {
	// Multiplier is the detection time in periods, from 1 to 1000. 0 means 3.
	Multiplier float64
	// Fail is the suspicion at which a peer is failed, above 1. 0 means 7.
	Fail float64
}

var _ Detector = (*Fixed)(nil)

const (
	fixedArrival = iota // of the newest heartbeat
	fixedTime           // the detection time, ns
	fixedSequence
	fixedWords
)

// Name returns "fixed".
func (f *Fixed) Name() string { return "fixed" }

// Words returns the size of a state in words.
func (f *Fixed) Words() int { return fixedWords }

// Summary returns the number of words that Suspicion reads.
func (f *Fixed) Summary() int { return fixedTime + 1 }

// Levels returns 1 and f.Fail.
func (f *Fixed) Levels() (suspect, fail float64) { return 1, orDefault(f.Fail, 7) }

// Reset returns state to that of a peer without a heartbeat.
func (f *Fixed) Reset(state []uint64) { clear(state[:fixedWords]) }

// Heartbeat takes a heartbeat.
func (f *Fixed) Heartbeat(state []uint64, h *Heartbeat) {
	state = state[:fixedWords]
	if !newer(h, state[fixedArrival], state[fixedSequence]) {
		return
	}
	state[fixedSequence] = h.Sequence
	state[fixedArrival] = uint64(newest(h, state[fixedArrival]))
	state[fixedTime] = uint64(orDefault(f.Multiplier, 3) * float64(clampPeriod(h.Period)))
}

// Suspicion returns the silence until at in detection times.
func (f *Fixed) Suspicion(summary []uint64, at clock.Instant) float64 {
	return linear(clock.Instant(summary[fixedArrival]), time.Duration(summary[fixedTime]), at)
}

// Deadline returns when Suspicion reaches level.
func (f *Fixed) Deadline(summary []uint64, level float64) clock.Instant {
	return linearDeadline(clock.Instant(summary[fixedArrival]), time.Duration(summary[fixedTime]), level)
}

// orDefault returns v, or d if v is 0.
func orDefault(v, d float64) float64 {
	if v == 0 {
		return d
	}
	return v
}
