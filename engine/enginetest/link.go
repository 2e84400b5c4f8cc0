package enginetest

import (
	"cmp"
	"reflect"

	"systole/engine/enginetest/netmodel"
)

// kindTakes returns the fields that a distribution of a kind uses; ok is false if there is no such
// kind.
func kindTakes(k string) (fields []string, ok bool) {
	switch k {
	case "constant", "":
		return []string{"base"}, true
	case "uniform":
		return []string{"base", "spread"}, true
	case "lognormal":
		return []string{"base", "spread", "shape", "most"}, true
	case "exponential":
		return []string{"base", "spread", "most"}, true
	case "pareto":
		return []string{"base", "spread", "shape", "share", "most"}, true
	}
	return nil, false
}

// validDistribution reports the faults of d, each under its name.
func validDistribution(bad faults, name string, d netmodel.Distribution) {
	takes, ok := kindTakes(d.Kind)
	if ok {
		kind := cmp.Or(d.Kind, "constant")
		useless(bad, name, reflect.ValueOf(d), kind, append([]string{"kind"}, takes...))
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

// validLink reports the faults of l.
func validLink(bad faults, name string, l netmodel.Link) {
	validDistribution(bad, name+".delay", l.Delay)
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
