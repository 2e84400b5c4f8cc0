package engine

import (
	"errors"
	"time"

	"systole/engine/detect"
)

// validatePromise adds the faults of Promise: one of them is that Known rules it out.
func (c *Config) validatePromise(f *faults) {
	if c.Detector != nil && c.Promise != (detect.Promise{}) {
		f.add("Promise", "the detector %s does not use it: leave Detector or Promise zero", c.Detector.Name())
		return
	}
	if c.Promise.MaxRate != 0 && c.Period != 0 && c.Promise.MaxRate*c.Period.Seconds() < 1-1e-9 {
		f.add("Promise.MaxRate", "%v is less than a heartbeat every %v", c.Promise.MaxRate, c.Period)
	}
	if c.Period != 0 && (c.Period < minPeriod || c.Period > maxPeriod) {
		return // Validate has added that
	}
	if _, err := c.Promise.PlanAt(c.Known, c.Period); err != nil {
		f.add("Promise", "%w", err)
	}
}

// planPeriod sets Period to what Promise needs, unless it is set. c is valid.
func (c *Config) planPeriod() {
	if c.Period != 0 {
		return
	}
	plan, err := c.Promise.Plan(c.Known)
	if err != nil || c.Promise == (detect.Promise{}) {
		c.Period = defaultPeriod
		return
	}
	c.follow = c.Promise.DetectWithin != 0
	c.Period = max(plan.Period.Truncate(periodStep), minPeriod)
}

// periodStep is the resolution of planned periods.
const periodStep = 100 * time.Microsecond

// promised returns the detector that keeps Promise. While it knows little it uses all the time that
// DetectWithin leaves.
func (c *Config) promised() detect.Detector {
	o := detect.MarginOptions{MistakeEvery: c.Promise.MistakeEvery, Period: c.Period, Final: c.Final}
	if c.Promise.DetectWithin != 0 {
		o.Within = c.Promise.DetectWithin - c.Known.Path
	}
	return detect.Margin(o)
}

// Promised compares a promise with measurements.
type Promised struct {
	Promise detect.Promise
	// Plan is how Promise is kept, by the measurements so far. If they rule it out, Err says what is
	// possible: a *detect.InfeasibleError.
	Plan detect.Plan
	Err  error
	// Heartbeats is the number of heartbeats measured.
	Heartbeats uint64
	// Mistakes is the number of suspicions taken back, and Watched the time that peers were watched
	// and heard, added up. Both count peers of all classes.
	Mistakes uint64
	Watched  time.Duration
	// MistakeEvery is the observed mean time between two mistakes about one peer; 0 if there was none.
	MistakeEvery time.Duration
}

// Promised compares Config.Promise with the measurements of the peers of a class, at the class's
// present period. It returns a *FieldError if class is not below Classes. Any goroutine may call it;
// it takes about a millisecond and delays no loop.
func (e *Engine) Promised(class uint8) (Promised, error) {
	k, err := e.known(class)
	if err != nil {
		return Promised{}, err
	}
	seen := e.Stats().Verdicts
	p := Promised{
		Promise:      e.cfg.Promise,
		Heartbeats:   k.Pool.Heartbeats(),
		Mistakes:     seen.Mistakes,
		Watched:      seen.Watched,
		MistakeEvery: mistakeEvery(seen.Watched, seen.Mistakes),
	}
	p.Plan, p.Err = e.cfg.Promise.PlanAt(k, e.periodOf(class))
	return p, nil
}

// mistakeEvery returns the mean time between mistakes, 0 if there was none.
func mistakeEvery(watched time.Duration, mistakes uint64) time.Duration {
	if mistakes == 0 {
		return 0
	}
	return watched / time.Duration(mistakes)
}

// TradeOff returns which promises the measurements of the peers of a class allow: detection times, each
// with its mistake rate, at the class's present period. It works with every detector. It returns a
// *FieldError if class is not below Classes. Any goroutine may call it.
func (e *Engine) TradeOff(class uint8) ([]detect.Point, error) {
	k, err := e.known(class)
	if err != nil {
		return nil, err
	}
	return detect.TradeOff(k, e.periodOf(class))
}

// known returns Config.Known with the measurements of a class.
func (e *Engine) known(class uint8) (detect.Known, error) {
	k := e.cfg.Known
	if class >= Classes {
		return k, fieldError("class", "%d is not below %d", class, Classes)
	}
	pool, trip := e.pool(class)
	k.Pool = pool
	if trip != 0 {
		k.Path = trip / 2
	}
	return k, nil
}

// periodOf returns the period of heartbeats to the peers of a class without a PeerConfig.Period.
func (e *Engine) periodOf(class uint8) time.Duration {
	if p := e.periods[class].Load(); p != 0 {
		return time.Duration(p)
	}
	return e.cfg.Period
}

const (
	// replanEvery is the time between revisions of the periods.
	replanEvery = 10 * time.Second
	// replanSlack is the hysteresis of a period: it is shortened at once, but lengthened only by at
	// least this factor.
	replanSlack = 1.25
	// minReplan is the number of heartbeats that a class needs for a revision.
	minReplan = 10_000
)

// replan revises the period of each class. It reports whether Promise can be kept for all classes.
func (e *Engine) replan() (kept bool) {
	kept = true
	for class := range uint8(Classes) {
		k, _ := e.known(class)
		if k.Pool.Heartbeats() < minReplan {
			continue
		}
		plan, err := e.cfg.Promise.PlanAt(k, e.fixedPeriod())
		var refused *detect.InfeasibleError
		switch {
		case errors.As(err, &refused):
			kept = kept && !refused.Measured
		case err == nil && e.cfg.follow:
			e.setPeriod(class, plan.Period)
		}
	}
	return kept
}

// fixedPeriod returns the configured period, 0 if it follows from Promise.
func (e *Engine) fixedPeriod() time.Duration {
	if e.cfg.follow {
		return 0
	}
	return e.cfg.Period
}

// revise replans, and publishes PromiseAtRisk when the promise can no longer be kept. Only the
// background goroutine calls it.
func (e *Engine) revise() {
	if e.cfg.Promise.DetectWithin == 0 {
		return
	}
	kept := e.replan()
	if !kept && !e.atRisk {
		e.shards[0].post(command{kind: commandRisk})
	}
	e.atRisk = !kept
}

// setPeriod sets the period of a class, in whole grid steps, if it differs enough.
func (e *Engine) setPeriod(class uint8, period time.Duration) {
	step := e.shards[0].grid
	period = max(period/step*step, step, minPeriod)
	now := e.periodOf(class)
	if period < now || float64(period) > replanSlack*float64(now) {
		e.periods[class].Store(int64(period))
	}
}
