// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

// Package silence has the arithmetic that detectors share: suspicions that grow in silence, and the
// instants at which they reach a level.
package silence

import (
	"math"
	"time"

	"systole/engine/clock"
)

// Linear is a suspicion that grows by 1 per unit from 0 at the instant from.
func Linear(from clock.Instant, unit time.Duration, at clock.Instant) float64 {
	if from == 0 || at <= from {
		return 0
	}
	return float64(at.Sub(from)) / float64(unit)
}

// LinearDeadline returns the first instant at which Linear reaches level.
func LinearDeadline(from clock.Instant, unit time.Duration, level float64) clock.Instant {
	d := math.Ceil(level * float64(unit))
	if from == 0 || !(d < float64(clock.Never-from)-1<<13) {
		return clock.Never
	}
	// The product is rounded, but the quotient in Linear decides, so search around the product.
	// Either is wrong by less than 2^-52 of itself: 2 ns below 26 days, 4 µs at most. The search
	// stays that far from Never.
	at := from.Add(time.Duration(d))
	near := clock.Instant(d)>>51 + 2
	early, late := max(at-near, from), at+near
	for late-early > 1 {
		middle := early + (late-early)/2
		if Linear(from, unit, middle) < level {
			early = middle
		} else {
			late = middle
		}
	}
	return late
}

// Suspicion is the part of a detector that First needs.
type Suspicion interface {
	Suspicion(summary []uint64, at clock.Instant) float64
}

// First returns the first instant at which d's suspicion reaches level. after is an estimate of
// the time from the instant from until then, in ns. A bisection around the estimate finds the
// instant; its interval is widened until it contains the instant. The result is clock.Never if from
// is 0, which means that there is no heartbeat, or if the instant is beyond all that there are.
func First(d Suspicion, summary []uint64, from clock.Instant, after, level float64) clock.Instant {
	const last = clock.Never - 1
	if from == 0 || from >= last || !(after < float64(last-from)/2) {
		return clock.Never
	}
	guess := max(from+clock.Instant(math.Ceil(max(after, 0))), from+1)
	near := (guess-from)>>40 + 2
	early, late := max(guess-near, from), guess
	for range 62 {
		if late = guess + min(near, last-guess); d.Suspicion(summary, late) >= level {
			break
		}
		if late == last {
			return clock.Never
		}
		early, near = late, min(near, last/2)*2
	}
	for early > from && d.Suspicion(summary, early) >= level {
		early = max(early-near, from)
		near = min(near, last/2) * 2
	}
	for late-early > 1 {
		middle := early + (late-early)/2
		if d.Suspicion(summary, middle) < level {
			early = middle
		} else {
			late = middle
		}
	}
	return late
}

// MaxPhi is the greatest φ: probabilities below 10^-300 have no meaning.
const MaxPhi = 300

// OffsetStep bounds relative offsets, in ns: no datagram is older than the maximum segment lifetime
// (RFC 9293, 3.4.3). It also keeps sums from overflowing, whatever a sender claims.
const OffsetStep = int64(2 * time.Minute)

// ClampPeriod keeps a period within the range in which no arithmetic overflows: all that a datagram
// can announce.
func ClampPeriod(d time.Duration) time.Duration {
	return min(max(d, time.Microsecond), 1<<32*time.Microsecond)
}

// Newer reports whether a heartbeat has a higher sequence than the last, or is the first one: then
// the stored arrival is 0.
func Newer(sequence, arrival, last uint64) bool {
	return arrival == 0 || sequence > last
}

// Newest returns the arrival to store for a newer heartbeat: not before the stored one, which can
// be a later but weaker stamp, and not 0, which means that there is none.
func Newest(arrival clock.Instant, stored uint64) clock.Instant {
	return max(arrival, clock.Instant(stored), 1)
}
