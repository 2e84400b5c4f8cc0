package detect

import "math"

// curve is a histogram of margins, unpacked for fitting. Margins are in ns.
type curve struct {
	n      float64 // samples
	most   float64 // the greatest margin
	counts [marginBuckets]float64
}

// curveTail is the least number of samples beyond a quantile that the buckets give. Further out the
// tail continues as an exponential one with the mean excess of those samples.
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

// reach returns the level that the samples support: one of them lies beyond.
func (c *curve) reach() float64 { return math.Log10(max(c.n, 1)) }

// at returns the margin at a level: 10^-level of all samples lie beyond it.
func (c *curve) at(level float64) float64 { return c.quantile(shareAt(level)) }

// shareAt returns the share of samples beyond the margin at a level.
func shareAt(level float64) float64 { return math.Pow(10, -level) }

// quantile returns the margin beyond which this share of all samples lies.
func (c *curve) quantile(share float64) float64 {
	beyond := c.n * share
	tail := min(curveTail, c.n)
	margin, excess := c.beyond(max(beyond, tail))
	if beyond < tail {
		margin += excess * math.Log(tail/max(beyond, math.SmallestNonzeroFloat64))
	}
	return margin
}

// slope returns the growth of the margin per level in the exponential tail.
func (c *curve) slope() float64 {
	_, excess := c.beyond(min(curveTail, c.n))
	return excess * math.Ln10
}

// beyond returns the margin that this many samples exceed, and their mean excess.
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

// lump reports whether the samples of bucket i may all be equal. above is the number of samples
// beyond the bucket.
//
// Usually samples are assumed to lie evenly in a bucket, which nearly holds in a falling tail. If
// the tail rises, by twice the deviation of such counts, something puts many samples at one place:
// lost heartbeats at the period, for instance. That place is not known, and all of those samples
// could lie beyond an interpolated margin, many more than the level allows. So the end of the
// bucket counts.
func (c *curve) lump(i int, above float64) bool {
	here, below := c.counts[i], c.counts[i-1]
	return above < c.n/100 && here-below > 2*math.Sqrt(here+below)
}

// share returns the share of samples beyond margin: the inverse of quantile.
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
