package engine

import (
	"errors"
	"time"

	"systole/engine/detect"
)

// validatePromise reports a promise that cannot be kept by what is known beforehand.
func (c *Config) validatePromise(bad func(string, string, ...any)) {
	if c.Detector != nil && c.Promise != (detect.Promise{}) {
		bad("Promise", "the detector %s keeps none: leave Detector or Promise zero", c.Detector.Name())
		return
	}
	if c.Promise.MaxRate != 0 && c.Period != 0 && c.Promise.MaxRate*c.Period.Seconds() < 1-1e-9 {
		bad("Promise.MaxRate", "%v is less than a heartbeat every %v", c.Promise.MaxRate, c.Period)
	}
	if c.Period != 0 && (c.Period < minPeriod || c.Period > maxPeriod) {
		return // reported as such
	}
	if _, err := c.Promise.PlanAt(c.Known, c.Period); err != nil {
		bad("Promise", "%w", err)
	}
}

// planPeriod sets Period as Promise takes it, unless it is given. c is valid.
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

// periodStep is what planned periods are whole multiples of.
const periodStep = 100 * time.Microsecond

// promised returns the detector that keeps Promise. Until more is known it grants what
// DetectWithin leaves: within it, to suspect sooner gains nothing that was asked for.
func (c *Config) promised() *detect.Margin {
	d := &detect.Margin{MistakeEvery: c.Promise.MistakeEvery, Period: c.Period, Final: c.Final}
	if c.Promise.DetectWithin != 0 {
		d.Within = c.Promise.DetectWithin - c.Known.Path
	}
	return d
}

// Promised is a promise beside what is measured.
type Promised struct {
	Promise detect.Promise
	// Plan is how it is kept by what has been measured by now, unless Err says that it is
	// not: an *detect.InfeasibleError with what could be.
	Plan detect.Plan
	Err  error
	// Heartbeats is how many measurements stand behind it.
	Heartbeats uint64
	// Mistakes are the suspicions taken back, over Watched: the time that peers, added up,
	// were watched and heard. Of all classes.
	Mistakes uint64
	Watched  time.Duration
}

// MistakeEvery is the observed mean time between two mistakes about one peer; 0 while
// none was made.
func (p *Promised) MistakeEvery() time.Duration {
	if p.Mistakes == 0 {
		return 0
	}
	return p.Watched / time.Duration(p.Mistakes)
}

// Promised weighs Config.Promise by what the peers of a class have shown so far, at the
// period in force. A class that is not below Classes is a *FieldError. Any goroutine may
// call it; it takes about a millisecond and holds no loop up.
func (e *Engine) Promised(class uint8) (Promised, error) {
	k, err := e.known(class)
	if err != nil {
		return Promised{}, err
	}
	stats := e.Stats()
	p := Promised{Promise: e.cfg.Promise, Heartbeats: k.Pool.Heartbeats(), Mistakes: stats.Mistakes, Watched: stats.Watched}
	p.Plan, p.Err = e.cfg.Promise.PlanAt(k, e.periodOf(class))
	return p, nil
}

// TradeOff returns what could be promised for peers of a class by what they have shown:
// detection time against mistakes, at the period in force. It is for every detector. A
// class that is not below Classes is a *FieldError. Any goroutine may call it.
func (e *Engine) TradeOff(class uint8) ([]detect.Point, error) {
	k, err := e.known(class)
	if err != nil {
		return nil, err
	}
	return detect.TradeOff(k, e.periodOf(class))
}

// known returns what is known of a class by now.
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

// periodOf returns the period of heartbeats to peers of a class, unless they have one of
// their own.
func (e *Engine) periodOf(class uint8) time.Duration {
	if p := e.periods[class].Load(); p != 0 {
		return time.Duration(p)
	}
	return e.cfg.Period
}

const (
	// replanEvery is how often periods are revised.
	replanEvery = 10 * time.Second
	// A period is lengthened when the plan's is longer by slack, so that it does not go to and
	// fro; it is shortened at once.
	replanSlack = 1.25
	// minReplan is how many heartbeats of a class must have been measured.
	minReplan = 10_000
)

// replan revises the period of each class by what was measured, and reports whether the
// promise can be kept for all.
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
			kept = kept && !refused.Vouched
		case err == nil && e.cfg.follow:
			e.setPeriod(class, plan.Period)
		}
	}
	return kept
}

// fixedPeriod returns the period that the configuration gives, 0 if the promise decides.
func (e *Engine) fixedPeriod() time.Duration {
	if e.cfg.follow {
		return 0
	}
	return e.cfg.Period
}

// revise replans and, when the promise can no longer be kept, has that published. Only the
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

// followPlan takes over the periods that replan has set since the turn before.
func (s *shard) followPlan() {
	if revised := s.engine.revisions.Load(); revised != s.revisions {
		s.revisions = revised
		for class := range s.engine.periods {
			s.periods[class] = int64(s.engine.periodOf(uint8(class)))
		}
	}
}

// setPeriod makes period the one of a class, in whole grid steps, when it differs enough.
func (e *Engine) setPeriod(class uint8, period time.Duration) {
	step := e.shards[0].grid
	period = max(period/step*step, step, minPeriod)
	now := e.periodOf(class)
	if period < now || float64(period) > replanSlack*float64(now) {
		e.periods[class].Store(int64(period))
		e.revisions.Add(1)
	}
}
