// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"time"

	"systole/engine/clock"
)

// turnCost estimates how long a pass of a loop takes for its work, so that a long pass is not
// taken for a pause: while the loop works, the kernel goes on receiving and stamping.
type turnCost struct {
	began clock.Instant // the last pass
	units int           // of work in it: datagrams, timers, commands
	cost  time.Duration // of a unit, at most: decides whether there was a pause
	sure  time.Duration // of a unit, at least: decides how long the pause was
}

const (
	// minWork is how many units a pass must have had to show that one costs more.
	minWork = 64
	// firstCost is the cost of a unit while none was measured: high, so that the first flood is
	// no pause on a slow machine either.
	firstCost = 5 * time.Microsecond
	// A unit's cost rises by a costRise-th of the way, and of itself, at most: one pause is not
	// learned as work.
	costRise = 8
	minCost  = costRise // ns; below, it could not rise
)

// until returns until when the last pass has worked, at most and at least. Pauses are measured from
// the earlier instant: a pause that is too short would accuse peers.
func (c *turnCost) until() (most, least clock.Instant) {
	units := time.Duration(c.units)
	return c.began.Add(units * max(c.cost, minCost)), c.began.Add(units * c.sure)
}

// pause returns for how long the loop stood still before a pass that was due at due and begins at
// now; 0 if that is at most threshold. A pass that is due at 0 is the first one.
func (c *turnCost) pause(now, due clock.Instant, threshold time.Duration) time.Duration {
	most, least := c.until()
	if due == 0 || now.Sub(max(due, most)) <= threshold {
		return 0
	}
	return now.Sub(max(due, least))
}

// begin starts a pass at now; atOnce if the last one had more to do. Else the loop may have waited
// in between, but no unit can have cost more than its share of the time.
func (c *turnCost) begin(now clock.Instant, atOnce bool) {
	each := now.Sub(c.began) / time.Duration(max(c.units, 1))
	shows := atOnce && c.units >= minWork
	switch {
	case c.cost == 0:
		c.cost = firstCost
	case c.units > 0 && each < c.cost:
		c.cost = max((c.cost+each)/2, minCost)
	case shows:
		c.cost += (min(each, 2*c.cost) - c.cost) / costRise
	}
	switch {
	case c.units > 0 && each < c.sure:
		c.sure = each
	case shows:
		c.sure += (min(each, c.cost) - c.sure) / costRise
	}
	c.began, c.units = now, 0
}
