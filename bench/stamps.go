package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"systole/bench/qos"
	"systole/engine/detect"
	"systole/engine/replay"
)

// tuned is a detector with the parameter that sets its detection time.
type tuned struct {
	name      string
	stamps    replay.Stamps
	low, high float64 // the parameter's range
	with      func(param float64) detect.Detector
}

// marginEvery is the margin detector with a promise in hours.
func marginEvery(hours float64) detect.Detector {
	return &detect.Margin{MistakeEvery: time.Duration(hours * float64(time.Hour))}
}

// The accrual detectors see read times, as they do where they come from. Akka's pause is
// most of its detection time and has to go where that is short.
var rivals = []tuned{
	{"margin", replay.App, 1.0 / 3600, 24 * 365 * 50, marginEvery},
	{"phi (Akka), no pause", replay.App, 0.1, 300, func(x float64) detect.Detector { return &detect.PhiNormal{Threshold: x, Pause: -1} }},
	{"phi-exp (Cassandra)", replay.App, 0.1, 300, func(x float64) detect.Detector { return &detect.PhiExponential{Threshold: x} }},
}

// stampModels are where readers stall; in the others the sender's own stalls outweigh them.
var stampModels = []string{"reading", "lan"}

// runStamps is the benchmark stamps.
func runStamps(ctx context.Context, o options) (*table, error) {
	t := &table{
		name: "stamps",
		about: fmt.Sprintf("A reader that stalls (exponential, 120 ms every 5 minutes), %v virtual days after %v to learn. First the margin detector on the kernel's stamps with "+
			"a promise; then what errs on read times at the same mean detection time, each with its parameter tuned to that as far as it goes (a promise in hours, or a threshold); last the accrual detectors as "+
			"shipped, at their own. times is the mistake rate over that of the margin detector on stamps, times_low its bound if that detector's mistakes were as many "+
			"as their 95%% bound allows. td_ms as in qos.", o.days, o.warm),
		columns: []string{"param", "td_ms", "mistakes", "per_day", "times", "times_low"},
	}
	promises := []struct {
		name  string
		hours float64
	}{{"1/hour", 1}, {"1/day", 24}}
	cases := make([]*stampCase, 0, len(stampModels)*len(promises))
	for _, name := range stampModels {
		m, err := stampModel(name)
		if err != nil {
			return nil, err
		}
		for _, p := range promises {
			cases = append(cases, &stampCase{name: name + ", " + p.name, m: m, hours: p.hours})
		}
	}
	err := parallel(ctx, len(cases), func(ctx context.Context, i int) error { return cases[i].run(ctx, o) })
	if err != nil {
		return nil, err
	}
	for _, c := range cases {
		c.add(t)
	}
	return t, nil
}

// stampModel finds a model.
func stampModel(name string) (*qos.Model, error) {
	if name == qos.Reading.Name {
		return &qos.Reading, nil
	}
	return qos.Find(name)
}

// stampCase is one link and promise.
type stampCase struct {
	name  string
	m     *qos.Model
	hours float64

	names   []string
	params  []float64
	judges  []*qos.Judge
	watched []qos.Figures
}

// stampSeed is of the trace that all see.
const stampSeed = 11

// run tunes the rivals on a quarter of the time, then lets all watch the whole of it.
func (c *stampCase) run(ctx context.Context, o options) error {
	short := virtual(o.warm + o.days/4)
	ours, err := c.watch(ctx, o, short, marginEvery(c.hours), replay.NIC)
	if err != nil {
		return err
	}
	wanted := ours.Detection()
	c.enter(o, "margin on stamps", c.hours, marginEvery(c.hours), replay.NIC)
	for _, r := range rivals {
		param, err := c.tune(ctx, o, r, wanted, short)
		if err != nil {
			return err
		}
		c.enter(o, r.name+" on read times", param, r.with(param), r.stamps)
	}
	c.enter(o, "phi (Akka) as shipped, on read times", 8, &detect.PhiNormal{}, replay.App)
	c.enter(o, "phi-exp (Cassandra) as shipped, on read times", 8, &detect.PhiExponential{}, replay.App)
	if err := qos.Watch(ctx, qos.NewSource(c.m, stampSeed), virtual(o.warm+o.days), c.judges...); err != nil {
		return err
	}
	for _, j := range c.judges {
		c.watched = append(c.watched, j.Figures())
	}
	return nil
}

// tune returns the parameter at which r detects as soon as wanted, or the bound nearest to
// it where r cannot: the row says at what it then is.
func (c *stampCase) tune(ctx context.Context, o options, r tuned, wanted, length time.Duration) (float64, error) {
	var failed error
	detection := func(x float64) time.Duration {
		f, err := c.watch(ctx, o, length, r.with(x), r.stamps)
		failed = errors.Join(failed, err)
		return f.Detection()
	}
	param, err := tune(r.low, r.high, wanted, detection)
	if errors.Is(err, errReach) {
		param, err = r.high, nil
		if detection(r.low) > wanted {
			param = r.low
		}
	}
	return param, errors.Join(failed, err)
}

// enter adds a detector to those that watch the whole.
func (c *stampCase) enter(o options, name string, param float64, d detect.Detector, stamps replay.Stamps) {
	c.names = append(c.names, name)
	c.params = append(c.params, param)
	c.judges = append(c.judges, qos.NewJudge(d, stamps, c.m.Period, virtual(o.warm)))
}

// watch lets one detector watch.
func (c *stampCase) watch(ctx context.Context, o options, length time.Duration, d detect.Detector, stamps replay.Stamps) (qos.Figures, error) {
	j := qos.NewJudge(d, stamps, c.m.Period, virtual(o.warm))
	err := qos.Watch(ctx, qos.NewSource(c.m, stampSeed), length, j)
	return j.Figures(), err
}

// add adds the rows.
func (c *stampCase) add(t *table) {
	ours := c.watched[0].PerHour()
	_, most := qos.PoissonBounds(c.watched[0].Mistakes, 0.95)
	for i, f := range c.watched {
		times, low := none, none
		if i > 0 {
			low = float64(f.Mistakes) / most
		}
		if i > 0 && ours > 0 {
			times = f.PerHour() / ours
		}
		t.add(c.name+": "+c.names[i], c.params[i], millis(f.Detection()), float64(f.Mistakes), 24*f.PerHour(), times, low)
	}
}

// errReach says that no value of the parameter gives the detection time asked for.
var errReach = errors.New("bench: no value of the parameter gives this detection time")

// tune searches the parameter between low and high, both above 0, at which detection
// grows to wanted, to a thousandth of it or until the parameter is exact to one in 10^4. It
// halves the ratio of the bounds, for parameters that span orders of magnitude.
func tune(low, high float64, wanted time.Duration, detection func(param float64) time.Duration) (float64, error) {
	if at := detection(low); at > wanted {
		return 0, fmt.Errorf("%w: %v; at %v it is %v", errReach, wanted, low, at)
	}
	if at := detection(high); at < wanted {
		return 0, fmt.Errorf("%w: %v; at %v it is %v", errReach, wanted, high, at)
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
			return middle, nil
		}
	}
	return math.Sqrt(low * high), nil
}
