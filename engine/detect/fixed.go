package detect

import (
	"errors"
	"fmt"
	"time"

	"systole/engine/clock"
)

// Fixed is BFD's rule (RFC 5880, 6.8.4): a peer is suspect when nothing arrived for
// Multiplier periods. Suspicion is the silence in units of that detection time.
//
// It is simple and knows nothing of the path: a queue that delays one heartbeat by
// Multiplier periods is a mistake.
type Fixed struct {
	// Multiplier is the detection time in periods. 0 means 3. At least 1, at most 1000.
	Multiplier float64
	// Fail is the suspicion at which a peer is failed. 0 means 7. More than 1.
	Fail float64
}

var _ Detector = (*Fixed)(nil)

const (
	fixedArrival = iota // of the newest heartbeat
	fixedTime           // detection time, ns
	fixedSequence
	fixedWords
)

// Validate reports every fault of f.
func (f *Fixed) Validate() error {
	var multiplier, fail error
	if m := f.Multiplier; m != 0 && !(m >= 1 && m <= 1000) {
		multiplier = fmt.Errorf("detect: Fixed.Multiplier %v is not within 1 to 1000", m)
	}
	if f.Fail != 0 && !(f.Fail > 1 && f.Fail <= maxLevel) {
		fail = fmt.Errorf("detect: Fixed.Fail %v is not above 1 and at most %v", f.Fail, float64(maxLevel))
	}
	return errors.Join(multiplier, fail)
}

// maxLevel bounds levels of failure: beyond it a deadline would be years away.
const maxLevel = 1e6

// Name returns "fixed".
func (f *Fixed) Name() string { return "fixed" }

// Words returns the size of a state.
func (f *Fixed) Words() int { return fixedWords }

// Summary returns how many words Suspicion reads.
func (f *Fixed) Summary() int { return fixedTime + 1 }

// Levels returns 1 and f.Fail.
func (f *Fixed) Levels() (suspect, fail float64) { return 1, orDefault(f.Fail, 7) }

// Reset forgets everything.
func (f *Fixed) Reset(state []uint64) { clear(state[:fixedWords]) }

// Heartbeat takes a heartbeat.
func (f *Fixed) Heartbeat(state []uint64, h *Heartbeat) {
	state = state[:fixedWords]
	if state[fixedArrival] != 0 && h.Sequence <= state[fixedSequence] {
		return
	}
	state[fixedSequence] = h.Sequence
	state[fixedArrival] = uint64(h.Arrival)
	state[fixedTime] = uint64(orDefault(f.Multiplier, 3) * float64(clampPeriod(h.Period)))
}

// Suspicion returns the silence until at in detection times.
func (f *Fixed) Suspicion(summary []uint64, at clock.Instant) float64 {
	return linear(clock.Instant(summary[fixedArrival]), time.Duration(summary[fixedTime]), at)
}

// Deadline returns when Suspicion reaches level.
func (f *Fixed) Deadline(state []uint64, level float64) clock.Instant {
	return linearDeadline(clock.Instant(state[fixedArrival]), time.Duration(state[fixedTime]), level)
}

// orDefault returns v, or d if v is 0.
func orDefault(v, d float64) float64 {
	if v == 0 {
		return d
	}
	return v
}
