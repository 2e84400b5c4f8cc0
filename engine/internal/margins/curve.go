package margins

import "math"

// Curve is a histogram of margins, unpacked for fitting. Margins are in ns.
type Curve struct {
	N      float64 // samples
	Most   float64 // the greatest margin
	Counts [Buckets]float64
}

// curveTail is the least number of samples beyond a quantile that the buckets give. Further out the
// tail continues as an exponential one with the mean excess of those samples.
const curveTail = 10

// edges are the upper ends of the buckets.
var edges = func() (edges [Buckets]float64) {
	for i := range edges {
		edges[i] = math.Exp2(least + float64(i)/perOctave)
	}
	return edges
}()

// Edge returns the upper end of bucket i.
func Edge(i int) float64 { return edges[i] }

// Reach returns the level that the samples support: one of them lies beyond.
func (c *Curve) Reach() float64 { return math.Log10(max(c.N, 1)) }

// At returns the margin at a level: 10^-level of all samples lie beyond it.
func (c *Curve) At(level float64) float64 { return c.Quantile(ShareAt(level)) }

// ShareAt returns the share of samples beyond the margin at a level.
func ShareAt(level float64) float64 { return math.Pow(10, -level) }

// Quantile returns the margin beyond which this share of all samples lies.
func (c *Curve) Quantile(share float64) float64 {
	beyond := c.N * share
	tail := min(curveTail, c.N)
	margin, excess := c.Beyond(max(beyond, tail))
	if beyond < tail {
		margin += excess * math.Log(tail/max(beyond, math.SmallestNonzeroFloat64))
	}
	return margin
}

// Slope returns the growth of the margin per level in the exponential tail.
func (c *Curve) Slope() float64 {
	_, excess := c.Beyond(min(curveTail, c.N))
	return excess * math.Ln10
}

// Beyond returns the margin that this many samples exceed, and their mean excess.
func (c *Curve) Beyond(samples float64) (margin, excess float64) {
	above, sum := 0.0, 0.0
	for i := Buckets - 1; i > 0; i-- {
		count := c.Counts[i]
		if count == 0 {
			continue
		}
		low, high := Edge(i-1), Edge(i)
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
func (c *Curve) lump(i int, above float64) bool {
	here, below := c.Counts[i], c.Counts[i-1]
	return above < c.N/100 && here-below > 2*math.Sqrt(here+below)
}

// Share returns the share of samples beyond margin: the inverse of Quantile.
func (c *Curve) Share(margin float64) float64 {
	if c.N == 0 {
		return 1
	}
	tail := min(curveTail, c.N)
	if from, excess := c.Beyond(tail); margin > from {
		if excess == 0 {
			return 0
		}
		return tail / c.N * math.Exp(-(margin-from)/excess)
	}
	above := 0.0
	for i := Buckets - 1; i > 0; i-- {
		low, high := Edge(i-1), Edge(i)
		if margin < low || margin < high && c.lump(i, above) {
			above += c.Counts[i]
			continue
		}
		if margin < high {
			above += c.Counts[i] * (high - margin) / (high - low)
		}
	}
	if margin < Edge(0) {
		above += (c.N - above) * (1 - max(margin, 0)/Edge(0))
	}
	return min(above/c.N, 1)
}
