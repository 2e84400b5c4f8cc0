// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package published

import (
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/detect/internal/param"
	"systole/engine/detect/internal/silence"
)

// Fixed returns the rule of BFD (RFC 5880, 6.8.4): a peer is suspect when nothing arrived for
// multiplier periods, from 1 to 1000; 0 means 3. Suspicion is the silence in units of that detection
// time. A peer is failed at the suspicion fail, above 1; 0 means 7.
//
// It does not adapt to the path: a queue that delays one heartbeat by multiplier periods is a
// mistake.
func Fixed(multiplier, fail float64) detect.Detector {
	return &fixed{multiplier: multiplier, fail: fail}
}

// fixed is the detector of Fixed, with its parameters.
type fixed struct{ multiplier, fail float64 }

var _ detect.Detector = (*fixed)(nil)

const (
	fixedArrival = iota // of the newest heartbeat
	fixedTime           // the detection time, ns
	fixedSequence
	fixedWords
)

// Name returns "fixed".
func (f *fixed) Name() string { return "fixed" }

// Words returns the size of a state in words.
func (f *fixed) Words() int { return fixedWords }

// Summary returns the number of words that Suspicion reads.
func (f *fixed) Summary() int { return fixedTime + 1 }

// Levels returns 1 and f.fail.
func (f *fixed) Levels() (suspect, fail float64) { return 1, param.OrDefault(f.fail, 7) }

// Reset returns state to that of a peer without a heartbeat.
func (f *fixed) Reset(state []uint64) { clear(state[:fixedWords]) }

// Heartbeat takes a heartbeat.
func (f *fixed) Heartbeat(state []uint64, h *detect.Heartbeat) {
	state = state[:fixedWords]
	if !silence.Newer(h.Sequence, state[fixedArrival], state[fixedSequence]) {
		return
	}
	state[fixedSequence] = h.Sequence
	state[fixedArrival] = uint64(silence.Newest(h.Arrival, state[fixedArrival]))
	state[fixedTime] = uint64(param.OrDefault(f.multiplier, 3) * float64(silence.ClampPeriod(h.Period)))
}

// Suspicion returns the silence until at in detection times.
func (f *fixed) Suspicion(summary []uint64, at clock.Instant) float64 {
	return silence.Linear(clock.Instant(summary[fixedArrival]), time.Duration(summary[fixedTime]), at)
}

// Deadline returns when Suspicion reaches level.
func (f *fixed) Deadline(summary []uint64, level float64) clock.Instant {
	return silence.LinearDeadline(clock.Instant(summary[fixedArrival]), time.Duration(summary[fixedTime]), level)
}
