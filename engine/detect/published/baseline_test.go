package published

import (
	"math"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"systole/engine/clock"
	"systole/engine/detect"
)

// stream feeds a random history to d. It calls check after each heartbeat, with all so far.
func stream(t *testing.T, d func(*rapid.T) detect.Detector, check func(*rapid.T, detect.Detector, []uint64, []detect.Heartbeat)) {
	t.Helper()
	rapid.Check(t, func(t *rapid.T) {
		d := d(t)
		state := make([]uint64, d.Words())
		var hs []detect.Heartbeat
		now := clock.Instant(time.Hour)
		for s := uint64(1); s < 80; s += rapid.Uint64Range(1, 2).Draw(t, "step") {
			now = now.Add(time.Duration(rapid.Int64Range(1e5, 3e8).Draw(t, "gap")))
			h := detect.Heartbeat{
				Sequence: s, Send: now, Late: time.Duration(rapid.Int64Range(0, 1e6).Draw(t, "late")),
				Arrival: now.Add(ms), Period: 50 * ms,
			}
			hs = append(hs, h)
			d.Heartbeat(state, &h)
			check(t, d, state, hs)
		}
	})
}

// akka is PhiAccrualFailureDetector.scala, in exact fractions up to the last formula.
type akka struct {
	window    int
	threshold float64
	least     float64 // deviation, ns
	pause     float64
	intervals []*big.Rat
	last      clock.Instant
}

// heartbeat takes an arrival.
func (a *akka) heartbeat(at clock.Instant, estimate int64) {
	switch {
	case a.last == 0:
		a.intervals = []*big.Rat{big.NewRat(estimate-estimate/4, 1), big.NewRat(estimate+estimate/4, 1)}
	case a.phi(at) < a.threshold:
		a.intervals = append(a.intervals, big.NewRat(int64(at-a.last), 1))
		a.intervals = a.intervals[max(0, len(a.intervals)-a.window):]
	}
	a.last = at
}

// phi returns the level at an instant: +Inf if Akka's overflows.
func (a *akka) phi(at clock.Instant) float64 {
	n := big.NewRat(int64(len(a.intervals)), 1)
	sum, squares := new(big.Rat), new(big.Rat)
	for _, x := range a.intervals {
		sum.Add(sum, x)
		squares.Add(squares, new(big.Rat).Mul(x, x))
	}
	mean := new(big.Rat).Quo(sum, n)
	variance := new(big.Rat).Sub(new(big.Rat).Quo(squares, n), new(big.Rat).Mul(mean, mean))
	m, _ := mean.Float64()
	v, _ := variance.Float64()
	y := (float64(at-a.last) - m - a.pause) / max(math.Sqrt(v), a.least)
	e := math.Exp(-y * (1.5976 + 0.070566*y*y))
	if float64(at-a.last) > m+a.pause {
		return -math.Log10(e / (1 + e))
	}
	return -math.Log10(1 - 1/(1+e))
}

func TestPhiNormalAgainstReference(t *testing.T) {
	var reference *akka
	stream(t, func(t *rapid.T) detect.Detector {
		o := PhiNormalOptions{
			Window: rapid.IntRange(2, 30).Draw(t, "window"), MinDeviation: 20 * ms,
			Pause: 40 * ms, FirstEstimate: 50 * ms,
		}
		reference = &akka{window: o.Window, threshold: 8, least: float64(o.MinDeviation), pause: float64(o.Pause)}
		return PhiNormal(o)
	}, func(t *rapid.T, d detect.Detector, state []uint64, hs []detect.Heartbeat) {
		reference.heartbeat(hs[len(hs)-1].Arrival, int64(50*ms))
		for _, after := range []time.Duration{ms, 60 * ms, 200 * ms, 400 * ms} {
			at := reference.last.Add(after)
			got, want := d.Suspicion(state, at), reference.phi(at)
			if math.Abs(got-want) > 1e-6*(1+want) && want < 15 {
				t.Fatalf("φ %v after %v, exact %v", got, after, want)
			}
		}
	})
}

// PhiNormal by hand: levels of the logistic approximation, and Pekko's deadline of 4.52 s by
// default.
func TestPhiNormalByHand(t *testing.T) {
	d := PhiNormal(PhiNormalOptions{})
	state := make([]uint64, d.Words())
	h := beats(d, state, 1, 3000, time.Second, ms)
	mean, deviation := 4.0, 0.1 // an interval and the pause, seconds
	for _, tt := range []struct{ y, want float64 }{{0, 0.301}, {6, 10.78}, {8, 21.2}} {
		at := h.Arrival.Add(time.Duration((mean + tt.y*deviation) * float64(time.Second)))
		if got := d.Suspicion(state, at); math.Abs(got-tt.want) > 0.01*tt.want {
			t.Errorf("φ %v at %v deviations, want %v", got, tt.y, tt.want)
		}
	}
	if got := d.Deadline(state, 8).Sub(h.Arrival); got.Round(10*ms) != 4520*ms {
		t.Errorf("suspect after %v, want Pekko's 4.52s", got)
	}
}

// Cassandra's detector suspects after 8·ln 10 = 18.4 mean intervals, ignores intervals above 2 s,
// and counts 2 s in place of the first.
func TestPhiExponential(t *testing.T) {
	d := PhiExponential(PhiExponentialOptions{})
	state := make([]uint64, d.Words())
	h := beats(d, state, 1, 2000, time.Second, ms)
	if got := d.Deadline(state, 8).Sub(h.Arrival).Seconds(); math.Abs(got-18.42) > 0.01 {
		t.Errorf("suspect after %v mean intervals, want 18.42", got)
	}
	var sum, n float64
	var last clock.Instant
	stream(t, func(*rapid.T) detect.Detector {
		sum, n, last = 0, 0, 0
		return PhiExponential(PhiExponentialOptions{MaxInterval: 200 * ms, Initial: 90 * ms})
	}, func(t *rapid.T, d detect.Detector, state []uint64, hs []detect.Heartbeat) {
		at := hs[len(hs)-1].Arrival
		interval := float64(at - last)
		if last == 0 {
			interval = float64(90 * ms)
		}
		if interval <= float64(200*ms) {
			sum, n = sum+interval, n+1
		}
		last = at
		want := 0.4342944819032518 * float64(300*ms) / (sum / n)
		if got := d.Suspicion(state, at.Add(300*ms)); math.Abs(got-want) > 1e-9*want {
			t.Fatalf("φ %v, want %v", got, want)
		}
	})
}

// The deadline of 2W-FD is the later of two of Chen's.
func TestTwoWindowAgainstReference(t *testing.T) {
	stream(t, func(t *rapid.T) detect.Detector {
		return TwoWindow(30*ms, rapid.IntRange(1, 5).Draw(t, "short"), rapid.IntRange(5, 40).Draw(t, "long"), 0)
	}, func(t *rapid.T, d detect.Detector, state []uint64, hs []detect.Heartbeat) {
		two := d.(*twoWindow)
		want := chenReference(hs, two.short, two.alpha)
		if long := chenReference(hs, two.long.n, two.alpha); long.Cmp(want) > 0 {
			want = long
		}
		exact, _ := want.Float64()
		if got := float64(d.Deadline(state, 1)); math.Abs(got-exact) > 2 {
			t.Fatalf("deadline %v, exact %v", got, exact)
		}
	})
}

// Bertier's deadline is Chen's expected arrival plus the margin of the paper's equations.
func TestBertierAgainstReference(t *testing.T) {
	var delay, variation, expected float64
	stream(t, func(t *rapid.T) detect.Detector {
		delay, variation, expected = 0, 0, 0
		return Bertier(BertierOptions{Window: rapid.IntRange(1, 40).Draw(t, "window")})
	}, func(t *rapid.T, d detect.Detector, state []uint64, hs []detect.Heartbeat) {
		if len(hs) > 1 {
			e := float64(hs[len(hs)-1].Arrival) - expected - delay
			delay += 0.1 * e
			variation += 0.1 * (math.Abs(e) - variation)
		}
		expected, _ = chenReference(hs, d.(*bertier).Window, 0).Float64()
		margin := max(delay+4*variation, -float64(50*ms))
		if got := float64(d.Deadline(state, 1)); math.Abs(got-expected-margin) > 50 {
			t.Fatalf("deadline %v, the equations give %v", got, expected+margin)
		}
	})
}
