package replay

import (
	"math"
	"slices"
	"time"

	"systole/engine/recording"
)

const (
	windows       = 20   // parts of a trace with the same number of heartbeats
	leastInWindow = 5    // heartbeats; the least delay of fewer is no measure of the path
	maxSkew       = 1e-3 // above the drift of two crystals plus the slewing of NTP
	skewShare     = 10   // skew counts if it gains more than 1/skewShare of the period in all,
	strayShare    = 10   // and 3 of 4 windows lie within 1/strayShare of that gain from its line
)

// clocks is the difference between two clocks: the receiver's minus the sender's, plus the least
// delay.
type clocks struct {
	least int64   // the difference at from, ns
	from  int64   // an instant of the sender's clock, ns
	skew  float64 // gain of the receiver's clock per ns of the sender's
}

// at returns the difference at an instant of the sender's clock, in ns.
func (c *clocks) at(send int64) int64 { return c.least + c.gained(send) }

// gained returns the gain of the receiver's clock since c.from, in ns.
func (c *clocks) gained(send int64) int64 { return int64(c.skew * float64(send-c.from)) }

// minimum is the least delay of a window, in ns, and when that heartbeat was sent.
type minimum struct{ send, delay int64 }

// compareClocks returns the difference between the clocks, and the range of the windows' least
// delays after the correction. A path that becomes longer looks like a clock that gains, so only
// clear skew is corrected; without it, the difference is the least delay of the trace.
//
// The method is Paxson's ("On Calibrating Measurements of Packet Transit Times", SIGMETRICS 1998):
// the least delays of windows are free of queueing. Their line has the median slope of all pairs
// (Theil 1950), which a few outliers do not change.
func compareClocks(t []recording.Beat, read bool, period time.Duration) (c clocks, wander time.Duration) {
	c.from = t[0].Send
	least := minima(t, read, &c)
	if c.skew = skewOf(least, period); c.skew != 0 {
		least = minima(t, read, &c)
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

// minima returns the least delay of each window, corrected for c.skew. Stale heartbeats do not
// count.
func minima(t []recording.Beat, read bool, c *clocks) []minimum {
	out := make([]minimum, 0, windows)
	size := (len(t) + windows - 1) / windows
	var newest uint64
	open := -1 // the window of the last minimum
	for i := range t {
		b := &t[i]
		if i > 0 && b.Sequence <= newest {
			continue
		}
		newest = b.Sequence
		m := minimum{b.Send, arrival(b, read) - b.Send - c.gained(b.Send)}
		switch window := i / size; {
		case window != open:
			out, open = append(out, m), window
		case m.delay < out[len(out)-1].delay:
			out[len(out)-1] = m
		}
	}
	return out
}

// skewOf returns the slope of the line through the minima. It returns 0 if the slope is too small
// to matter, is too steep for a clock, or if the minima do not lie on a line: three of four must
// lie near it, and the median slope between neighbours must be similar. The steps of a route that
// becomes longer fail the latter.
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

// medianSlope returns the median slope between minima whose indices differ by at most reach.
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
