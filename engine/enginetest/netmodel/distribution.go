// Package netmodel has models of delay and loss. The simulated worlds (package enginetest) and the
// benchmarks in virtual time draw from them.
package netmodel

import (
	"math"
	"math/rand/v2"
	"time"
)

// Kind is the shape of a Distribution.
type Kind string

// The kinds.
const (
	Constant    Kind = "constant"    // Base
	Uniform     Kind = "uniform"     // Base to Base + Spread
	LogNormal   Kind = "lognormal"   // Base + Spread·exp(Shape·N): the median excess is Spread
	Exponential Kind = "exponential" // Base + excess of mean Spread
	// Pareto is Base, plus with probability Share a spike of at least Spread whose tail falls as
	// the power -Shape.
	Pareto Kind = "pareto"
)

// Distribution is a distribution of delays. The zero value is always 0.
type Distribution struct {
	Kind         Kind          // empty means Constant
	Base, Spread time.Duration // at most an hour each
	Shape        float64       // LogNormal: sigma, 0 means 1; Pareto: alpha, 0 means 1.5; at most 100
	Share        float64       // Pareto: probability of a spike; 0 means 1
	// Most is where the tails of LogNormal, Exponential and Pareto are cut off, at most an hour; 0
	// means Base + 100 × Spread.
	Most time.Duration
}

// Worst returns the upper bound of the distribution.
func (d *Distribution) Worst() time.Duration {
	switch {
	case d.Kind == Constant || d.Kind == "":
		return d.Base
	case d.Kind == Uniform:
		return d.Base + d.Spread
	case d.Most != 0:
		return d.Most
	}
	return d.Base + 100*d.Spread
}

// Draw returns a random delay.
func (d *Distribution) Draw(r *rand.Rand) time.Duration {
	spread, excess := float64(d.Spread), 0.0
	switch d.Kind {
	case Constant, "":
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
