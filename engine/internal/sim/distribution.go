package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// Kind is the shape of a Distribution.
type Kind uint8

const (
	Constant    Kind = iota // Base
	Uniform                 // Base to Base + Spread
	LogNormal               // Base + Spread·exp(Shape·N): the median excess is Spread
	Exponential             // Base + excess of mean Spread
	// Pareto is Base, plus with probability Share a spike of at least Spread whose tail falls as
	// the power -Shape.
	Pareto

	numKinds
)

var kindNames = [numKinds]string{"constant", "uniform", "lognormal", "exponential", "pareto"}

// String returns the kind's name in scenarios.
func (k Kind) String() string {
	if k < numKinds {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// MarshalText returns the kind's name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText parses a kind's name.
func (k *Kind) UnmarshalText(text []byte) error {
	for i, name := range kindNames {
		if name == string(text) {
			*k = Kind(i)
			return nil
		}
	}
	return fmt.Errorf("%q is no distribution; want one of %v", text, kindNames)
}

// Distribution is a distribution of delays.
type Distribution struct {
	Kind         Kind
	Base, Spread time.Duration
	Shape        float64       // LogNormal: sigma, 0 means 1; Pareto: alpha, 0 means 1.5
	Share        float64       // Pareto: probability of a spike; 0 means 1
	Most         time.Duration // where tails are cut off; 0 means Base + 100 × Spread
}

// Worst returns the upper bound of the distribution.
func (d *Distribution) Worst() time.Duration {
	switch {
	case d.Kind == Constant:
		return d.Base
	case d.Kind == Uniform:
		return d.Base + d.Spread
	case d.Most != 0:
		return d.Most
	}
	return d.Base + 100*d.Spread
}

// draw returns a random delay.
func (d *Distribution) draw(r *rand.Rand) time.Duration {
	spread, excess := float64(d.Spread), 0.0
	switch d.Kind {
	case Constant:
		return d.Base
	case Uniform:
		excess = spread * r.Float64()
	case LogNormal:
		excess = spread * math.Exp(orDefault(d.Shape, 1)*r.NormFloat64())
	case Exponential:
		excess = spread * r.ExpFloat64()
	case Pareto:
		if d.Share == 0 || r.Float64() < d.Share {
			excess = spread * math.Pow(1-r.Float64(), -1/orDefault(d.Shape, 1.5))
		}
	}
	if spread == 0 {
		excess = 0 // not NaN, where the factor is infinite
	}
	return min(d.Base+time.Duration(min(excess, float64(time.Hour))), d.Worst())
}

// orDefault returns v, or d if v is 0.
func orDefault(v, d float64) float64 {
	if v == 0 {
		return d
	}
	return v
}
