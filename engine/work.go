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
	cost  time.Duration // of a unit, rather too high: by it a pass is no pause
	sure  time.Duration // likewise, rather too low: what a pause was longer than
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

// until returns until when the last pass is taken to have worked, and until when it has worked for
// certain: a pause that is cut short for work that was none would accuse others.
func (w *work) until() (taken, sure clock.Instant) {
	units := time.Duration(w.units)
	return w.began.Add(units * max(w.cost, minCost)), w.began.Add(units * w.sure)
}

// begin takes over that a pass begins at now, at once after the last if that had more to do. What
// came later may have been waited for; but no unit can have cost more than its share of the time.
func (w *work) begin(now clock.Instant, atOnce bool) {
	each := now.Sub(w.began) / time.Duration(max(w.units, 1))
	shows := atOnce && w.units >= minWork
	switch {
	case w.cost == 0:
		w.cost = firstCost
	case w.units > 0 && each < w.cost:
		w.cost = max((w.cost+each)/2, minCost)
	case shows:
		w.cost += (min(each, 2*w.cost) - w.cost) / costRise
	}
	switch {
	case w.units > 0 && each < w.sure:
		w.sure = each
	case shows:
		w.sure += (min(each, w.cost) - w.sure) / costRise
	}
	w.began, w.units = now, 0
}
