// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package detect

import (
	"time"

	"systole/engine/clock"
)

// Chen is NFD-E of Chen, Toueg and Aguilera, "On the Quality of Service of Failure
// Detectors", IEEE Transactions on Computers 51(5), 2002: the expected arrival of the
// next heartbeat is the mean of the last arrivals, each shifted to it by the schedule,
// and the peer is suspected when the margin α beyond it has passed.
//
// The paper shifts by sequence times η. Here each heartbeat carries when it was due on
// its sender's clock, and the shift is the difference of due times: the same while the
// period is constant, and still right when the period is renegotiated or the sender
// skipped a part of its schedule. The paper also assumes clocks that run and never step.
// See offsets for the rule for steps of the sender's clock; a smaller step
// forward of the sender's clock puts the deadline off by up to its size, for as many
// heartbeats as the window has.
//
// Suspicion is the time since the expected arrival in margins, so 1 is the deadline.
type Chen struct {
	// Alpha is the safety margin α. 0 means two periods of the sender, so that with the
	// period itself three pass from the last heartbeat, as with BFD's usual multiplier.
	Alpha time.Duration
	// Window is the number of arrivals in the mean. 0 means 16; the paper uses 1000. From
	// 1 to 1000; each takes 8 bytes per peer. A mean of 16 follows a step of the path
	// within 16 heartbeats and is a sixteenth as noisy as one arrival.
	Window int
	// Fail is the suspicion at which a peer is failed. 0 means 10. More than 1.
	Fail float64
}

var _ Detector = (*Chen)(nil)

const (
	chenExpected = iota // arrival of the next heartbeat
	chenMargin          // α, ns
	chenOffsets         // the window
)

const defaultChenWindow = 16

// window returns the arrivals in the mean.
func (c *Chen) window() offsets {
	if c.Window == 0 {
		return offsets{defaultChenWindow}
	}
	return offsets{c.Window}
}

// Name returns "chen".
func (c *Chen) Name() string { return "chen" }

// Words returns the size of a state.
func (c *Chen) Words() int { return chenOffsets + c.window().words() }

// Summary returns how many words Suspicion reads.
func (c *Chen) Summary() int { return chenMargin + 1 }

// Levels returns 1 and c.Fail.
func (c *Chen) Levels() (suspect, fail float64) { return 1, orDefault(c.Fail, 10) }

// Reset forgets everything.
func (c *Chen) Reset(state []uint64) { clear(state[:c.Words()]) }

// Heartbeat takes a heartbeat.
func (c *Chen) Heartbeat(state []uint64, h *Heartbeat) {
	w := c.window()
	relative, ok := w.add(state[chenOffsets:], h)
	if !ok {
		return
	}
	period := clampPeriod(h.Period)
	// The mean + due + η, where due is the arrival less its own offset.
	late := time.Duration(w.mean(state[chenOffsets:]) - relative)
	state[chenExpected] = uint64(max(h.Arrival.Add(late+period), 1))
	state[chenMargin] = uint64(2 * period)
	if c.Alpha != 0 {
		state[chenMargin] = uint64(c.Alpha)
	}
}

// Suspicion returns the time from the expected arrival to at in margins.
func (c *Chen) Suspicion(summary []uint64, at clock.Instant) float64 {
	return linear(clock.Instant(summary[chenExpected]), time.Duration(summary[chenMargin]), at)
}

// Deadline returns when Suspicion reaches level.
func (c *Chen) Deadline(summary []uint64, level float64) clock.Instant {
	return linearDeadline(clock.Instant(summary[chenExpected]), time.Duration(summary[chenMargin]), level)
}
