package detect

import (
	"errors"
	"fmt"
	"math"
	"time"

	"systole/engine/detect/internal/param"
	"systole/engine/internal/margins"
)

// Promise is the quality that a program asks of a failure detector, in the measures of Chen, Toueg
// and Aguilera ("On the Quality of Service of Failure Detectors", IEEE Transactions on Computers
// 51(5), 2002).
type Promise struct {
	// DetectWithin bounds the detection time T_D, from a peer's last heartbeat before its crash to
	// the suspicion: from 2 ms to 1 hour. 0 means no bound: as soon as the other fields allow.
	DetectWithin time.Duration
	// MistakeEvery is the least mean time between two mistakes about one peer, T_MR: from 1 s to
	// 100 years. 0 means a day. For one mistake about any of N peers in that time, ask for N times
	// as much.
	MistakeEvery time.Duration
	// MaxRate bounds the heartbeats per second to each peer, from 1/60 to 1000. 0 means 1000 if
	// DetectWithin is set, else 10.
	MaxRate float64
}

// Known is what is known of the network when a promise is planned.
type Known struct {
	// Loss is the share of lost heartbeats, from 0 to below 1. 0 means 0.01.
	Loss float64
	// Deviation is the standard deviation of the delay, at most 1 hour. 0 means 1 ms.
	Deviation time.Duration
	// Path is the usual one-way delay, at most 1 hour. It is a part of the detection time.
	Path time.Duration
	// Pool has the measurements of an engine; see engine.Engine.Promised. Other programs leave it nil,
	// which means none. For mistake rates that were measured for long enough, Pool alone counts. For
	// rarer mistakes the other fields count as well.
	Pool *margins.Pool
}

// Plan is the way in which a promise is kept.
type Plan struct {
	Period       time.Duration // η
	Margin       time.Duration // α
	DetectWithin time.Duration // the detection time of the plan
	MistakeEvery time.Duration // the predicted time between mistakes, at most 100 years
	// Measured reports whether the prediction of the promised mistake rate rests on measurements
	// alone. Otherwise it also rests on Known.Loss, Known.Deviation and independent delays.
	Measured bool
}

// InfeasibleError means that a promise cannot be kept. It has the alternatives.
type InfeasibleError struct {
	Promise Promise
	// Every is the greatest mean time between mistakes with the promised detection time, at the
	// promised rate.
	Every time.Duration
	// Within is the least detection time with the promised mistakes, at the promised rate; above an
	// hour if there is none.
	Within   time.Duration
	Measured bool // see Plan.Measured
}

// Error returns the promise and the alternatives.
func (e *InfeasibleError) Error() string {
	basis := "assumed, not yet measured"
	if e.Measured {
		basis = "as measured"
	}
	every := "one mistake in " + param.Plain(e.Promise.every())
	if e.Promise.DetectWithin == 0 {
		return fmt.Sprintf("detect: promise: %s cannot be kept, however late a crash is detected: with an hour's margin it would be one in %s (%s)",
			every, param.Plain(e.Every.Truncate(digit(e.Every))), basis)
	}
	within := param.Plain(e.Promise.DetectWithin)
	return fmt.Sprintf("detect: promise: to detect within %s with %s%s cannot be kept: within %s %s; %s %s (%s)",
		within, every, e.rate(), within, e.offerEvery(), every, e.offerWithin(), basis)
}

// rate returns the promised rate: it may be the reason.
func (e *InfeasibleError) rate() string {
	if e.Promise.MaxRate == 0 {
		return ""
	}
	return fmt.Sprintf(" by %v heartbeats a second", e.Promise.MaxRate)
}

// offerEvery returns the mistake rate with the promised detection time.
func (e *InfeasibleError) offerEvery() string {
	if e.Every < minMistakeEvery {
		return "mistakes would come faster than one a second"
	}
	return "it would be one in " + param.Plain(e.Every.Truncate(digit(e.Every)))
}

// offerWithin returns the detection time with the promised mistakes.
func (e *InfeasibleError) offerWithin() string {
	if e.Within > longestWithin {
		return "cannot be had within an hour either"
	}
	return "takes " + param.Plain(roundUp(e.Within))
}

// roundUp rounds d up to three or four significant digits.
func roundUp(d time.Duration) time.Duration {
	unit := digit(d)
	return (d + unit - 1).Truncate(unit)
}

// digit returns the unit to which d is rounded, for three or four significant digits.
func digit(d time.Duration) time.Duration {
	for _, unit := range []time.Duration{time.Hour, time.Minute, time.Second} {
		if d >= 100*unit {
			return unit
		}
	}
	unit := 100 * time.Millisecond
	for ; d < 100*unit && unit > time.Microsecond; unit /= 10 {
	}
	return unit
}

const (
	minEta          = time.Millisecond
	maxEta          = margins.MaxPeriod
	longestWithin   = time.Hour // of detection times and margins
	minMistakeEvery = time.Second
	longest         = 100 * 365 * 24 * time.Hour // of times between mistakes
	defaultMaxRate  = 10.0
	defaultLoss     = 0.01
)

// Validate returns all faults of p, joined.
func (p *Promise) Validate() error {
	return errors.Join(
		param.ZeroOr("Promise.DetectWithin", p.DetectWithin, 2*time.Millisecond, longestWithin),
		param.ZeroOr("Promise.MistakeEvery", p.MistakeEvery, minMistakeEvery, longest),
		param.ZeroOr("Promise.MaxRate", p.MaxRate, 1.0/60, 1000))
}

// Validate returns all faults of k, joined.
func (k *Known) Validate() error {
	faults := []error{param.Within("Known.Deviation", k.Deviation, 0, time.Hour), param.Within("Known.Path", k.Path, 0, time.Hour)}
	if !(k.Loss >= 0 && k.Loss < 1) {
		faults = append(faults, fmt.Errorf("detect: Known.Loss %v is not within 0 to below 1", k.Loss))
	}
	return errors.Join(faults...)
}

// every returns MistakeEvery or its default.
func (p *Promise) every() time.Duration {
	if p.MistakeEvery == 0 {
		return defaultMistakeEvery
	}
	return p.MistakeEvery
}

// shortest returns the shortest period that MaxRate allows.
func (p *Promise) shortest() time.Duration {
	rate := p.MaxRate
	switch {
	case rate != 0:
	case p.DetectWithin != 0:
		return minEta
	default:
		rate = defaultMaxRate
	}
	return min(max(time.Duration(math.Ceil(float64(time.Second)/rate)), minEta), maxEta)
}

// etaStep is the ratio of two neighbouring periods that Plan tries.
const etaStep = 0.97

// Plan returns the plan with the longest period that keeps p, by what is known. The error is the
// faults of p and k, or an *InfeasibleError.
func (p Promise) Plan(k Known) (Plan, error) { return p.plan(k, 0) }

// PlanAt is Plan with a given period, from 1 ms to 1 minute; 0 leaves the period to Plan.
func (p Promise) PlanAt(k Known, period time.Duration) (Plan, error) { return p.plan(k, period) }

// plan is PlanAt.
func (p Promise) plan(k Known, only time.Duration) (Plan, error) {
	if err := errors.Join(p.Validate(), k.Validate()); err != nil {
		return Plan{}, err
	}
	if only != 0 {
		if err := param.Within("period", only, minEta, maxEta); err != nil {
			return Plan{}, err
		}
	}
	f := newForecast(&k)
	if p.DetectWithin == 0 {
		eta := only
		if eta == 0 {
			eta = p.shortest()
		}
		plan, kept := f.planFor(&p, eta)
		if !kept {
			return Plan{}, &InfeasibleError{Promise: p, Every: plan.MistakeEvery, Within: math.MaxInt64, Measured: plan.Measured}
		}
		return plan, nil
	}
	budget := p.DetectWithin - k.Path
	etas := p.etas(budget, only)
	refused := InfeasibleError{Promise: p, Within: math.MaxInt64}
	for _, eta := range etas {
		every := f.every(eta, budget-eta)
		if every >= p.every() {
			return f.plan(&p, eta, budget-eta), nil
		}
		refused.Every = max(refused.Every, every)
	}
	for _, eta := range etas {
		if plan, kept := f.planFor(&p, eta); kept && plan.DetectWithin < refused.Within {
			refused.Within, refused.Measured = plan.DetectWithin, plan.Measured
		}
	}
	refused.Within = p.offer(f, k.Path, only, refused.Within)
	return Plan{}, &refused
}

// offer returns the least detection time from within on at which p is kept, rounded up as it is printed. The
// periods that plan tries depend on the detection time: so a period that would do may not be among those of
// the time that it takes. It returns a time above longestWithin if there is none.
func (p Promise) offer(f *forecast, path, only, within time.Duration) time.Duration {
	for range maxOffers {
		if within > longestWithin {
			return within
		}
		within = roundUp(within)
		p.DetectWithin = within
		next := time.Duration(math.MaxInt64)
		for _, eta := range p.etas(within-path, only) {
			if f.every(eta, within-path-eta) >= p.every() {
				return within
			}
			if plan, kept := f.planFor(&p, eta); kept {
				next = min(next, plan.DetectWithin)
			}
		}
		within = max(next, within+1)
	}
	return within
}

// maxOffers bounds the detection times that offer tries. The second one nearly always does.
const maxOffers = 100

// etas returns the periods to try, the longest first. budget is DetectWithin without the delay of
// the path.
func (p *Promise) etas(budget, only time.Duration) (etas []time.Duration) {
	shortest := p.shortest()
	if only != 0 {
		return append(etas, only)
	}
	eta := time.Duration(float64(min(budget, maxEta)) * etaStep)
	for ; eta > shortest; eta = time.Duration(float64(eta) * etaStep) {
		etas = append(etas, eta)
	}
	return append(etas, shortest)
}

// Point is a point of the trade-off between detection time and mistakes.
type Point struct {
	DetectWithin, MistakeEvery time.Duration
	Measured                   bool // see Plan.Measured
}

// TradeOff returns the promises that can be kept with a period from 1 ms to 1 minute, by what is
// known: a point for each of ten mistake rates, from one in a minute to one in 100 years. Rates
// that need a margin above an hour are left out.
func TradeOff(k Known, period time.Duration) ([]Point, error) {
	if err := errors.Join(k.Validate(), param.Within("period", period, minEta, maxEta)); err != nil {
		return nil, err
	}
	f := newForecast(&k)
	var points []Point
	for _, every := range tradeOffs {
		if plan, kept := f.planFor(&Promise{MistakeEvery: every}, period); kept {
			points = append(points, Point{plan.DetectWithin, every, plan.Measured})
		}
	}
	return points, nil
}

// tradeOffs are the mistake rates of TradeOff.
var tradeOffs = []time.Duration{
	time.Minute, 10 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour,
	30 * 24 * time.Hour, 365 * 24 * time.Hour, 10 * 365 * 24 * time.Hour, longest,
}
