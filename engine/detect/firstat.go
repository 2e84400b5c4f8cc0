// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package detect

import (
	"math"

	"systole/engine/clock"
)

// firstAt returns the first instant at which d's suspicion reaches level, given a rounded
// guess of how long after from, in nanoseconds, that is: the suspicion decides, by a
// search around the guess that widens until it holds the answer. It is clock.Never before
// the first heartbeat and for what is beyond all instants.
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
