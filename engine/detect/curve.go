package detect

import "math"

// curve is a distribution of margins, unpacked for fitting. Margins are in ns.
type curve struct {
	n      float64 // samples
	most   float64 // the greatest
	counts [marginBuckets]float64
}

// curveTail is how many samples must lie beyond a quantile that is read off the buckets.
// Farther out the tail is continued as an exponential one with their mean excess.
const curveTail = 10

// marginEdges are the upper ends of the buckets.
var marginEdges = func() (edges [marginBuckets]float64) {
	for i := range edges {
		edges[i] = math.Exp2(marginLeast + float64(i)/marginPerOctave)
	}
	return edges
}()

// marginEdge returns the upper end of bucket i.
func marginEdge(i int) float64 { return marginEdges[i] }

// vouched is the level up to which the samples speak: one of them lies beyond.
func (c *curve) vouched() float64 { return math.Log10(max(c.n, 1)) }

// at returns the margin at a level: a share of 10^-level of all samples lies beyond it.
func (c *curve) at(level float64) float64 { return c.quantile(shareAt(level)) }

// shareAt returns the share of samples beyond the margin at a level.
func shareAt(level float64) float64 { return math.Pow(10, -level) }

// quantile returns the margin beyond which a share of all samples lies.
func (c *curve) quantile(share float64) float64 {
	beyond := c.n * share
	tail := min(curveTail, c.n)
	margin, excess := c.beyond(max(beyond, tail))
	if beyond < tail {
		margin += excess * math.Log(tail/max(beyond, math.SmallestNonzeroFloat64))
	}
	return margin
}

// slope is by how much the margin grows per level where the tail is continued.
func (c *curve) slope() float64 {
	_, excess := c.beyond(min(curveTail, c.n))
	return excess * math.Ln10
}

// beyond returns the margin that this many samples exceed, and their mean excess above it.
func (c *curve) beyond(samples float64) (margin, excess float64) {
	above, sum := 0.0, 0.0
	for i := marginBuckets - 1; i > 0; i-- {
		count := c.counts[i]
		if count == 0 {
			continue
		}
		low, high := marginEdge(i-1), marginEdge(i)
		if above+count < samples {
			above += count
			sum += count * (low + high) / 2
			continue
		}
		margin = high - (high-low)*(samples-above)/count
		if c.lump(i, above) {
			margin = high
		}
		sum += (samples - above) * (margin + high) / 2
		return margin, max(sum/max(samples, 1)-margin, 0)
	}
	return 0, sum / max(samples, 1)
}

// lump reports whether bucket i, beyond which lie so many samples, holds more than the one
// below it, by twice the deviation of such counts, though it is in the tail. Samples are taken
// to lie evenly in a bucket, as they nearly do in a tail that falls. Where it rises something
// puts them all in one place, a lost heartbeat at the period, say, and the place is not known:
// then the end of the bucket counts. Up to all of them would be beyond the margin otherwise,
// many times as many as the level allows.
func (c *curve) lump(i int, above float64) bool {
	here, below := c.counts[i], c.counts[i-1]
	return above < c.n/100 && here-below > 2*math.Sqrt(here+below)
}

// share returns the share of samples beyond margin, continued as at continues it: the
// inverse of at.
func (c *curve) share(margin float64) float64 {
	if c.n == 0 {
		return 1
	}
	tail := min(curveTail, c.n)
	if from, excess := c.beyond(tail); margin > from {
		if excess == 0 {
			return 0
		}
		return tail / c.n * math.Exp(-(margin-from)/excess)
	}
	above := 0.0
	for i := marginBuckets - 1; i > 0; i-- {
		low, high := marginEdge(i-1), marginEdge(i)
		if margin < low || margin < high && c.lump(i, above) {
			above += c.counts[i]
			continue
		}
		if margin < high {
			above += c.counts[i] * (high - margin) / (high - low)
		}
	}
	if margin < marginEdge(0) {
		above += (c.n - above) * (1 - max(margin, 0)/marginEdge(0))
	}
	return min(above/c.n, 1)
}
