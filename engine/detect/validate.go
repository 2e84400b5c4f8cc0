package detect

import (
	"errors"
	"fmt"
	"time"
)

// maxLevel bounds levels of failure: beyond it a deadline would be years away.
const maxLevel = 1e6

// Validate reports every fault of f.
func (f *Fixed) Validate() error {
	var multiplier, fail error
	if m := f.Multiplier; m != 0 && !(m >= 1 && m <= 1000) {
		multiplier = fmt.Errorf("detect: Fixed.Multiplier %v is not within 1 to 1000", m)
	}
	if f.Fail != 0 && !(f.Fail > 1 && f.Fail <= maxLevel) {
		fail = fmt.Errorf("detect: Fixed.Fail %v is not above 1 and at most %v", f.Fail, float64(maxLevel))
	}
	return errors.Join(multiplier, fail)
}

// Validate reports every fault of c.
func (c *Chen) Validate() error {
	var alpha, window, fail error
	if c.Alpha < 0 || c.Alpha > time.Hour {
		alpha = fmt.Errorf("detect: Chen.Alpha %v is not within 0 to 1h", c.Alpha)
	}
	if c.Window < 0 || c.Window > 1000 {
		window = fmt.Errorf("detect: Chen.Window %d is not within 0 to 1000", c.Window)
	}
	if c.Fail != 0 && !(c.Fail > 1 && c.Fail <= maxLevel) {
		fail = fmt.Errorf("detect: Chen.Fail %v is not above 1 and at most %v", c.Fail, float64(maxLevel))
	}
	return errors.Join(alpha, window, fail)
}

// Validate reports every fault of o.
func (o *Oz) Validate() error {
	var faults []error
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf("detect: Oz."+format, args...)) }
	if o.Increase != 0 && !(o.Increase > 1 && o.Increase <= 16) {
		bad("Increase %v is not above 1 and at most 16", o.Increase)
	}
	if o.Decrease != 0 && !(o.Decrease >= 0.5 && o.Decrease < 1) {
		bad("Decrease %v is not from 0.5 to below 1", o.Decrease)
	}
	if o.X != 0 && (o.X < 2 || o.X > ozMaxRaises) {
		bad("X %d is not within 2 to %d", o.X, ozMaxRaises)
	}
	for _, d := range []time.Duration{o.Initial, o.Min, o.Max} {
		if d < 0 || d > time.Hour {
			bad("Initial, Min or Max: %v is not within 0 to 1h", d)
		}
	}
	if o.Min > o.max() {
		bad("Min %v is above Max %v", o.Min, o.max())
	}
	return errors.Join(faults...)
}

// Validate reports every fault of d.
func (d *TwoWindow) Validate() error {
	return errors.Join(
		within("TwoWindow.Alpha", d.Alpha, 0, time.Hour), within("TwoWindow.Short", d.Short, 0, maxShort),
		within("TwoWindow.Long", d.Long, 0, 1000), within("TwoWindow.Long", d.long().n, d.short(), 1000),
		above("TwoWindow.Fail", d.Fail, 1, maxLevel))
}

// Validate reports every fault of d.
func (d *Bertier) Validate() error {
	return errors.Join(
		within("Bertier.Beta", d.Beta, 0, 100), within("Bertier.Phi", d.Phi, 0, 100), within("Bertier.Gamma", d.Gamma, 0, 1),
		within("Bertier.Window", d.Window, 0, 1000), above("Bertier.Fail", d.Fail, 1, maxLevel))
}

// Validate reports every fault of d.
func (d *PhiExponential) Validate() error {
	return errors.Join(
		threshold("PhiExponential.Threshold", d.Threshold, maxPhi), within("PhiExponential.Window", d.Window, 0, 1000),
		within("PhiExponential.Initial", d.Initial, 0, time.Hour), within("PhiExponential.MaxInterval", d.MaxInterval, 0, time.Hour),
		above("PhiExponential.Fail", d.Fail, orDefault(d.Threshold, 8), maxLevel))
}

// Validate reports every fault of d.
func (d *PhiNormal) Validate() error {
	window := within("PhiNormal.Window", d.Window, 0, 1000)
	if d.Window == 1 {
		window = errors.New("detect: PhiNormal.Window 1 has no deviation; at least 2")
	}
	return errors.Join(
		threshold("PhiNormal.Threshold", d.Threshold, maxPhi-1), window,
		within("PhiNormal.MinDeviation", d.MinDeviation, 0, time.Hour), within("PhiNormal.Pause", d.Pause, -time.Hour, time.Hour),
		within("PhiNormal.FirstEstimate", d.FirstEstimate, 0, time.Hour),
		above("PhiNormal.Fail", d.Fail, orDefault(d.Threshold, 8), maxPhi)) // φ ends there
}

// Validate reports every fault of d.
func (d *Margin) Validate() error {
	var faults []error
	if d.MistakeEvery != 0 {
		faults = append(faults, within("Margin.MistakeEvery", d.MistakeEvery, time.Second, 100*365*24*time.Hour))
	}
	if d.Period != 0 {
		faults = append(faults, within("Margin.Period", d.Period, time.Millisecond, time.Minute))
	}
	if d.FailAfter != 0 {
		faults = append(faults, within("Margin.FailAfter", d.FailAfter, 2, 1e9))
	}
	if d.X != 0 {
		faults = append(faults, within("Margin.X", d.X, 2, 1000))
	}
	faults = append(faults, within("Margin.Within", d.Within, 0, time.Hour))
	faults = append(faults, within("Margin.FailFloor", d.FailFloor, 0, time.Hour))
	return errors.Join(append(faults, within("Margin.Floor", d.Floor, 0, time.Hour))...)
}

// within reports a value that is not within least to most.
func within[T int | float64 | time.Duration](field string, value, least, most T) error {
	if value >= least && value <= most {
		return nil
	}
	return fmt.Errorf("detect: %s %v is not within %v to %v", field, value, least, most)
}

// above reports a level of failure that is not above the one of suspicion.
func above(field string, value, suspect, most float64) error {
	if value == 0 || value > suspect && value <= most {
		return nil
	}
	return fmt.Errorf("detect: %s %v is not above %v and at most %v", field, value, suspect, most)
}

// threshold reports a φ that is no threshold.
func threshold(field string, value, most float64) error {
	if value == 0 {
		return nil
	}
	return within(field, value, 0.1, most)
}
