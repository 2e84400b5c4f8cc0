// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"time"

	"systole/engine/clock"
)

// work tells how long a pass of a loop takes for what it has to do, so that a long one is
// not taken for a pause: while we work, the kernel goes on receiving and stamping.
type work struct {
	began clock.Instant // the last pass
	units int           // of work in it: datagrams, timers, commands
	cost  time.Duration // of a unit
}

const (
	// minWork is how many units a pass must have had for its cost to be learned.
	minWork = 64
	// firstCost is that of a unit while none was measured: high, so that the first flood is not
	// taken for a pause on a slow machine either.
	firstCost = 5 * time.Microsecond
	// A unit's cost moves by a costShare-th of the way, and up by as much of itself at most:
	// one pause is not learned as work.
	costShare = 8
)

// begin takes over that a pass begins at now, at once after the last if that had more to do, and
// returns until when the last one's work is taken to have lasted.
func (w *work) begin(now clock.Instant, atOnce bool) (until clock.Instant) {
	if w.cost == 0 {
		w.cost = firstCost
	}
	until = w.began.Add(time.Duration(w.units) * w.cost)
	if atOnce && w.units >= minWork {
		each := now.Sub(w.began) / time.Duration(w.units)
		w.cost += (min(each, 2*w.cost) - w.cost) / costShare
		w.cost = max(w.cost, costShare) // below, it could not grow
	}
	w.began, w.units = now, 0
	return until
}
