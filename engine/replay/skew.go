package replay

import (
	"math"
	"slices"
	"time"
)

// windows is of how many parts of a recording, each with as many heartbeats, the least delay
// is taken.
const windows = 20

const (
	leastInWindow = 5    // heartbeats; with fewer the least is no measure of the path
	maxSkew       = 1e-3 // faster than two clocks drift apart, crystals and what NTP slews together
	skewShare     = 10   // skew gains more than one part in so many of the period,
	strayShare    = 10   // and most windows lie off its line by at most one in so many of that
)

// clocks is the difference of two clocks, the receiver's less the sender's, and the least delay.
type clocks struct {
	least int64   // at from, ns
	from  int64   // on the sender's clock
	skew  float64 // what the receiver's gains in a nanosecond of the sender's
}

// at returns the difference at an instant of the sender's clock.
func (c *clocks) at(send int64) int64 { return c.least + c.gained(send) }

// gained returns what the receiver's clock has gained since c.from.
func (c *clocks) gained(send int64) int64 { return int64(c.skew * float64(send-c.from)) }

// minimum is the least of the delays of a window, by clocks that may differ.
type minimum struct{ send, delay int64 }

// clocksOf works out how the clocks differ, and by how much the least delays of windows then
// still do. Skew is taken out only where it is plain, for a path that becomes longer looks like
// a clock that gains; else the difference is the least delay of all.
//
// The way is that of Paxson, On calibrating measurements of packet transit times, SIGMETRICS
// 1998: the least delays of windows rid the path of its queues, and their line has the
// median slope of all pairs (Theil 1950), which a few windows that are off do not move.
func clocksOf(t Trace, s Stamps, period time.Duration) (c clocks, wander time.Duration) {
	c.from = t[0].Send
	least := minima(t, s, &c)
	if c.skew = skewOf(least, period); c.skew != 0 {
		least = minima(t, s, &c)
	}
	c.least = math.MaxInt64
	most := int64(math.MinInt64)
	for _, m := range least {
		c.least, most = min(c.least, m.delay), max(most, m.delay)
	}
	if len(t) >= windows*leastInWindow {
		wander = time.Duration(most - c.least)
	}
	return c, wander
}

// minima returns the least delay of each window, without what c.skew makes. What is stale does
// not count.
func minima(t Trace, s Stamps, c *clocks) []minimum {
	out := make([]minimum, 0, windows)
	size := (len(t) + windows - 1) / windows
	var newest uint64
	open := -1 // the window to which the last of out belongs
	for i := range t {
		b := &t[i]
		if i > 0 && b.Sequence <= newest {
			continue
		}
		newest = b.Sequence
		m := minimum{b.Send, s.Arrival(b) - b.Send - c.gained(b.Send)}
		switch window := i / size; {
		case window != open:
			out, open = append(out, m), window
		case m.delay < out[len(out)-1].delay:
			out[len(out)-1] = m
		}
	}
	return out
}

// skewOf returns the slope of the line on which the minima lie, or 0 where it does not matter,
// it is none of a clock, or they lie on none: three in four must be near it, and neighbours must
// differ by it as a rule, which those of a route that becomes longer step by step do not.
func skewOf(least []minimum, period time.Duration) float64 {
	if len(least) < windows/2 {
		return 0
	}
	slope := medianSlope(least, len(least))
	first, last := least[0], least[len(least)-1]
	gained := math.Abs(slope * float64(last.send-first.send))
	if math.Abs(slope) > maxSkew || gained*skewShare <= float64(period) {
		return 0
	}
	if share := medianSlope(least, 1) / slope; share < 0.5 || share > 1.5 {
		return 0
	}
	off := make([]float64, len(least))
	for i, m := range least {
		off[i] = float64(m.delay-first.delay) - slope*float64(m.send-first.send)
	}
	slices.Sort(off)
	middle := off[len(off)/2]
	for i := range off {
		off[i] = math.Abs(off[i] - middle)
	}
	slices.Sort(off)
	if off[len(off)*3/4]*strayShare > gained {
		return 0
	}
	return slope
}

// medianSlope returns the median slope between minima at most so far apart in their order.
func medianSlope(least []minimum, reach int) float64 {
	var slopes []float64
	for i, a := range least {
		for _, b := range least[i+1 : min(i+1+reach, len(least))] {
			if b.send != a.send {
				slopes = append(slopes, float64(b.delay-a.delay)/float64(b.send-a.send))
			}
		}
	}
	if len(slopes) == 0 {
		return 0
	}
	slices.Sort(slopes)
	return slopes[len(slopes)/2]
}
