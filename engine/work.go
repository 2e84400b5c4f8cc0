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
	// minWork is how many units a pass must have had to show that one costs more.
	minWork = 64
	// firstCost is that of a unit while none was measured: high, so that the first flood is not
	// taken for a pause on a slow machine either.
	firstCost = 5 * time.Microsecond
	// A unit's cost rises by a costRise-th of the way, and of itself, at most: one pause is not
	// learned as work.
	costRise = 8
	minCost  = costRise // ns; below, it could not rise
)

// until returns until when the last pass is taken to have worked.
func (w *work) until() clock.Instant {
	return w.began.Add(time.Duration(w.units) * max(w.cost, minCost))
}

// begin takes over that a pass begins at now, at once after the last if that had more to do. What
// came later may have been waited for; but no unit can have cost more than its share of the time.
func (w *work) begin(now clock.Instant, atOnce bool) {
	each := now.Sub(w.began) / time.Duration(max(w.units, 1))
	switch {
	case w.cost == 0:
		w.cost = firstCost
	case w.units > 0 && each < w.cost:
		w.cost = max((w.cost+each)/2, minCost)
	case atOnce && w.units >= minWork:
		w.cost += (min(each, 2*w.cost) - w.cost) / costRise
	}
	w.began, w.units = now, 0
}
