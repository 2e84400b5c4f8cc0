package detect

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// Promise is what a program asks of a failure detector, in the words of Chen, Toueg and
// Aguilera ("On the Quality of Service of Failure Detectors", IEEE Transactions on
// Computers 51(5), 2002). What cannot be kept is refused with what could: see Plan.
type Promise struct {
	// DetectWithin is the bound on the detection time T_D, from a peer's last heartbeat
	// before its crash to the suspicion. 0 asks for no bound: as soon as the other two
	// allow. From 2 ms to 1 hour.
	DetectWithin time.Duration
	// MistakeEvery is the least mean time between two mistakes about one peer, T_MR. 0
	// means a day. From 1 s to 100 years. For one mistake among N peers in that time, ask
	// for N times as much.
	MistakeEvery time.Duration
	// MaxRate bounds the heartbeats per second to each peer. 0 means 1000 if DetectWithin
	// is set, else 10. From 1/60 to 1000.
	MaxRate float64
}

// Known is what a promise is weighed against before and beside measurements.
type Known struct {
	// Loss is the share of heartbeats lost. 0 means 0.01. Below 1.
	Loss float64
	// Deviation is the standard deviation of the delay. 0 means 1 ms. At most 1 hour.
	Deviation time.Duration
	// Path is the usual delay one way, which no margin can take back. At most 1 hour.
	Path time.Duration
	// Pool is what was measured, nil for nothing yet. Where it vouches for the promise, it
	// alone counts; until then the other fields do besides.
	Pool *Pool
}

// Plan is how a promise is kept.
type Plan struct {
	Period time.Duration // η
	Margin time.Duration // α: what is left of DetectWithin, or what MistakeEvery takes
	// Multiplier is how many heartbeats in a row may be lost without a mistake.
	Multiplier   int
	DetectWithin time.Duration // what the plan gives
	MistakeEvery time.Duration // what the plan gives, by what is known; at most 100 years
	// Vouched is whether measurements alone tell of the mistakes that were asked for. If
	// not, the plan also rests on Known.Loss and Known.Deviation, and on independent delays.
	Vouched bool
}

// InfeasibleError says that a promise cannot be kept, and what could be.
type InfeasibleError struct {
	Promise Promise
	// Every is the mean time between mistakes that DetectWithin allows; Within is the
	// detection time that MistakeEvery takes, more than an hour if no promise could be made of it.
	// At the rate asked for, each the best there is.
	Every, Within time.Duration
	Vouched       bool // by measurements alone
}

// Error says what could be promised instead.
func (e *InfeasibleError) Error() string {
	basis := "by what is assumed of the network; nothing that was measured vouches for it yet"
	if e.Vouched {
		basis = "as measured"
	}
	every := "one mistake in " + plain(e.Promise.every())
	if e.Promise.DetectWithin == 0 {
		return fmt.Sprintf("detect: promise: %s cannot be kept, however late a crash is detected: with an hour's margin it would be one in %s (%s)",
			every, plain(e.Every.Truncate(digit(e.Every))), basis)
	}
	within := plain(e.Promise.DetectWithin)
	return fmt.Sprintf("detect: promise: to detect within %s with %s%s cannot be kept: within %s %s; %s %s (%s)",
		within, every, e.rate(), within, e.offerEvery(), every, e.offerWithin(), basis)
}

// rate names the rate that was asked for, which may be the reason.
func (e *InfeasibleError) rate() string {
	if e.Promise.MaxRate == 0 {
		return ""
	}
	return fmt.Sprintf(" by %v heartbeats a second", e.Promise.MaxRate)
}

// offerEvery says how often mistakes would be made within the detection time that was asked for.
func (e *InfeasibleError) offerEvery() string {
	if e.Every < minMistakeEvery {
		return "mistakes would come faster than one a second"
	}
	return "it would be one in " + plain(e.Every.Truncate(digit(e.Every)))
}

// offerWithin says how long detection would take with the mistakes that were asked for.
func (e *InfeasibleError) offerWithin() string {
	if e.Within > longestWithin {
		return "cannot be had within an hour either"
	}
	unit := digit(e.Within)
	return "takes " + plain((e.Within + unit - 1).Truncate(unit))
}

// plain writes a duration without minutes and seconds that are 0.
func plain(d time.Duration) string {
	text := d.String()
	if whole, ok := strings.CutSuffix(text, "m0s"); ok {
		text = whole + "m"
	}
	if whole, ok := strings.CutSuffix(text, "h0m"); ok {
		text = whole + "h"
	}
	return text
}

// digit returns the unit of the third or fourth digit of d.
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
	minEta         = time.Millisecond
	maxEta         = time.Minute
	longestWithin  = time.Hour                  // the longest that is promised, and any margin
	longest        = 100 * 365 * 24 * time.Hour // what no promise exceeds
	defaultMaxRate = 10.0
	// minMistakeEvery is what nobody could call a promise if it were less.
	minMistakeEvery = time.Second
	defaultLoss     = 0.01
)

// Validate reports every fault of p.
func (p *Promise) Validate() error {
	var faults []error
	if p.DetectWithin != 0 {
		faults = append(faults, within("Promise.DetectWithin", p.DetectWithin, 2*time.Millisecond, longestWithin))
	}
	if p.MistakeEvery != 0 {
		faults = append(faults, within("Promise.MistakeEvery", p.MistakeEvery, minMistakeEvery, longest))
	}
	if p.MaxRate != 0 {
		faults = append(faults, within("Promise.MaxRate", p.MaxRate, 1.0/60, 1000))
	}
	return errors.Join(faults...)
}

// Validate reports every fault of k.
func (k *Known) Validate() error {
	faults := []error{within("Known.Deviation", k.Deviation, 0, time.Hour), within("Known.Path", k.Path, 0, time.Hour)}
	if !(k.Loss >= 0 && k.Loss < 1) {
		faults = append(faults, fmt.Errorf("detect: Known.Loss %v is not within 0 to below 1", k.Loss))
	}
	return errors.Join(faults...)
}

// every returns MistakeEvery as it counts.
func (p *Promise) every() time.Duration {
	if p.MistakeEvery == 0 {
		return defaultMistakeEvery
	}
	return p.MistakeEvery
}

// shortest returns the least period that MaxRate allows.
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

// Plan returns the longest period, and the margin, that keep p by what is known; the
// faults of p and k; or an *InfeasibleError.
func (p Promise) Plan(k Known) (Plan, error) { return p.plan(k, 0) }

// PlanAt is Plan for a period that is given, from 1 ms to 1 minute; 0 leaves the choice to it.
func (p Promise) PlanAt(k Known, period time.Duration) (Plan, error) { return p.plan(k, period) }

// plan is Plan, for one period unless it is 0.
func (p Promise) plan(k Known, only time.Duration) (Plan, error) {
	if err := errors.Join(p.Validate(), k.Validate()); err != nil {
		return Plan{}, err
	}
	if only != 0 {
		if err := within("period", only, minEta, maxEta); err != nil {
			return Plan{}, err
		}
	}
	w := newWeigh(&k)
	if p.DetectWithin == 0 {
		eta := only
		if eta == 0 {
			eta = p.shortest()
		}
		plan, kept := w.planFor(&p, eta)
		if !kept {
			return Plan{}, &InfeasibleError{Promise: p, Every: plan.MistakeEvery, Within: math.MaxInt64, Vouched: plan.Vouched}
		}
		return plan, nil
	}
	budget := p.DetectWithin - k.Path
	etas := p.etas(budget, only)
	refused := InfeasibleError{Promise: p, Within: math.MaxInt64}
	for _, eta := range etas {
		every := w.every(eta, budget-eta)
		if every >= p.every() {
			return w.plan(&p, eta, budget-eta), nil
		}
		refused.Every = max(refused.Every, every)
	}
	for _, eta := range etas {
		if needed, kept := w.planFor(&p, eta); kept && needed.DetectWithin < refused.Within {
			refused.Within, refused.Vouched = needed.DetectWithin, needed.Vouched
		}
	}
	return Plan{}, &refused
}

// etas returns the periods to try, from the longest that leaves some margin to the
// shortest that MaxRate allows.
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

// Point is one point of the trade-off between detection time and mistakes.
type Point struct {
	DetectWithin, MistakeEvery time.Duration
	Vouched                    bool // by measurements alone
}

// TradeOff returns what could be promised with heartbeats every period, by what is
// known: a point for each mistake rate, from one in a minute to one in 100 years. Rates that no
// margin up to an hour gives are left out.
func TradeOff(k Known, period time.Duration) ([]Point, error) {
	if err := errors.Join(k.Validate(), within("period", period, minEta, maxEta)); err != nil {
		return nil, err
	}
	w := newWeigh(&k)
	var points []Point
	for _, every := range tradeOffs {
		if plan, kept := w.planFor(&Promise{MistakeEvery: every}, period); kept {
			points = append(points, Point{plan.DetectWithin, every, plan.Vouched})
		}
	}
	return points, nil
}

// tradeOffs are the mistake rates of TradeOff.
var tradeOffs = []time.Duration{
	time.Minute, 10 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour,
	30 * 24 * time.Hour, 365 * 24 * time.Hour, 10 * 365 * 24 * time.Hour, longest,
}
