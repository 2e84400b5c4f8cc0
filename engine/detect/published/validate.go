package published

import (
	"errors"
	"fmt"
	"time"

	"systole/engine/detect/internal/param"
	"systole/engine/detect/internal/silence"
)

// Validate returns all faults of f, joined.
func (f *fixed) Validate() error {
	return errors.Join(param.ZeroOr("Fixed.Multiplier", f.multiplier, 1, 1000), param.Above("Fixed.Fail", f.fail, 1, param.MaxLevel))
}

// Validate returns all faults of c, joined.
func (c *chen) Validate() error {
	return errors.Join(
		param.Within("Chen.Alpha", c.alpha, 0, time.Hour), param.Within("Chen.Window", c.arrivals, 0, 1000),
		param.Above("Chen.Fail", c.fail, 1, param.MaxLevel))
}

// Validate returns all faults of d, joined.
func (d *twoWindow) Validate() error {
	return errors.Join(
		param.Within("TwoWindow.Alpha", d.alpha, 0, time.Hour), param.Within("TwoWindow.Short", d.short, 1, maxShort),
		param.Within("TwoWindow.Long", d.long.n, d.short, 1000),
		param.Above("TwoWindow.Fail", d.fail, 1, param.MaxLevel))
}

// Validate returns all faults of d, joined.
func (d *bertier) Validate() error {
	return errors.Join(
		param.Within("Bertier.Beta", d.Beta, 0, 100), param.Within("Bertier.Phi", d.Phi, 0, 100), param.Within("Bertier.Gamma", d.Gamma, 0, 1),
		param.Within("Bertier.Window", d.Window, 0, 1000), param.Above("Bertier.Fail", d.Fail, 1, param.MaxLevel))
}

// Validate returns all faults of d, joined.
func (d *phiNormal) Validate() error {
	window := param.Within("PhiNormal.Window", d.Window, 0, 1000)
	if d.Window == 1 {
		window = errors.New("detect: PhiNormal.Window 1 has no deviation; at least 2")
	}
	return errors.Join(
		param.ZeroOr("PhiNormal.Threshold", d.Threshold, 0.1, silence.MaxPhi-1), window,
		param.Within("PhiNormal.MinDeviation", d.MinDeviation, 0, time.Hour), param.Within("PhiNormal.Pause", d.Pause, -time.Hour, time.Hour),
		param.Within("PhiNormal.FirstEstimate", d.FirstEstimate, 0, time.Hour),
		param.Above("PhiNormal.Fail", d.Fail, param.OrDefault(d.Threshold, 8), silence.MaxPhi)) // φ ends there
}

// Validate returns all faults of d, joined.
func (d *phiExponential) Validate() error {
	return errors.Join(
		param.ZeroOr("PhiExponential.Threshold", d.Threshold, 0.1, silence.MaxPhi), param.Within("PhiExponential.Window", d.Window, 0, 1000),
		param.Within("PhiExponential.Initial", d.Initial, 0, time.Hour), param.Within("PhiExponential.MaxInterval", d.MaxInterval, 0, time.Hour),
		param.Above("PhiExponential.Fail", d.Fail, param.OrDefault(d.Threshold, 8), param.MaxLevel))
}

// Validate returns all faults of o, joined.
func (o *oz) Validate() error {
	var decrease, least error
	if o.Decrease != 0 && !(o.Decrease >= 0.5 && o.Decrease < 1) {
		decrease = fmt.Errorf("detect: Oz.Decrease %v is not from 0.5 to below 1", o.Decrease)
	}
	if o.Min > o.max() {
		least = fmt.Errorf("detect: Oz.Min %v is above Max %v", o.Min, o.max())
	}
	return errors.Join(
		param.Above("Oz.Increase", o.Increase, 1, 16), decrease, param.ZeroOr("Oz.X", o.X, 2, ozMaxRaises),
		param.Within("Oz.Initial", o.Initial, 0, time.Hour), param.Within("Oz.Min", o.Min, 0, time.Hour),
		param.Within("Oz.Max", o.Max, 0, time.Hour), least)
}
