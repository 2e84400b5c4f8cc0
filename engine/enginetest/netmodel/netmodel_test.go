package netmodel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// near reports an error unless got is within a share of want.
func near(t *testing.T, what string, got, want, share float64) {
	t.Helper()
	if math.Abs(got-want) > share*math.Abs(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// Delays lie within their bounds and have the mean and the median of their distribution.
func TestDistributions(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	const n = 200_000
	for _, test := range []struct {
		Distribution
		mean, median float64 // of the excess over Base, in units of Spread
	}{
		{Distribution{}, 0, 0}, {Distribution{Kind: constant}, 0, 0}, {Distribution{Kind: uniform}, 0.5, 0.5},
		{Distribution{Kind: exponential}, 1, math.Ln2},
		{Distribution{Kind: logNormal, Shape: 0.8}, math.Exp(0.32), 1},
		{Distribution{Kind: pareto, Shape: 3}, 1.5, math.Cbrt(2)}, {Distribution{Kind: pareto, Shape: 3, Share: 0.1}, 0.15, 0},
	} {
		d := test.Distribution
		d.Base, d.Spread = time.Second, time.Millisecond
		worst := d.Worst()
		all, sum := make([]time.Duration, n), time.Duration(0)
		for i := range all {
			v := d.Draw(random)
			if v < d.Base || v > worst {
				t.Fatalf("%v: %v is not within %v to %v", d.Kind, v, d.Base, worst)
			}
			all[i] = v - d.Base
			sum += v - d.Base
		}
		slices.Sort(all)
		if mean := float64(sum) / n / float64(d.Spread); math.Abs(mean-test.mean) > 0.03 {
			t.Errorf("%v: mean excess %.3f, want %.3f", d.Kind, mean, test.mean)
		}
		near(t, d.Kind+" median", float64(all[n/2])/float64(d.Spread), test.median, 0.02)
	}
	// A tail may overflow even if the spread is 0.
	none := Distribution{Kind: pareto, Base: time.Millisecond, Shape: 1e-3, Most: time.Second}
	for range 100 {
		if v := none.Draw(random); v != none.Base {
			t.Fatalf("%v for a spread of 0", v)
		}
	}
	cut := Distribution{Kind: pareto, Spread: 2 * time.Millisecond, Shape: 0.5, Most: 10 * time.Millisecond}
	for range 1000 {
		if v := cut.Draw(random); v < cut.Spread || v > cut.Most {
			t.Fatalf("%v, cut at %v", v, cut.Most)
		}
	}
}

// lossRuns draws n datagrams and returns the share that was lost, and the mean length of the runs that
// were lost.
func lossRuns(l Link, n int) (share, length float64) {
	random := rand.New(rand.NewPCG(3, 1))
	var s Losses
	lost, runs, before := 0, 0, false
	for range n {
		now := s.Next(&l, random)
		if now {
			lost++
		}
		if now && !before {
			runs++
		}
		before = now
	}
	return float64(lost) / float64(n), float64(lost) / float64(runs)
}

// Losses have the share and the mean length of runs that the model states: with bursts of mean length
// 1/Leave and Enter per datagram between, a share of Enter/(Enter+Leave).
func TestLosses(t *testing.T) {
	share, length := lossRuns(Link{Loss: 0.05}, 400_000)
	near(t, "independent share", share, 0.05, 0.02)
	near(t, "independent run", length, 1/0.95, 0.01)
	share, length = lossRuns(Link{Burst: Burst{Enter: 0.01, Leave: 0.25}}, 400_000)
	near(t, "burst share", share, 0.01/0.26, 0.05)
	near(t, "burst length", length, 4, 0.05)
	share, _ = lossRuns(Link{Loss: 0.02, Burst: Burst{Enter: 0.01, Leave: 0.25, Loss: 0.5}}, 400_000)
	near(t, "mixed share", share, 0.02+0.98*0.5*0.01/0.26, 0.05)
}
