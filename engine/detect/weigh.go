package detect

import (
	"math"
	"time"
)

// weigh tells how often a mistake happens with a period and a margin, by what was
// measured and, where that does not vouch for it, by Chen's bound.
type weigh struct {
	measured  bool
	n         float64           // heartbeats
	watched   time.Duration     // between them
	net       curve             // margins without what losses added
	lost      [poolRuns]float64 // share of heartbeats before which exactly so many were lost
	more      float64           // ratio of two neighbouring runs beyond the last
	loss      float64           // p_L
	variance  float64           // V(D), ns²
	path      time.Duration
	deviation float64
}

// newWeigh takes over what is known.
func newWeigh(k *Known) *weigh {
	w := &weigh{path: k.Path, loss: orDefault(k.Loss, defaultLoss), deviation: orDefault(float64(k.Deviation), float64(time.Millisecond))}
	if p := k.Pool; p != nil && p.late.n > 0 {
		w.measured, w.n, w.watched = true, float64(p.late.n), p.time
		p.net.curve(&w.net)
		w.runs(p)
		w.moments(p)
	}
	w.variance = w.deviation * w.deviation
	return w
}

// runs works out the shares of runs of losses, and how they go on.
func (w *weigh) runs(p *Pool) {
	all := float64(p.runs[0])
	last := 0
	for k := range poolRuns - 1 {
		w.lost[k] = float64(p.runs[k]-p.runs[k+1]) / all
		if p.runs[k+1] > 0 {
			last = k + 1
		}
	}
	w.lost[poolRuns-1] = float64(p.runs[poolRuns-1]) / all
	if last > 0 {
		// The mean of a geometric run gives its ratio: Σ runs[k≥1] of runs[1] starts.
		sum := 0.0
		for k := 1; k <= last; k++ {
			sum += float64(p.runs[k])
		}
		w.more = 1 - float64(p.runs[1])/sum
	}
}

// minMoments is how many heartbeats give p_L and V(D) a value of their own.
const minMoments = 1000

// moments takes p_L and V(D) from the measurements when there are enough of them. Margins
// are differences of two delays, so they spread twice as much as one: that is kept, to be
// on the safe side.
func (w *weigh) moments(p *Pool) {
	if w.n < minMoments {
		return
	}
	losses := 0.0
	for k := 1; k < poolRuns; k++ {
		losses += float64(p.runs[k])
	}
	w.loss = max(losses/(w.n+losses), 1/w.n)
	sum := 0.0
	for i, count := range w.net.counts {
		edge := marginEdge(i)
		sum += count * edge * edge
	}
	w.deviation = math.Sqrt(sum / w.n)
}

// share returns how large a share of heartbeats requires more than margin, with period η.
func (w *weigh) share(eta, margin time.Duration) float64 {
	sum := 0.0
	for k, share := range w.lost {
		if share > 0 {
			sum += share * w.net.share(float64(margin-time.Duration(k)*eta))
		}
	}
	// Runs longer than any that was seen, each lost heartbeat as likely as the one before.
	if w.more > 0 {
		k := float64(margin/eta) + 1
		sum = max(sum, w.runsFrom(1)*math.Pow(w.more, k-1))
	}
	return min(sum, 1)
}

// runsFrom returns the share of heartbeats before which at least k were lost.
func (w *weigh) runsFrom(k int) (sum float64) {
	for _, share := range w.lost[k:] {
		sum += share
	}
	return sum
}

// chen returns Chen's lower bound of T_MR in ns: f(η) of the configurator for unknown
// distributions (section 6), T the detection time less the mean delay.
func (w *weigh) chen(eta, margin time.Duration) float64 {
	t, step := float64(eta+margin), float64(eta)
	bound := step
	for j := 1; float64(j)*step < t && bound < float64(longest); j++ {
		left := t - float64(j)*step
		bound *= (w.variance + left*left) / (w.variance + w.loss*left*left)
	}
	return bound
}

// vouches reports whether the measurements alone tell how often something as rare as
// once in every happens: they took at least as long.
func (w *weigh) vouches(every time.Duration) bool { return w.measured && w.watched >= every }

// every returns the mean time between two mistakes with period η and margin, at most
// longest.
func (w *weigh) every(eta, margin time.Duration) time.Duration {
	if margin <= 0 {
		return 0
	}
	measured := math.Inf(1)
	if w.measured {
		measured = float64(eta) / max(w.share(eta, margin), math.SmallestNonzeroFloat64)
	}
	// Up to what was measured for long enough, nothing else counts; beyond, the bound does.
	if vouched := float64(w.watched); measured > vouched {
		measured = min(measured, max(w.chen(eta, margin), vouched))
	}
	return time.Duration(min(measured, float64(longest)))
}

// plan describes a choice for p.
func (w *weigh) plan(p *Promise, eta, margin time.Duration) Plan {
	return Plan{
		Period: eta, Margin: margin, Multiplier: int(margin / eta),
		DetectWithin: w.path + eta + margin, MistakeEvery: w.every(eta, margin), Vouched: w.vouches(p.every()),
	}
}

// planFor returns the plan with the least margin that keeps p.MistakeEvery at period η; false
// if none up to longestWithin does.
func (w *weigh) planFor(p *Promise, eta time.Duration) (plan Plan, kept bool) {
	const exact = 10 * time.Microsecond
	least, most := time.Duration(0), longestWithin
	for most-least > max(exact, least/1000) {
		if middle := least + (most-least)/2; w.every(eta, middle) >= p.every() {
			most = middle
		} else {
			least = middle
		}
	}
	plan = w.plan(p, eta, most)
	return plan, plan.MistakeEvery >= p.every()
}
