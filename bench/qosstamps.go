package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"systole/bench/internal/qos"
	"systole/engine/detect"
	"systole/engine/detect/published"
)

// tunable is a detector on read times with a parameter that sets its detection time.
type tunable struct {
	name      string
	low, high float64 // range of the parameter
	with      func(param float64) detect.Detector
}

// marginEvery returns the margin detector with a promise in hours.
func marginEvery(hours float64) detect.Detector {
	return detect.Margin(detect.MarginOptions{MistakeEvery: time.Duration(hours * float64(time.Hour))})
}

// tunables are tuned to the detection time of the margin detector on stamps. Akka's pause is most of
// its detection time, so it is off where the detection time is short.
var tunables = []tunable{
	{"margin", 1.0 / 3600, 24 * 365 * 50, marginEvery},
	{"phi (Akka), no pause", 0.1, 300, func(x float64) detect.Detector {
		return published.PhiNormal(published.PhiNormalOptions{Threshold: x, Pause: -1})
	}},
	{"phi-exp (Cassandra)", 0.1, 300, func(x float64) detect.Detector {
		return published.PhiExponential(published.PhiExponentialOptions{Threshold: x})
	}},
}

var (
	// stampModels are models whose reader stalls. In other models the sender's stalls outweigh those.
	stampModels = []string{"reading", "lan"}
	// stampPromises are those of the margin detector on stamps.
	stampPromises = []struct {
		name  string
		hours float64
	}{{"1/hour", 1}, {"1/day", 24}}
)

// runQoSStamps is the benchmark qos-stamps.
func runQoSStamps(ctx context.Context, o options) (*table, error) {
	t := &table{
		name: "qos-stamps",
		about: fmt.Sprintf("A reader that stalls (exponential, 120 ms every 5 minutes), for %v virtual days after %v of learning. First the margin detector on the kernel's stamps with "+
			"a promise. Then detectors on read times, with the parameter (a promise in hours, or a threshold) tuned to the same mean detection time as far as it goes. Last the accrual detectors "+
			"with their defaults, at their own detection time. times is the mistake rate over that of the margin detector on stamps; times_low is its lower bound, if that detector made as many mistakes "+
			"as their 95%% bound allows. td_ms as in qos.", o.days, o.warm),
		columns: []string{"param", "td_ms", "mistakes", "per_day", "times", "times_low"},
	}
	cases := make([]*stampCase, 0, len(stampModels)*len(stampPromises))
	for _, name := range stampModels {
		m, err := qos.Find(name)
		if err != nil {
			return nil, err
		}
		for _, p := range stampPromises {
			cases = append(cases, &stampCase{name: name + ", " + p.name, model: m, hours: p.hours, options: o})
		}
	}
	err := parallel(ctx, len(cases), func(ctx context.Context, i int) error { return cases[i].run(ctx) })
	if err != nil {
		return nil, err
	}
	for _, c := range cases {
		for i := range c.entries {
			t.add(c.name+": "+c.entries[i].name, c.entries[i].figures(&c.entries[0])...)
		}
	}
	return t, nil
}

// stampCase is one link and one promise.
type stampCase struct {
	name    string
	model   *qos.Model
	hours   float64
	options options
	entries []stampEntry // the first is the margin detector on stamps
}

// stampEntry is a detector and how it did.
type stampEntry struct {
	name  string
	param float64
	judge *qos.Judge
	qos.Figures
}

// stampSeed is the seed of the link.
const stampSeed = 11

// run tunes the detectors on read times on a quarter of the time, then measures all on the whole.
func (c *stampCase) run(ctx context.Context) error {
	ours, err := c.short(ctx, marginEvery(c.hours), qos.NIC)
	if err != nil {
		return err
	}
	wanted := ours.Detection()
	c.enter("margin on stamps", c.hours, marginEvery(c.hours), qos.NIC)
	for _, d := range tunables {
		param, err := c.tune(ctx, d, wanted)
		if err != nil {
			return err
		}
		c.enter(d.name+" on read times", param, d.with(param), qos.App)
	}
	c.enter("phi (Akka) as shipped, on read times", 8, published.PhiNormal(published.PhiNormalOptions{}), qos.App)
	c.enter("phi-exp (Cassandra) as shipped, on read times", 8, published.PhiExponential(published.PhiExponentialOptions{}), qos.App)
	judges := make([]*qos.Judge, len(c.entries))
	for i := range c.entries {
		judges[i] = c.entries[i].judge
	}
	err = c.watch(ctx, c.options.days, judges...)
	for i, j := range judges {
		c.entries[i].Figures = j.Figures()
	}
	return err
}

// enter adds a detector that is measured on the whole time.
func (c *stampCase) enter(name string, param float64, d detect.Detector, stamps qos.Stamps) {
	c.entries = append(c.entries, stampEntry{name: name, param: param, judge: c.judge(d, stamps)})
}

// tune returns the parameter at which d detects in the time wanted, or the nearest bound.
func (c *stampCase) tune(ctx context.Context, d tunable, wanted time.Duration) (float64, error) {
	var failed error
	param := tune(d.low, d.high, wanted, func(param float64) time.Duration {
		f, err := c.short(ctx, d.with(param), qos.App)
		failed = errors.Join(failed, err)
		return f.Detection()
	})
	return param, failed
}

// short measures one detector on a quarter of the time.
func (c *stampCase) short(ctx context.Context, d detect.Detector, stamps qos.Stamps) (qos.Figures, error) {
	j := c.judge(d, stamps)
	err := c.watch(ctx, c.options.days/4, j)
	return j.Figures(), err
}

// judge returns a judge of the case's link.
func (c *stampCase) judge(d detect.Detector, stamps qos.Stamps) *qos.Judge {
	return qos.NewJudge(d, stamps, c.model.Period, virtual(c.options.warm))
}

// watch runs the case's link for so many days after the warm-up.
func (c *stampCase) watch(ctx context.Context, days float64, judges ...*qos.Judge) error {
	return qos.Watch(ctx, qos.NewSource(c.model, stampSeed), virtual(c.options.warm+days), judges...)
}

// figures returns a row of qos-stamps. The first entry has no row before it to compare with.
func (e *stampEntry) figures(first *stampEntry) []float64 {
	times, low := none, none
	if e != first {
		_, most := qos.PoissonBounds(first.Mistakes, 0.95)
		times, low = e.PerHour()/first.PerHour(), float64(e.Mistakes)/most
	}
	return []float64{e.param, millis(e.Detection()), float64(e.Mistakes), 24 * e.PerHour(), times, low}
}

// tune searches the parameter from low to high, both above 0, at which detection, which grows with
// it, is wanted: to a thousandth, or until the parameter is exact to one in 10^4. It halves the ratio
// of the bounds, because parameters span orders of magnitude. If the detection time is out of reach,
// tune returns the bound that is nearest to it.
func tune(low, high float64, wanted time.Duration, detection func(param float64) time.Duration) float64 {
	if detection(low) > wanted {
		return low
	}
	if detection(high) < wanted {
		return high
	}
	for high/low > 1+1e-4 {
		middle := math.Sqrt(low * high)
		at := detection(middle)
		switch {
		case at > wanted+wanted/1000:
			high = middle
		case at < wanted-wanted/1000:
			low = middle
		default:
			return middle
		}
	}
	return math.Sqrt(low * high)
}
