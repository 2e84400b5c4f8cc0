// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package detect

import (
	"math"
	"time"

	"systole/engine/clock"
)

// linear is a suspicion that grows by 1 per unit from 0 at the instant from.
func linear(from clock.Instant, unit time.Duration, at clock.Instant) float64 {
	if from == 0 || at <= from {
		return 0
	}
	return float64(at.Sub(from)) / float64(unit)
}

// linearDeadline returns the first instant at which linear reaches level.
func linearDeadline(from clock.Instant, unit time.Duration, level float64) clock.Instant {
	d := math.Ceil(level * float64(unit))
	if from == 0 || !(d < float64(clock.Never-from)-1<<13) {
		return clock.Never
	}
	// The product is rounded, but the quotient in linear decides, so search around the product.
	// Either is wrong by less than 2^-52 of itself: 2 ns below 26 days, 4 µs at most. The search
	// stays that far from Never.
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

// firstAt returns the first instant at which d's suspicion reaches level. after is an estimate of
// the time from the instant from until then, in ns. A bisection around the estimate finds the
// instant; its interval is widened until it contains the instant. The result is clock.Never if from
// is 0, which means that there is no heartbeat, or if the instant is beyond all that there are.
func firstAt(d Detector, summary []uint64, from clock.Instant, after, level float64) clock.Instant {
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
