// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package detect

import (
	"time"

	"systole/engine/clock"
)

// TwoWindow is 2W-FD of Tomsic, Sens, Garcia, Arantes and Sopena, "2W-FD: A Failure Detector
// Algorithm with QoS", IPDPS 2015. The expected arrival is the later of Chen's over a short window,
// which follows sudden changes, and Chen's over a long window, which is steady. The margin beyond
// it is constant.
//
// Suspicion is the time since the expected arrival, in margins: 1 is the deadline.
type TwoWindow struct {
	// Alpha is the margin, Δto in the paper, at most 1 hour. 0 means two periods of the sender.
	Alpha time.Duration
	// Short and Long are the windows in heartbeats: Short from 1 to 16, Long from Short to 1000. 0
	// means 1 and 1000, as in the paper. Each heartbeat of Long takes 8 bytes per peer.
	Short, Long int
	// Fail is the suspicion at which a peer is failed, above 1. 0 means 10.
	Fail float64
}

var _ Detector = (*TwoWindow)(nil)

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

func (d *TwoWindow) short() int    { return int(orDefault(float64(d.Short), defaultShort)) }
func (d *TwoWindow) long() offsets { return offsets{int(orDefault(float64(d.Long), defaultLong))} }

// Name returns "2w".
func (d *TwoWindow) Name() string { return "2w" }

// Words returns the size of a state in words.
func (d *TwoWindow) Words() int { return twoOffsets + d.long().words() }

// Summary returns the number of words that Suspicion reads.
func (d *TwoWindow) Summary() int { return twoMargin + 1 }

// Levels returns 1 and d.Fail.
func (d *TwoWindow) Levels() (suspect, fail float64) { return 1, orDefault(d.Fail, 10) }

// Reset returns state to that of a peer without a heartbeat.
func (d *TwoWindow) Reset(state []uint64) { clear(state[:d.Words()]) }

// Heartbeat takes a heartbeat.
func (d *TwoWindow) Heartbeat(state []uint64, h *Heartbeat) {
	w := d.long()
	window := state[twoOffsets:]
	relative, ok := w.add(window, h)
	if !ok {
		return
	}
	period := clampPeriod(h.Period)
	later := max(w.mean(window), w.last(window, d.short()))
	state[twoExpected] = uint64(max(h.Arrival.Add(time.Duration(later-relative)+period), 1))
	state[twoMargin] = uint64(2 * period)
	if d.Alpha != 0 {
		state[twoMargin] = uint64(d.Alpha)
	}
}

// Suspicion returns the time from the expected arrival to at in margins.
func (d *TwoWindow) Suspicion(summary []uint64, at clock.Instant) float64 {
	return linear(clock.Instant(summary[twoExpected]), time.Duration(summary[twoMargin]), at)
}

// Deadline returns when Suspicion reaches level.
func (d *TwoWindow) Deadline(summary []uint64, level float64) clock.Instant {
	return linearDeadline(clock.Instant(summary[twoExpected]), time.Duration(summary[twoMargin]), level)
}
