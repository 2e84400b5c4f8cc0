// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package published

import (
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/detect/internal/param"
	"systole/engine/detect/internal/silence"
)

// Chen returns NFD-E of Chen, Toueg and Aguilera, "On the Quality of Service of Failure Detectors", IEEE
// Transactions on Computers 51(5), 2002. The expected arrival of the next heartbeat is the mean of
// the last arrivals, each shifted to it by the schedule. The peer is suspect when the margin α
// beyond the expected arrival has passed.
//
// The paper shifts by sequence times η. Here each heartbeat carries its due time on the sender's
// clock, and the shift is the difference of due times. That is the same while the period is
// constant, and still right when the period changes or the sender skips a part of its schedule. The
// paper assumes clocks without steps. Here a step beyond 2 minutes restarts the window (see
// offsets); a smaller step forward delays the deadline by up to its size, for as many heartbeats as
// the window has.
//
// Suspicion is the time since the expected arrival, in margins: 1 is the deadline.
//
// The parameter alpha is the safety margin α, at most 1 hour. 0 means two periods of the sender: then
// a peer is suspect three periods after its last heartbeat, as with BFD's usual multiplier. The
// parameter window is the number of arrivals in the mean, from 1 to 1000. 0 means 16; the paper uses
// 1000. Each takes 8 bytes per peer. A mean of 16 follows a step of the path within 16 heartbeats. A
// peer is failed at the suspicion fail, above 1; 0 means 10.
func Chen(alpha time.Duration, window int, fail float64) detect.Detector {
	return &chen{alpha: alpha, arrivals: window, fail: fail}
}

// chen is the detector of Chen, with its parameters.
type chen struct {
	alpha    time.Duration
	arrivals int
	fail     float64
}

var _ detect.Detector = (*chen)(nil)

const (
	chenExpected = iota // arrival of the next heartbeat
	chenMargin          // α, ns
	chenOffsets         // offsets
)

const defaultChenWindow = 16

// window returns the offsets over which the mean is taken.
func (c *chen) window() offsets {
	if c.arrivals == 0 {
		return offsets{defaultChenWindow}
	}
	return offsets{c.arrivals}
}

// Name returns "chen".
func (c *chen) Name() string { return "chen" }

// Words returns the size of a state in words.
func (c *chen) Words() int { return chenOffsets + c.window().words() }

// Summary returns the number of words that Suspicion reads.
func (c *chen) Summary() int { return chenMargin + 1 }

// Levels returns 1 and c.fail.
func (c *chen) Levels() (suspect, fail float64) { return 1, param.OrDefault(c.fail, 10) }

// Reset returns state to that of a peer without a heartbeat.
func (c *chen) Reset(state []uint64) { clear(state[:c.Words()]) }

// Heartbeat takes a heartbeat.
func (c *chen) Heartbeat(state []uint64, h *detect.Heartbeat) {
	w := c.window()
	relative, ok := w.add(state[chenOffsets:], h)
	if !ok {
		return
	}
	period := silence.ClampPeriod(h.Period)
	// Expected: due + mean + η, where due is the arrival minus its offset.
	late := time.Duration(w.mean(state[chenOffsets:]) - relative)
	state[chenExpected] = uint64(max(h.Arrival.Add(late+period), 1))
	state[chenMargin] = uint64(2 * period)
	if c.alpha != 0 {
		state[chenMargin] = uint64(c.alpha)
	}
}

// Suspicion returns the time from the expected arrival to at in margins.
func (c *chen) Suspicion(summary []uint64, at clock.Instant) float64 {
	return silence.Linear(clock.Instant(summary[chenExpected]), time.Duration(summary[chenMargin]), at)
}

// Deadline returns when Suspicion reaches level.
func (c *chen) Deadline(summary []uint64, level float64) clock.Instant {
	return silence.LinearDeadline(clock.Instant(summary[chenExpected]), time.Duration(summary[chenMargin]), level)
}
