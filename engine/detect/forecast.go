package detect

import (
	"math"
	"time"

	"systole/engine/detect/internal/param"
	"systole/engine/internal/margins"
)

// forecast predicts the mean time between mistakes for a period and a margin: by measurements and,
// for mistakes rarer than those can show, by Chen's bound.
type forecast struct {
	measured  bool
	n         float64               // measured heartbeats
	watched   time.Duration         // the time in which they came
	net       margins.Curve         // their margins without the periods of lost heartbeats
	lost      [margins.Runs]float64 // index k: share of heartbeats before which exactly k were lost
	more      float64               // probability that a run of losses goes on
	loss      float64               // p_L
	variance  float64               // V(D), ns²
	path      time.Duration
	deviation float64 // ns
}

// newForecast returns the forecast from what is known.
func newForecast(k *Known) *forecast {
	f := &forecast{path: k.Path, loss: param.OrDefault(k.Loss, defaultLoss), deviation: param.OrDefault(float64(k.Deviation), float64(time.Millisecond))}
	if p := k.Pool; p != nil && p.Heartbeats() > 0 {
		f.measured, f.n, f.watched, f.net = true, float64(p.Heartbeats()), p.Time(), p.Net()
		runs := p.Lost()
		f.runs(&runs)
		f.moments(&runs)
	}
	f.variance = f.deviation * f.deviation
	return f
}

// runs computes the distribution of runs of losses.
func (f *forecast) runs(runs *[margins.Runs]uint64) {
	all := float64(runs[0])
	last := 0
	for k := range margins.Runs - 1 {
		f.lost[k] = float64(runs[k]-runs[k+1]) / all
		if runs[k+1] > 0 {
			last = k + 1
		}
	}
	f.lost[margins.Runs-1] = float64(runs[margins.Runs-1]) / all
	if last > 0 {
		// If lengths are geometric, the mean length, Σ runs[k≥1] / runs[1], is 1 / (1 - more).
		sum := 0.0
		for k := 1; k <= last; k++ {
			sum += float64(runs[k])
		}
		f.more = 1 - float64(runs[1])/sum
	}
}

// minMoments is the number of heartbeats from which p_L and V(D) are measured.
const minMoments = 1000

// moments computes p_L and V(D) from enough measurements. Margins are differences of two delays, so
// their variance is twice that of a delay: the forecast errs on the safe side.
func (f *forecast) moments(runs *[margins.Runs]uint64) {
	if f.n < minMoments {
		return
	}
	losses := 0.0
	for k := 1; k < margins.Runs; k++ {
		losses += float64(runs[k])
	}
	f.loss = max(losses/(f.n+losses), 1/f.n)
	sum := 0.0
	for i, count := range f.net.Counts {
		edge := margins.Edge(i)
		sum += count * edge * edge
	}
	f.deviation = math.Sqrt(sum / f.n)
}

// share returns the share of heartbeats that exceed margin, with the period eta.
func (f *forecast) share(eta, margin time.Duration) float64 {
	sum := 0.0
	for k, share := range f.lost {
		if share > 0 {
			sum += share * f.net.Share(float64(margin-time.Duration(k)*eta))
		}
	}
	// Runs may be longer than any measured one: each goes on with the same probability.
	if f.more > 0 {
		k := float64(margin/eta) + 1
		sum = max(sum, f.runsFrom(1)*math.Pow(f.more, k-1))
	}
	return min(sum, 1)
}

// runsFrom returns the share of heartbeats before which at least k were lost.
func (f *forecast) runsFrom(k int) (sum float64) {
	for _, share := range f.lost[k:] {
		sum += share
	}
	return sum
}

// chen returns Chen's lower bound of T_MR, in ns: f(η) of the configurator for unknown
// distributions (section 6). t is the detection time minus the mean delay.
func (f *forecast) chen(eta, margin time.Duration) float64 {
	t, step := float64(eta+margin), float64(eta)
	bound := step
	for j := 1; float64(j)*step < t && bound < float64(longest); j++ {
		left := t - float64(j)*step
		bound *= (f.variance + left*left) / (f.variance + f.loss*left*left)
	}
	return bound
}

// covers reports whether the measurements took long enough to show mistakes once in every.
func (f *forecast) covers(every time.Duration) bool { return f.measured && f.watched >= every }

// every returns the mean time between two mistakes with the period eta and margin, at most longest.
func (f *forecast) every(eta, margin time.Duration) time.Duration {
	if margin <= 0 {
		return 0
	}
	measured := math.Inf(1)
	if f.measured {
		measured = float64(eta) / max(f.share(eta, margin), math.SmallestNonzeroFloat64)
	}
	// Measurements alone cannot show a time between mistakes beyond their own duration.
	if watched := float64(f.watched); measured > watched {
		measured = min(measured, max(f.chen(eta, margin), watched))
	}
	return time.Duration(min(measured, float64(longest)))
}

// plan returns the plan with a period and a margin.
func (f *forecast) plan(p *Promise, eta, margin time.Duration) Plan {
	return Plan{
		Period: eta, Margin: margin,
		DetectWithin: f.path + eta + margin, MistakeEvery: f.every(eta, margin), Measured: f.covers(p.every()),
	}
}

// planFor returns the plan with the least margin that keeps p.MistakeEvery with the period eta;
// false if that needs more than longestWithin.
func (f *forecast) planFor(p *Promise, eta time.Duration) (plan Plan, kept bool) {
	const exact = 10 * time.Microsecond
	least, most := time.Duration(0), longestWithin
	for most-least > max(exact, least/1000) {
		if middle := least + (most-least)/2; f.every(eta, middle) >= p.every() {
			most = middle
		} else {
			least = middle
		}
	}
	plan = f.plan(p, eta, most)
	return plan, plan.MistakeEvery >= p.every()
}
