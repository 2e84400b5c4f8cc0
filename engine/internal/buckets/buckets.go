// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

// Package buckets is the buckets of package histogram: where a duration is counted, and counts that
// package engine copies from what its loops publish.
package buckets

import (
	"math/bits"
	"time"
)

const (
	// First and Last are the indices, by schema 2, of the first and of the last bucket. Bucket i holds
	// durations above 2^((i-1)/4) s, up to 2^(i/4) s. Last has no upper bound: all above 16 s count there.
	First, Last = -79, 17
	// Len is the number of places: one for durations up to 2^-20 s, and one for each bucket.
	Len = Last - First + 2
)

// quarters are 2^4, 2^(17/4), 2^(18/4) and 2^(19/4) s in ns, rounded down.
var quarters = [4]uint64{16e9, 19_027_313_840, 22_627_416_997, 26_908_685_288}

// bounds are the upper bounds of places 0 to Len-2, in ns, rounded down. An integer exceeds the bound itself
// if it exceeds the bound that is rounded down.
var bounds = func() (b [Len - 1]uint64) {
	for place := range b {
		b[place] = quarters[place%4] >> (24 - place/4)
	}
	return b
}()

// Of returns the place of d. Each power of two of nanoseconds has four bounds, so that the number of bits of
// d tells which five decide.
func Of(d time.Duration) int {
	v := uint64(min(max(d, 0), time.Duration(longest)))
	place := 4*max(bits.Len64(v), 11) - 44
	near := bounds[place:][:5]
	return place + above(v, near[0]) + above(v, near[1]) + above(v, near[2]) + above(v, near[3]) + above(v, near[4])
}

// longest is counted in place Len-1, like all that is longer.
const longest = 16e9 + 1

// above returns 1 if v exceeds bound, else 0, without a branch.
func above(v, bound uint64) int { return int((bound - v) >> 63) }

// Bound returns the upper bound of a place below Len-1, rounded down.
func Bound(place int) time.Duration { return time.Duration(bounds[place]) }

// Counts is the contents of a histogram.
type Counts struct {
	n        [Len]uint64
	sum, max uint64 // ns
}

// Record counts d; below 0 as 0.
func (c *Counts) Record(d time.Duration) {
	d = max(d, 0)
	c.n[Of(d)]++
	c.sum += uint64(d)
	c.max = max(c.max, uint64(d))
}

// Put adds n durations to a place.
func (c *Counts) Put(place int, n uint64) { c.n[place] += n }

// PutTotal adds to the sum, and raises the maximum to most.
func (c *Counts) PutTotal(sum, most uint64) { c.sum, c.max = c.sum+sum, max(c.max, most) }

// At returns the number of durations in a place.
func (c *Counts) At(place int) uint64 { return c.n[place] }

// Total returns the sum and the maximum.
func (c *Counts) Total() (sum, most time.Duration) { return time.Duration(c.sum), time.Duration(c.max) }

// Add adds the durations of other.
func (c *Counts) Add(other *Counts) {
	for i, n := range other.n {
		c.n[i] += n
	}
	c.PutTotal(other.sum, other.max)
}

// Sub subtracts the durations of earlier. The maximum becomes at most the upper bound of the last place that is
// not empty.
func (c *Counts) Sub(earlier *Counts) {
	for i, n := range earlier.n {
		c.n[i] -= min(n, c.n[i])
	}
	c.sum -= min(earlier.sum, c.sum)
	c.Trim()
}

// Trim lowers the maximum to the upper bound of the last place that is not empty.
func (c *Counts) Trim() {
	for place := Len - 1; place >= 0; place-- {
		if c.n[place] > 0 {
			if place < Len-1 {
				c.max = min(c.max, bounds[place])
			}
			return
		}
	}
	c.max = 0
}
