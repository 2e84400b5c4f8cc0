package enginetest

import (
	"cmp"
	"fmt"
	"reflect"
	"time"

	"systole/engine/internal/sim"
)

// Kind is the shape of a Distribution.
type Kind string

const (
	Constant    Kind = "constant"    // Base
	Uniform     Kind = "uniform"     // Base to Base + Spread
	LogNormal   Kind = "lognormal"   // Base + Spread·exp(Shape·N): the median excess is Spread
	Exponential Kind = "exponential" // Base + an excess of mean Spread
	// Pareto is Base, and with probability Share a spike of Spread at least, whose tail
	// falls with the power Shape.
	Pareto Kind = "pareto"
)

// Distribution is how long something takes. The zero value is no time at all. Durations are
// an hour at most; fields that its Kind does not name are refused.
type Distribution struct {
	Kind   Kind // empty means Constant
	Base   time.Duration
	Spread time.Duration
	Shape  float64       // LogNormal: sigma, 0 means 1; Pareto: alpha, 0 means 1.5; at most 100
	Share  float64       // Pareto: of spikes; 0 means all
	Most   time.Duration // where tails are cut, and LogNormal, Exponential and Pareto have them; 0 means at Base + 100 × Spread
}

// Link is the way from one host to another, one way. The zero value takes no time and
// loses nothing. Datagrams keep their order but for those that Reorder picks.
type Link struct {
	Delay Distribution
	// Loss is the probability that a datagram is lost, each by itself, and Burst loses
	// them in runs.
	Loss  float64
	Burst Burst
	// Duplicate is the probability that a datagram comes twice, the second after a delay of
	// its own. Reorder is that of being held back by up to ReorderBy, while others
	// overtake. Truncate is that of losing its end.
	Duplicate float64
	Reorder   float64
	ReorderBy time.Duration // at most an hour
	Truncate  float64
	Queue     Queue
}

// Burst is the Gilbert-Elliott model: with each datagram the link turns bad with probability
// Enter, or good again with Leave, and while it is bad loses with Loss, where 0 means all.
type Burst struct {
	Enter, Leave, Loss float64
}

// Queue is a buffer in front of a line of Rate bytes per second that holds Depth of
// traffic: bufferbloat. Others offer Load of the line's rate: above 1 the queue fills, and
// every datagram waits behind it, until it is full and the excess is lost. Rate 0: no queue.
type Queue struct {
	Rate  float64       // 0, or 1 to 1e12
	Depth time.Duration // at most an hour
	Load  float64       // at most 1000
}

// sim returns d as the simulator has it. The kind is valid: see Validate.
func (d Distribution) sim() sim.Distribution {
	s := sim.Distribution{Base: d.Base, Spread: d.Spread, Shape: d.Shape, Share: d.Share, Most: d.Most}
	if d.Kind == "" {
		return s
	}
	if err := s.Kind.UnmarshalText([]byte(d.Kind)); err != nil {
		panic(fmt.Sprintf("enginetest: %v", err))
	}
	return s
}

// sim returns l as the simulator has it.
func (l Link) sim() sim.Link {
	return sim.Link{
		Delay: l.Delay.sim(), Loss: l.Loss, Burst: sim.Burst(l.Burst),
		Duplicate: l.Duplicate, Reorder: l.Reorder, ReorderBy: l.ReorderBy, Truncate: l.Truncate,
		Queue: sim.Queue(l.Queue),
	}
}

// takes returns the fields that a distribution of kind k has a use for; ok is false if there is
// no such kind.
func (k Kind) takes() (fields []string, ok bool) {
	switch k {
	case Constant, "":
		return []string{"base"}, true
	case Uniform:
		return []string{"base", "spread"}, true
	case LogNormal:
		return []string{"base", "spread", "shape", "most"}, true
	case Exponential:
		return []string{"base", "spread", "most"}, true
	case Pareto:
		return []string{"base", "spread", "shape", "share", "most"}, true
	}
	return nil, false
}

// validate reports the faults of d, each under its name.
func (d Distribution) validate(bad faults, name string) {
	takes, ok := d.Kind.takes()
	if ok {
		kind := cmp.Or(d.Kind, Constant)
		useless(bad, name, reflect.ValueOf(d), string(kind), append([]string{"kind"}, takes...))
	} else {
		bad(name+".kind", "%q is none of constant, uniform, lognormal, exponential, pareto", d.Kind)
	}
	within(bad, name+".base", d.Base, 0, maxDelay)
	within(bad, name+".spread", d.Spread, 0, maxDelay)
	within(bad, name+".most", d.Most, 0, maxDelay)
	if d.Most > 0 && d.Most < d.Base {
		bad(name+".most", "%v is below base, %v", d.Most, d.Base)
	}
	figure(bad, name+".shape", d.Shape, maxShape)
	probability(bad, name+".share", d.Share)
}

// validate reports the faults of l.
func (l Link) validate(bad faults, name string) {
	l.Delay.validate(bad, name+".delay")
	probability(bad, name+".loss", l.Loss)
	probability(bad, name+".burst.enter", l.Burst.Enter)
	probability(bad, name+".burst.leave", l.Burst.Leave)
	probability(bad, name+".burst.loss", l.Burst.Loss)
	probability(bad, name+".duplicate", l.Duplicate)
	probability(bad, name+".reorder", l.Reorder)
	probability(bad, name+".truncate", l.Truncate)
	within(bad, name+".reorder_by", l.ReorderBy, 0, maxDelay)
	if q := l.Queue; q.Rate != 0 && !(q.Rate >= 1 && q.Rate <= maxLineSpeed) {
		bad(name+".queue.rate", "%v is neither 0 nor within 1 to %v", q.Rate, maxLineSpeed)
	}
	within(bad, name+".queue.depth", l.Queue.Depth, 0, maxDelay)
	figure(bad, name+".queue.load", l.Queue.Load, maxLoad)
}
