// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package published

import (
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/detect/internal/param"
	"systole/engine/detect/internal/silence"
)

// TwoWindow returns 2W-FD of Tomsic, Sens, Garcia, Arantes and Sopena, "2W-FD: A Failure Detector
// Algorithm with QoS", IPDPS 2015. The expected arrival is the later of Chen's over a short window,
// which follows sudden changes, and Chen's over a long window, which is steady. The margin beyond
// it is constant.
//
// Suspicion is the time since the expected arrival, in margins: 1 is the deadline.
//
// The parameter alpha is the margin, Δto in the paper, at most 1 hour; 0 means two periods of the
// sender. The windows short and long are in heartbeats: short from 1 to 16, long from short to 1000.
// 0 means 1 and 1000, as in the paper. Each heartbeat of the long window takes 8 bytes per peer. A
// peer is failed at the suspicion fail, above 1; 0 means 10.
func TwoWindow(alpha time.Duration, short, long int, fail float64) detect.Detector {
	return &twoWindow{
		alpha: alpha, fail: fail,
		short: int(param.OrDefault(float64(short), defaultShort)), long: offsets{int(param.OrDefault(float64(long), defaultLong))},
	}
}

// twoWindow is the detector of TwoWindow, with its parameters.
type twoWindow struct {
	alpha time.Duration
	short int
	long  offsets
	fail  float64
}

var _ detect.Detector = (*twoWindow)(nil)

const (
	twoExpected = iota // arrival of the next heartbeat
	twoMargin          // ns
	twoOffsets
)

const (
	defaultShort = 1
	defaultLong  = 1000
	maxShort     = 16
)

// Name returns "2w".
func (d *twoWindow) Name() string { return "2w" }

// Words returns the size of a state in words.
func (d *twoWindow) Words() int { return twoOffsets + d.long.words() }

// Summary returns the number of words that Suspicion reads.
func (d *twoWindow) Summary() int { return twoMargin + 1 }

// Levels returns 1 and d.fail.
func (d *twoWindow) Levels() (suspect, fail float64) { return 1, param.OrDefault(d.fail, 10) }

// Reset returns state to that of a peer without a heartbeat.
func (d *twoWindow) Reset(state []uint64) { clear(state[:d.Words()]) }

// Heartbeat takes a heartbeat.
func (d *twoWindow) Heartbeat(state []uint64, h *detect.Heartbeat) {
	w := d.long
	window := state[twoOffsets:]
	relative, ok := w.add(window, h)
	if !ok {
		return
	}
	period := silence.ClampPeriod(h.Period)
	later := max(w.mean(window), w.last(window, d.short))
	state[twoExpected] = uint64(max(h.Arrival.Add(time.Duration(later-relative)+period), 1))
	state[twoMargin] = uint64(2 * period)
	if d.alpha != 0 {
		state[twoMargin] = uint64(d.alpha)
	}
}

// Suspicion returns the time from the expected arrival to at in margins.
func (d *twoWindow) Suspicion(summary []uint64, at clock.Instant) float64 {
	return silence.Linear(clock.Instant(summary[twoExpected]), time.Duration(summary[twoMargin]), at)
}

// Deadline returns when Suspicion reaches level.
func (d *twoWindow) Deadline(summary []uint64, level float64) clock.Instant {
	return silence.LinearDeadline(clock.Instant(summary[twoExpected]), time.Duration(summary[twoMargin]), level)
}
