package detect

import (
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"regexp"
	"testing"
	"time"

	"pgregory.net/rapid"

	"systole/engine/clock"
	"systole/engine/internal/margins"
)

// observe returns a pool with n heartbeats over a path with this loss, and an exponential jitter
// with this mean in seconds.
func observe(seed uint64, n int, eta time.Duration, loss, jitter float64) *margins.Pool {
	r := rand.New(rand.NewPCG(seed, 4))
	pool := &margins.Pool{}
	var last time.Duration
	lost := uint64(0)
	for i := range n {
		if r.Float64() < loss {
			lost++
			continue
		}
		at := max(time.Duration(i)*eta+time.Duration(jitter*r.ExpFloat64()*1e9), last)
		if last != 0 {
			pool.Note(&margins.Gap{Arrival: clock.Instant(at), Interval: at - last, Period: eta, Lost: lost})
		}
		last, lost = at, 0
	}
	return pool
}

// Without measurements, the plan's time between mistakes is Chen's f(η), here in exact fractions.
func TestPlanIsChensConfigurator(t *testing.T) {
	p := Promise{DetectWithin: 100 * ms, MistakeEvery: 24 * time.Hour}
	plan, err := p.Plan(Known{})
	if err != nil {
		t.Fatal(err)
	}
	if plan.Measured || plan.Period+plan.Margin != 100*ms || plan.DetectWithin != 100*ms {
		t.Errorf("%+v", plan)
	}
	exact := func(eta time.Duration) float64 {
		v, loss := big.NewRat(int64(ms)*int64(ms), 1), big.NewRat(1, 100)
		f := big.NewRat(int64(eta), 1)
		for left := int64(100*ms - eta); left > 0; left -= int64(eta) {
			square := new(big.Rat).Mul(big.NewRat(left, 1), big.NewRat(left, 1))
			f.Mul(f, new(big.Rat).Quo(new(big.Rat).Add(v, square), new(big.Rat).Add(v, new(big.Rat).Mul(loss, square))))
		}
		got, _ := f.Float64()
		return got
	}
	if want := exact(plan.Period); math.Abs(float64(plan.MistakeEvery)-want) > 1e-6*want {
		t.Errorf("one mistake in %v, exactly in %v", plan.MistakeEvery, time.Duration(want))
	}
	if longer := time.Duration(float64(plan.Period) / etaStep); exact(longer) >= float64(24*time.Hour) {
		t.Errorf("the period %v is not the longest: %v serves as well", plan.Period, longer)
	}
}

// A promise is either planned or refused, and both alternatives of a refusal can be planned.
func TestPlanKeepsOrOffers(t *testing.T) {
	pools := []*margins.Pool{nil, observe(1, 300, 20*ms, 0.01, 1e-3), observe(2, 200_000, 20*ms, 0.01, 1e-3), observe(3, 200_000, 20*ms, 0, 5e-3)}
	rapid.Check(t, func(t *rapid.T) {
		p := Promise{
			DetectWithin: time.Duration(rapid.Int64Range(int64(2*ms), int64(2*time.Second)).Draw(t, "within")),
			MistakeEvery: time.Duration(rapid.Int64Range(int64(time.Second), int64(longest/10)).Draw(t, "every") >> rapid.IntRange(0, 20).Draw(t, "shift")),
			MaxRate:      rapid.Float64Range(1, 1000).Draw(t, "rate"),
		}
		p.MistakeEvery = max(p.MistakeEvery, time.Second)
		k := Known{Path: time.Duration(rapid.Int64Range(0, int64(ms)).Draw(t, "path")), Pool: rapid.SampledFrom(pools).Draw(t, "pool")}
		plan, err := p.Plan(k)
		if err == nil {
			if plan.DetectWithin > p.DetectWithin || plan.MistakeEvery < p.MistakeEvery || plan.Period < p.shortest() || plan.Margin <= 0 {
				t.Fatalf("%+v does not keep %+v", plan, p)
			}
			return
		}
		var refused *InfeasibleError
		if !errors.As(err, &refused) {
			t.Fatal(err)
		}
		if refused.Every >= p.MistakeEvery || refused.Within <= p.DetectWithin {
			t.Fatalf("%v refused, and %+v offered", p, refused)
		}
		slower := p
		slower.DetectWithin = refused.Within
		if _, err := slower.Plan(k); err != nil && refused.Within <= time.Hour {
			t.Fatalf("within %v was offered, but is refused: %v", refused.Within, err)
		}
		worse := p
		worse.MistakeEvery = refused.Every
		if _, err := worse.Plan(k); err != nil && refused.Every >= minMistakeEvery {
			t.Fatalf("one mistake in %v was offered, but is refused: %v", refused.Every, err)
		}
	})
}

// Measurements that took long enough count alone; else the assumptions count as well.
func TestPlanMeasured(t *testing.T) {
	quiet := observe(6, 100_000, 20*ms, 0, 1e-4) // 2000 s
	for every, want := range map[time.Duration]bool{time.Minute: true, 20 * time.Minute: true, 24 * time.Hour: false} {
		plan, err := Promise{MistakeEvery: every, MaxRate: 50}.Plan(Known{Pool: quiet})
		if err != nil || plan.Measured != want {
			t.Errorf("one mistake in %v: %+v, %v", every, plan, err)
		}
	}
	points, err := TradeOff(Known{Pool: quiet}, 20*ms)
	if err != nil || len(points) != len(tradeOffs) {
		t.Fatal(points, err)
	}
	for i, p := range points[1:] {
		if p.DetectWithin < points[i].DetectWithin || p.MistakeEvery <= points[i].MistakeEvery || p.Measured && !points[i].Measured {
			t.Errorf("point %d: %+v after %+v", i+1, p, points[i])
		}
	}
}

func TestPromiseRefuses(t *testing.T) {
	for _, p := range []Promise{{DetectWithin: ms}, {DetectWithin: -ms}, {MistakeEvery: ms}, {MaxRate: -1}, {MaxRate: math.NaN()}, {MaxRate: 1e4}} {
		if _, err := p.Plan(Known{}); err == nil {
			t.Errorf("%+v was accepted", p)
		}
	}
	for _, k := range []Known{{Loss: -1}, {Loss: 1}, {Loss: math.NaN()}, {Deviation: -1}, {Path: -1}} {
		if _, err := (Promise{}).Plan(k); err == nil {
			t.Errorf("%+v was accepted", k)
		}
	}
}

// The text of a refusal has the promise and both alternatives.
func TestRefusalText(t *testing.T) {
	const assumed = " (assumed, not yet measured)"
	for _, c := range []struct {
		e    InfeasibleError
		want string
	}{
		{
			InfeasibleError{Promise: Promise{DetectWithin: 30 * ms, MistakeEvery: 720 * time.Hour, MaxRate: 100}, Every: 40_684 * ms, Within: 52_183 * time.Microsecond},
			"to detect within 30ms with one mistake in 720h by 100 heartbeats a second cannot be kept: within 30ms it would be one in 40.6s; " +
				"one mistake in 720h takes 52.2ms" + assumed,
		},
		{
			InfeasibleError{Promise: Promise{DetectWithin: 2 * ms}, Every: 90 * ms, Within: 90 * time.Second, Measured: true},
			"to detect within 2ms with one mistake in 24h cannot be kept: within 2ms mistakes would come faster than one a second; " +
				"one mistake in 24h takes 1m30s (as measured)",
		},
		{
			InfeasibleError{Promise: Promise{DetectWithin: 2 * ms}, Every: 90 * ms, Within: math.MaxInt64, Measured: true},
			"to detect within 2ms with one mistake in 24h cannot be kept: within 2ms mistakes would come faster than one a second; " +
				"one mistake in 24h cannot be had within an hour either (as measured)",
		},
		{
			InfeasibleError{Every: 90 * time.Minute, Within: math.MaxInt64, Measured: true},
			"one mistake in 24h cannot be kept, however late a crash is detected: with an hour's margin it would be one in 1h30m (as measured)",
		},
	} {
		if got := c.e.Error(); got != "detect: promise: "+c.want {
			t.Errorf("got  %s\nwant detect: promise: %s", got, c.want)
		}
	}
}

// The alternatives as printed can be planned: rounding does not improve them.
func TestPrintedOffers(t *testing.T) {
	printed := regexp.MustCompile(`within \S+ it would be one in (\S+); one mistake in \S+ takes (\S+) `)
	rapid.Check(t, func(t *rapid.T) {
		p := Promise{
			DetectWithin: time.Duration(rapid.Int64Range(int64(2*ms), int64(2*time.Second)).Draw(t, "within")),
			MistakeEvery: time.Duration(rapid.Int64Range(int64(time.Minute), int64(longest/10)).Draw(t, "every")),
			MaxRate:      rapid.Float64Range(1, 1000).Draw(t, "rate"),
		}
		_, err := p.Plan(Known{})
		if err == nil {
			return
		}
		offers := printed.FindStringSubmatch(err.Error())
		if offers == nil {
			return // faster than one a second
		}
		every, err1 := time.ParseDuration(offers[1])
		within, err2 := time.ParseDuration(offers[2])
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		worse, slower := p, p
		worse.MistakeEvery, slower.DetectWithin = every, within
		if _, err := worse.Plan(Known{}); err != nil {
			t.Errorf("one mistake in %v was printed, but is refused: %v", every, err)
		}
		if _, err := slower.Plan(Known{}); err != nil {
			t.Errorf("within %v was printed, but is refused: %v", within, err)
		}
	})
}

// An offer is kept by a period that is tried with it. Here the periods tried for 636 ms have one that keeps the
// promise within 676 ms, and those tried for 676 ms have none.
func TestOfferIsPlanned(t *testing.T) {
	p := Promise{DetectWithin: 636266874, MistakeEvery: time.Minute, MaxRate: 2}
	_, err := p.Plan(Known{})
	var refused *InfeasibleError
	if !errors.As(err, &refused) {
		t.Fatal(err)
	}
	p.DetectWithin = refused.Within
	if _, err := p.Plan(Known{}); err != nil {
		t.Errorf("within %v was offered: %v", refused.Within, err)
	}
}

// If hardly any heartbeat arrives, no promise is planned.
func TestPlanWithExtremeLoss(t *testing.T) {
	lossy := Known{Loss: 0.99999}
	var refused *InfeasibleError
	if plan, err := (Promise{}).Plan(lossy); !errors.As(err, &refused) || refused.Within <= longestWithin || refused.Every >= 24*time.Hour {
		t.Errorf("%+v, %v", plan, err)
	}
	points, err := TradeOff(lossy, 100*ms)
	for _, at := range points {
		if err != nil || at.MistakeEvery > time.Hour || at.DetectWithin > longestWithin+time.Second {
			t.Errorf("%+v is offered, %v", at, err)
		}
	}
}

// PlanAt refuses periods that an engine cannot have.
func TestPlanAtRefusesPeriods(t *testing.T) {
	for _, period := range []time.Duration{-1, -ms, 1, 2 * time.Minute} {
		for _, p := range []Promise{{}, {DetectWithin: time.Second}} {
			if plan, err := p.PlanAt(Known{}, period); err == nil {
				t.Errorf("%v: %+v", period, plan)
			}
		}
	}
}
