// Package netmodel has models of delay and loss. The simulated worlds (package enginetest) and the
// benchmarks in virtual time draw from them.
package netmodel

import (
	"math"
	"math/rand/v2"
	"time"
)

// The kinds of distributions; Distribution says what each is.
const (
	constant    = "constant"
	uniform     = "uniform"
	logNormal   = "lognormal"
	exponential = "exponential"
	pareto      = "pareto"
)

// Distribution is a distribution of delays. The zero value is always 0. The kinds are:
//
//	constant     Base; so is an empty Kind
//	uniform      Base to Base + Spread
//	lognormal    Base + Spread·exp(Shape·N): the median excess is Spread
//	exponential  Base + an excess of mean Spread
//	pareto       Base, plus with probability Share a spike of at least Spread whose tail falls as the power -Shape
type Distribution struct {
	Kind         string
	Base, Spread time.Duration // at most an hour each
	Shape        float64       // lognormal: sigma, 0 means 1; pareto: alpha, 0 means 1.5; at most 100
	Share        float64       // pareto: probability of a spike; 0 means 1
	// Most is where the tails of lognormal, exponential and pareto are cut off, at most an hour; 0
	// means Base + 100 × Spread.
	Most time.Duration
}

// Worst returns the upper bound of the distribution.
func (d *Distribution) Worst() time.Duration {
	switch {
	case d.Kind == constant || d.Kind == "":
		return d.Base
	case d.Kind == uniform:
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
	case constant, "":
		return d.Base
	case uniform:
		excess = spread * r.Float64()
	case logNormal:
		excess = spread * math.Exp(orDefault(d.Shape, 1)*r.NormFloat64())
	case exponential:
		excess = spread * r.ExpFloat64()
	case pareto:
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
