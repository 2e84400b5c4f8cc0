package detect

import (
	"errors"
	"fmt"
	"time"
)

// maxLevel bounds levels of failure: higher ones would be years away.
const maxLevel = 1e6

// Validate returns all faults of f, joined.
func (f *Fixed) Validate() error {
	return errors.Join(zeroOr("Fixed.Multiplier", f.Multiplier, 1, 1000), above("Fixed.Fail", f.Fail, 1, maxLevel))
}

// Validate returns all faults of c, joined.
func (c *Chen) Validate() error {
	return errors.Join(
		within("Chen.Alpha", c.Alpha, 0, time.Hour), within("Chen.Window", c.Window, 0, 1000),
		above("Chen.Fail", c.Fail, 1, maxLevel))
}

// Validate returns all faults of o, joined.
func (o *Oz) Validate() error {
	var decrease, least error
	if o.Decrease != 0 && !(o.Decrease >= 0.5 && o.Decrease < 1) {
		decrease = fmt.Errorf("detect: Oz.Decrease %v is not from 0.5 to below 1", o.Decrease)
	}
	if o.Min > o.max() {
		least = fmt.Errorf("detect: Oz.Min %v is above Max %v", o.Min, o.max())
	}
	return errors.Join(
		above("Oz.Increase", o.Increase, 1, 16), decrease, zeroOr("Oz.X", o.X, 2, ozMaxRaises),
		within("Oz.Initial", o.Initial, 0, time.Hour), within("Oz.Min", o.Min, 0, time.Hour),
		within("Oz.Max", o.Max, 0, time.Hour), least)
}

// Validate returns all faults of d, joined.
func (d *TwoWindow) Validate() error {
	return errors.Join(
		within("TwoWindow.Alpha", d.Alpha, 0, time.Hour), within("TwoWindow.Short", d.Short, 0, maxShort),
		within("TwoWindow.Long", d.Long, 0, 1000), within("TwoWindow.Long", d.long().n, d.short(), 1000),
		above("TwoWindow.Fail", d.Fail, 1, maxLevel))
}

// Validate returns all faults of d, joined.
func (d *Bertier) Validate() error {
	return errors.Join(
		within("Bertier.Beta", d.Beta, 0, 100), within("Bertier.Phi", d.Phi, 0, 100), within("Bertier.Gamma", d.Gamma, 0, 1),
		within("Bertier.Window", d.Window, 0, 1000), above("Bertier.Fail", d.Fail, 1, maxLevel))
}

// Validate returns all faults of d, joined.
func (d *PhiExponential) Validate() error {
	return errors.Join(
		zeroOr("PhiExponential.Threshold", d.Threshold, 0.1, maxPhi), within("PhiExponential.Window", d.Window, 0, 1000),
		within("PhiExponential.Initial", d.Initial, 0, time.Hour), within("PhiExponential.MaxInterval", d.MaxInterval, 0, time.Hour),
		above("PhiExponential.Fail", d.Fail, orDefault(d.Threshold, 8), maxLevel))
}

// Validate returns all faults of d, joined.
func (d *PhiNormal) Validate() error {
	window := within("PhiNormal.Window", d.Window, 0, 1000)
	if d.Window == 1 {
		window = errors.New("detect: PhiNormal.Window 1 has no deviation; at least 2")
	}
	return errors.Join(
		zeroOr("PhiNormal.Threshold", d.Threshold, 0.1, maxPhi-1), window,
		within("PhiNormal.MinDeviation", d.MinDeviation, 0, time.Hour), within("PhiNormal.Pause", d.Pause, -time.Hour, time.Hour),
		within("PhiNormal.FirstEstimate", d.FirstEstimate, 0, time.Hour),
		above("PhiNormal.Fail", d.Fail, orDefault(d.Threshold, 8), maxPhi)) // φ ends there
}

// Validate returns all faults of d, joined.
func (d *Margin) Validate() error {
	return errors.Join(
		zeroOr("Margin.MistakeEvery", d.MistakeEvery, minMistakeEvery, longest), zeroOr("Margin.Period", d.Period, minEta, maxEta),
		zeroOr("Margin.FailAfter", d.FailAfter, 2, 1e9), zeroOr("Margin.X", d.X, 2, 1000),
		within("Margin.Within", d.Within, 0, time.Hour), within("Margin.FailFloor", d.FailFloor, 0, time.Hour),
		within("Margin.Floor", d.Floor, 0, time.Hour))
}

// within returns an error unless value is within least to most.
func within[T int | float64 | time.Duration](field string, value, least, most T) error {
	if value >= least && value <= most {
		return nil
	}
	return fmt.Errorf("detect: %s %v is not within %v to %v", field, printed(value), printed(least), printed(most))
}

// printed returns durations in their plain format, and other values as they are.
func printed(value any) any {
	if d, ok := value.(time.Duration); ok {
		return plain(d)
	}
	return value
}

// zeroOr is within for a field whose 0 means a default.
func zeroOr[T int | float64 | time.Duration](field string, value, least, most T) error {
	if value == 0 {
		return nil
	}
	return within(field, value, least, most)
}

// above returns an error unless value is 0, which means a default, or above bound and at most most.
func above(field string, value, bound, most float64) error {
	if value == 0 || value > bound && value <= most {
		return nil
	}
	return fmt.Errorf("detect: %s %v is not above %v and at most %v", field, value, bound, most)
}
