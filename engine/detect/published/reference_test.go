package published

import (
	"math"
	"math/big"
	"testing"
	"time"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"
	"pgregory.net/rapid"

	"systole/engine/clock"
	"systole/engine/detect"
)

// These tests compare baselines with independent references: gonum's distributions, and numbers of
// arbitrary precision. Further references are in detect_test.go and baseline_test.go.

// The suspicion of Fixed is the silence in units of Multiplier periods (RFC 5880, 6.8.4), here in
// exact fractions.
func TestFixedAgainstReference(t *testing.T) {
	stream(t, func(t *rapid.T) detect.Detector {
		return Fixed(rapid.Float64Range(1, 1000).Draw(t, "multiplier"), 0)
	}, func(t *rapid.T, d detect.Detector, state []uint64, hs []detect.Heartbeat) {
		h := hs[len(hs)-1]
		for _, level := range []float64{1, 2.5, 7} {
			silence := new(big.Rat).SetFloat64(d.(*fixed).multiplier)
			silence.Mul(silence, new(big.Rat).SetFloat64(level))
			silence.Mul(silence, big.NewRat(int64(h.Period), 1))
			want, _ := silence.Float64()
			if got := float64(d.Deadline(state, level).Sub(h.Arrival)); math.Abs(got-want) > 1+level {
				t.Fatalf("level %v after %v, exact %v", level, got, want)
			}
		}
	})
}

// Oz agrees with Mozart's loop for any gains: sleep for the delay; raise it if no heartbeat
// arrived, else lower it.
func TestOzStepByStep(t *testing.T) {
	var before uint64
	stream(t, func(t *rapid.T) detect.Detector {
		before = 0
		return Oz(OzOptions{
			Initial: 70 * ms, Min: 20 * ms, Max: 400 * ms,
			Increase: rapid.SampledFrom([]float64{1.25, 1.5, 2, 4}).Draw(t, "increase"),
			Decrease: rapid.Float64Range(0.5, 0.999).Draw(t, "decrease"),
		})
	}, func(t *rapid.T, d detect.Detector, state []uint64, hs []detect.Heartbeat) {
		oz := d.(*oz)
		increase, decrease := new(big.Rat).SetFloat64(oz.Increase), new(big.Rat).SetFloat64(oz.Decrease)
		most := big.NewRat(int64(oz.Max), 1)
		delay := big.NewRat(int64(oz.Initial), 1)
		if len(hs) > 1 {
			delay.SetInt64(int64(before))
			now, heard := big.NewRat(int64(hs[len(hs)-2].Arrival), 1), big.NewRat(int64(hs[len(hs)-1].Arrival), 1)
			for {
				if now.Add(now, delay); now.Cmp(heard) > 0 {
					break
				}
				if delay.Mul(delay, increase); delay.Cmp(most) > 0 {
					delay.Set(most)
				}
			}
			delay.Mul(delay, decrease)
		}
		if least := big.NewRat(int64(oz.Min), 1); delay.Cmp(least) < 0 {
			delay.Set(least)
		}
		want, _ := delay.Float64()
		if got := float64(d.Deadline(state, 1).Sub(hs[len(hs)-1].Arrival)); math.Abs(got-want) > 1.001 {
			t.Fatalf("delay %v, the loop's is %v", got, want)
		}
		before = state[ozDelay]
	})
}

// φ follows from gonum's mean and deviation of the same samples.
func TestPhiNormalAgainstGonum(t *testing.T) {
	var samples []float64
	var last clock.Instant
	stream(t, func(t *rapid.T) detect.Detector {
		samples, last = nil, 0
		return PhiNormal(PhiNormalOptions{Window: rapid.IntRange(2, 30).Draw(t, "window"), MinDeviation: time.Microsecond, Pause: -1, FirstEstimate: 80 * ms, Threshold: 299})
	}, func(t *rapid.T, d detect.Detector, state []uint64, hs []detect.Heartbeat) {
		at := hs[len(hs)-1].Arrival
		switch {
		case last == 0:
			samples = []float64{float64(60 * ms), float64(100 * ms)}
		case logistic(samples, float64(at-last)) < d.(*phiNormal).Threshold:
			samples = append(samples, float64(at-last))
			samples = samples[max(0, len(samples)-d.(*phiNormal).Window):]
		}
		last = at
		for _, after := range []time.Duration{ms, 80 * ms, 300 * ms} {
			got, want := d.Suspicion(state, at.Add(after)), min(logistic(samples, float64(after)), 300)
			if math.Abs(got-want) > 1e-6*(1+want) {
				t.Fatalf("φ %v after %v, gonum's moments give %v", got, after, want)
			}
		}
	})
}

// logistic returns φ of a silence by Akka's approximation of the normal tail.
func logistic(samples []float64, silence float64) float64 {
	mean, variance := stat.PopMeanVariance(samples, nil)
	y := (silence - mean) / max(math.Sqrt(variance), 1000)
	a := y * (1.5976 + 0.070566*y*y)
	if a > 700 {
		return a / math.Ln10
	}
	return math.Log10(1 + math.Exp(a))
}

// Akka's approximation agrees with the normal tail up to three deviations. Beyond, it overstates φ:
// φ 8 is at 5.23 deviations in place of 5.61.
func TestPhiNormalTail(t *testing.T) {
	d := PhiNormal(PhiNormalOptions{MinDeviation: 10 * ms, Pause: -1})
	state := make([]uint64, d.Words())
	h := beats(d, state, 1, 3000, 100*ms, ms)
	const mean, deviation = float64(100 * ms), float64(10 * ms)
	phi := func(y float64) float64 {
		return d.Suspicion(state, h.Arrival.Add(time.Duration(mean+y*deviation)))
	}
	exact := func(y float64) float64 { return -math.Log10(distuv.UnitNormal.Survival(y)) }
	for y := -4.0; y <= 3; y += 0.25 {
		if got, want := phi(y), exact(y); math.Abs(got-want) > 0.02*max(want, 0.01) {
			t.Errorf("φ %.4f at %v deviations, the normal tail gives %.4f", got, y, want)
		}
	}
	for y := 3.5; y <= 7.5; y += 0.5 { // gonum's tail ends soon after
		if phi(y) <= exact(y) || phi(y)/exact(y) < phi(y-0.5)/exact(y-0.5) {
			t.Errorf("φ %v at %v deviations, the normal tail gives %v", phi(y), y, exact(y))
		}
	}
	for _, tt := range []struct{ y, exact, logistic float64 }{{6, 9.01, 10.78}, {8, 15.21, 21.24}} {
		if math.Abs(exact(tt.y)-tt.exact) > 0.005 || math.Abs(phi(tt.y)-tt.logistic) > 0.01 {
			t.Errorf("at %v deviations: exact %.3f, computed %.3f", tt.y, exact(tt.y), phi(tt.y))
		}
	}
	fires := (float64(d.Deadline(state, 8).Sub(h.Arrival)) - mean) / deviation
	true8 := -distuv.UnitNormal.Quantile(1e-8)
	if math.Abs(fires-5.23) > 0.01 || math.Abs(true8-5.61) > 0.01 {
		t.Errorf("φ 8 after %.3f deviations, by the normal distribution %.3f", fires, true8)
	}
}

// φ of Cassandra's detector is gonum's exponential tail with the mean of the window.
func TestPhiExponentialAgainstGonum(t *testing.T) {
	var samples []float64
	var last clock.Instant
	stream(t, func(t *rapid.T) detect.Detector {
		samples, last = nil, 0
		return PhiExponential(PhiExponentialOptions{Window: rapid.IntRange(1, 20).Draw(t, "window"), MaxInterval: 200 * ms, Initial: 90 * ms})
	}, func(t *rapid.T, d detect.Detector, state []uint64, hs []detect.Heartbeat) {
		at := hs[len(hs)-1].Arrival
		interval := float64(at - last)
		if last == 0 {
			interval = float64(90 * ms)
		}
		if interval <= float64(200*ms) {
			samples = append(samples, interval)
			samples = samples[max(0, len(samples)-d.(*phiExponential).Window):]
		}
		last = at
		tail := distuv.Exponential{Rate: 1 / stat.Mean(samples, nil)}
		for _, after := range []time.Duration{10 * ms, 50 * ms, 300 * ms} {
			p := tail.Survival(float64(after))
			if p < 1e-290 {
				continue
			}
			got, want := d.Suspicion(state, at.Add(after)), -math.Log10(p)
			if math.Abs(got-want) > 1e-9*(1+want) {
				t.Fatalf("φ %v after %v, the exponential tail gives %v", got, after, want)
			}
		}
	})
}

// Bertier agrees with the paper's equations in numbers of 200 bits, for any gains.
func TestBertierAgainstBigNumbers(t *testing.T) {
	number := func(x float64) *big.Float { return new(big.Float).SetPrec(200).SetFloat64(x) }
	var delay, variation, expected *big.Float
	stream(t, func(t *rapid.T) detect.Detector {
		delay, variation, expected = number(0), number(0), number(0)
		return Bertier(BertierOptions{
			Beta: rapid.Float64Range(0.1, 3).Draw(t, "beta"), Phi: rapid.Float64Range(0.1, 10).Draw(t, "phi"),
			Gamma: rapid.Float64Range(0.01, 1).Draw(t, "gamma"), Window: rapid.IntRange(1, 40).Draw(t, "window"),
		})
	}, func(t *rapid.T, d detect.Detector, state []uint64, hs []detect.Heartbeat) {
		b := d.(*bertier)
		if len(hs) > 1 {
			e := number(float64(hs[len(hs)-1].Arrival))
			e.Sub(e.Sub(e, expected), delay)
			delay.Add(delay, number(0).Mul(number(b.Gamma), e))
			e.Sub(e.Abs(e), variation)
			variation.Add(variation, e.Mul(e, number(b.Gamma)))
		}
		expected = number(0).SetRat(chenReference(hs, b.Window, 0))
		margin := number(0).Mul(number(b.Beta), delay)
		margin.Add(margin, number(0).Mul(number(b.Phi), variation))
		exact, _ := margin.Float64()
		exact = max(exact, -float64(50*ms))
		at, _ := expected.Float64()
		if got := float64(d.Deadline(state, 1)) - at; math.Abs(got-exact) > 100 {
			t.Fatalf("margin %v, the equations give %v", got, exact)
		}
	})
}
