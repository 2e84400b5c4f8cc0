package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"systole/bench/internal/qos"
	"systole/engine/detect"
	"systole/engine/enginetest/netmodel"
)

// qos-failed weighs when to call a silent peer failed. The sooner, the more peers that live are called
// failed. What that costs depends on whether failures heal.

// failRule is when the margin detector calls a peer failed: after X deadlines of suspicion, but not
// before the floor.
type failRule struct {
	x     int
	floor time.Duration
}

// failRules are the candidates. The first one is for failures that are final.
var failRules = []failRule{
	{10, 2 * time.Second}, {6, time.Second}, {4, 400 * time.Millisecond}, {4, 200 * time.Millisecond}, {3, 200 * time.Millisecond},
	{2, time.Nanosecond}, // no floor: 0 would be the default
}

// name returns the name of a rule.
func (r failRule) name() string {
	return fmt.Sprintf("X %d, floor %v", r.x, r.floor.Truncate(time.Millisecond))
}

var (
	// failPauses are pauses of the sender, one an hour besides those of the model; 0: none.
	failPauses = []time.Duration{0, 500 * time.Millisecond, time.Second, 2 * time.Second, 3 * time.Second}
	// failPromises are bounds on the detection time; 0: none.
	failPromises = []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, 0}
)

const (
	failShare = 1.0 / 80 // of -days and -warm
	failSeed  = 5
)

// failCase is one link with pauses of its sender, and one promise.
type failCase struct {
	model         qos.Model
	pause, within time.Duration
	judges        []*qos.Failures // by rule
}

// name returns the name of a case.
func (c *failCase) name() string {
	promise, pause := "no bound", "no pause"
	if c.within != 0 {
		promise = "within " + c.within.String()
	}
	if c.pause != 0 {
		pause = c.pause.String() + "/h"
	}
	return fmt.Sprintf("%s, %s, %s", promise, c.model.Name, pause)
}

// newFailCase returns a case of a model, at the period that keeps the promise.
func newFailCase(m qos.Model, pause, within, warm time.Duration) (*failCase, error) {
	c := &failCase{model: m, pause: pause, within: within}
	if pause != 0 {
		c.model.Stalls = append(slices.Clone(m.Stalls), qos.Events{Every: time.Hour, Length: netmodel.Distribution{Base: pause}})
	}
	if within != 0 {
		plan, err := detect.Promise{DetectWithin: within}.Plan(detect.Known{})
		if err != nil {
			return nil, fmt.Errorf("plan a detection within %v: %w", within, err)
		}
		c.model.Period = plan.Period
	}
	for _, r := range failRules {
		d := detect.Margin(detect.MarginOptions{Period: c.model.Period, Within: within, Final: r == failRules[0], X: r.x, FailFloor: r.floor})
		c.judges = append(c.judges, qos.NewFailures(d, c.model.Period, warm))
	}
	return c, nil
}

// failCases returns every promise on every model with every pause.
func failCases(warm time.Duration) (cases []*failCase, err error) {
	for _, within := range failPromises {
		for _, m := range qos.Models {
			for _, pause := range failPauses {
				c, err := newFailCase(m, pause, within, warm)
				if err != nil {
					return nil, err
				}
				cases = append(cases, c)
			}
		}
	}
	return cases, nil
}

// runFailed is the benchmark qos-failed.
func runFailed(ctx context.Context, o options) (*table, error) {
	length, warm := virtual(o.days*failShare), virtual(o.warm*failShare)
	t := &table{
		name: "qos-failed",
		about: fmt.Sprintf("When the margin detector, with a promise of one mistake a day and with or without a bound on the detection time, calls a peer failed: after X deadlines of suspicion, "+
			"but not before the floor. Models as in qos, at the period that keeps the bound, or %v; in addition the sender pauses once an hour. %v of each after %v of learning. "+
			"failed_p50_ms and failed_p99_ms are from the send of the last heartbeat before a crash; wrong_per_day are failures of a peer that lives, mistakes_per_day suspicions of it; "+
			"wrong_ppm is the share of time in which it was called failed, in millionths.",
			qos.Models[0].Period, length, warm),
		columns: []string{"failed_p50_ms", "failed_p99_ms", "wrong_per_day", "mistakes_per_day", "wrong_ppm"},
	}
	cases, err := failCases(warm)
	if err != nil {
		return nil, err
	}
	err = parallel(ctx, len(cases), func(ctx context.Context, i int) error {
		c := cases[i]
		return qos.Watch(ctx, qos.NewSource(&c.model, failSeed), warm+length, c.judges...)
	})
	if err != nil {
		return nil, err
	}
	for _, c := range cases {
		for k, j := range c.judges {
			f := j.Figures()
			t.add(c.name()+", "+failRules[k].name(), failFigures(&f)...)
		}
	}
	return t, nil
}

// failFigures returns a row of qos-failed.
func failFigures(f *qos.FailureFigures) []float64 {
	return []float64{
		millis(f.Time(0.5)), millis(f.Time(0.99)), f.PerDay(), f.MistakesPerDay(),
		1e6 * float64(f.Mistaken) / float64(f.Observed),
	}
}
