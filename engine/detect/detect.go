// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

// Package detect turns heartbeats into suspicion. A [Detector] is an algorithm with its
// parameters and holds nothing of a peer: what it knows of one is a few words that the
// engine keeps in flat memory. It reads no clock, allocates nothing and is told every
// instant, so the same code runs on sockets, in simulation and over recordings.
//
// Detectors anchor on the sender's sequence and schedule, not on the gap since the last
// arrival: a heartbeat that is stale, duplicated or reordered changes nothing, and a
// burst after a pause does not look like a fast link.
package detect

import (
	"math"
	"time"

	"systole/engine/clock"
)

// Heartbeat is what a detector is told of one.
type Heartbeat struct {
	Sequence uint64        // the sender's
	Send     clock.Instant // on the sender's clock
	Late     time.Duration // how late after its schedule it was sent: due at Send - Late
	Arrival  clock.Instant // on our clock: the kernel's or the NIC's stamp
	Period   time.Duration // the sender's period η from this heartbeat on; 1 µs to 2^32 µs
	Paused   time.Duration // what this node stood still since the arrival before: no fault of the peer's
}

// Detector is a failure detector. The state it is given is Words words, zero before the
// first Reset, and only one goroutine at a time calls a method with one state. The
// methods themselves keep nothing, so one Detector serves all peers.
type Detector interface {
	// Name is the detector's name as flags and reports have it.
	Name() string
	// Words is the size of a state, and Summary how many words at its beginning
	// Suspicion reads: the part that is published to readers.
	Words() int
	Summary() int
	// Levels are the suspicions at which a peer is suspect, and failed.
	Levels() (suspect, fail float64)
	// Reset forgets everything. No heartbeat is expected before the first one came.
	Reset(state []uint64)
	// Heartbeat takes a heartbeat. One that is not newer than the last is ignored.
	Heartbeat(state []uint64, h *Heartbeat)
	// Suspicion is the level at the instant at: finite, not negative, and it does not
	// fall while nothing is heard. It is 0 before the first heartbeat.
	Suspicion(summary []uint64, at clock.Instant) float64
	// Deadline is the first instant at which Suspicion reaches level, which is above
	// 0; clock.Never if it never does. It too reads the summary only.
	Deadline(summary []uint64, level float64) clock.Instant
}

// linear is the suspicion of detectors whose level is a time in units of another: it
// grows from 0 at the instant from by 1 per unit.
func linear(from clock.Instant, unit time.Duration, at clock.Instant) float64 {
	if from == 0 || at <= from {
		return 0
	}
	return float64(at.Sub(from)) / float64(unit)
}

// linearDeadline is the first instant at which linear reaches level.
func linearDeadline(from clock.Instant, unit time.Duration, level float64) clock.Instant {
	d := math.Ceil(level * float64(unit))
	if from == 0 || !(d < float64(clock.Never-from)-1<<13) {
		return clock.Never
	}
	// The product was rounded, and the quotient that linear computes decides. Either is
	// off by less than 2^-52 of itself: 2 ns on this side of 26 days, 4 µs at worst, by
	// which the search stays clear of Never.
	at := from.Add(time.Duration(d))
	near := clock.Instant(d)>>51 + 2
	early, late := max(at-near, from), at+near
	for late-early > 1 {
		middle := early + (late-early)/2
		if linear(from, unit, middle) < level {
			early = middle
		} else {
			late = middle
		}
	}
	return late
}

// clampPeriod keeps a period within what arithmetic bears. It holds all that a datagram
// can announce, so only a caller that makes its heartbeats itself can leave it.
func clampPeriod(d time.Duration) time.Duration {
	return min(max(d, time.Microsecond), 1<<32*time.Microsecond)
}

// newer reports whether h is the first heartbeat of a peer last heard at arrival, 0 if
// never, or newer than its last.
func newer(h *Heartbeat, arrival, sequence uint64) bool {
	return arrival == 0 || h.Sequence > sequence
}

// newest is the arrival to keep of a newer heartbeat. A weaker stamp of the one before
// can lie later; what is heard already is not unheard. 0 is kept for never.
func newest(h *Heartbeat, arrival uint64) clock.Instant {
	return max(h.Arrival, clock.Instant(arrival), 1)
}
