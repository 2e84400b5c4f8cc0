package detect

import (
	"errors"
	"math"
	"time"

	"systole/engine/detect/internal/param"
	"systole/engine/internal/margins"
)

// marginScale has constants that follow from the parameters of a margin detector.
type marginScale struct {
	suspect, fail float64              // levels
	levels        [marginKnots]float64 // of the knots, with the two above
	generation    uint64               // heartbeats in a generation of the histogram
	tick          time.Duration        // see surprise
}

const (
	defaultMistakeEvery = 24 * time.Hour
	defaultPeriod       = 100 * time.Millisecond
	// A generation lasts marginMemory times MistakeEvery, within bounds in heartbeats.
	marginMemory        = 8
	minMarginGeneration = 1 << 15
	maxMarginGeneration = 1 << 23
)

// scaled returns the constants of d. The first call, usually by Levels, computes and stores them.
func (d *marginDetector) scaled() *marginScale {
	if s := d.scale.Load(); s != nil {
		return s
	}
	every := param.OrDefault(float64(d.MistakeEvery), float64(defaultMistakeEvery))
	beats := every / param.OrDefault(float64(d.Period), float64(defaultPeriod))
	s := &marginScale{suspect: max(math.Log10(beats), 0.5)}
	s.fail = s.suspect + math.Log10(param.OrDefault(d.FailAfter, 1000))
	for k := range marginSuspect {
		s.levels[k] = s.suspect * float64(k+1) / (marginSuspect + 1)
	}
	s.levels[marginSolicit] = s.suspect / 6
	s.levels[marginSuspect], s.levels[marginKnots-1] = s.suspect, s.fail
	s.levels[marginSuspect+1] = (s.suspect + s.fail) / 2
	s.generation = uint64(min(max(marginMemory*beats, minMarginGeneration), maxMarginGeneration))
	s.tick = max(time.Duration(every)/surpriseTicks, 1)
	d.scale.Store(s)
	return s
}

// prior gives the margins at levels that a peer's own samples do not support: by the samples of its
// class, and beyond those by the floor.
type prior struct {
	class *margins.Curve // nil: no samples
	line  float64        // the floor, ns per level
	reach float64        // the level that the samples of class support
	most  float64        // the margin there, or the greatest sample if that is more, ns
}

// newPrior returns the prior of a class, with a floor in ns per level.
func newPrior(class *margins.Curve, line float64) prior {
	if class.N < 1 {
		return prior{line: line}
	}
	reach := class.Reach()
	return prior{class: class, line: line, reach: reach, most: max(class.At(reach), class.Most)}
}

// at returns the margin at a level, in ns. share is margins.ShareAt(level).
func (p *prior) at(level, share float64) float64 {
	if p.class == nil {
		return p.line * level
	}
	if level > p.reach {
		return max(p.class.Quantile(share), p.most+p.line*(level-p.reach))
	}
	return p.class.Quantile(share)
}

// Due reports whether Learn has something to do: since its last call the period changed, the margin
// of suspicion was exceeded, or the number of samples became a power of two or a multiple of 256.
func (d *marginDetector) Due(state []uint64) bool { return state[marginNotes]&marginDue != 0 }

// Learn fits the margins at the knots: to the histogram as far as its samples reach, beyond that to
// pool.
func (d *marginDetector) Learn(state []uint64, pool *margins.Pool) {
	state = state[:marginWords]
	state[marginNotes] &^= marginDue
	s := d.scaled()
	var own, class margins.Curve
	gather(state, &own)
	// One mistake per MistakeEvery is a smaller share of the heartbeats of a faster sender.
	period := time.Duration(max(state[marginNotes]&marginPeriod, 1)) * time.Microsecond
	shift := math.Log10(param.OrDefault(float64(d.Period), float64(defaultPeriod)) / float64(period))
	if pool != nil {
		class = pool.Late()
	}
	p := newPrior(&class, d.floor(period)/max(s.suspect+shift, leastLevel))
	reach, most := own.Reach(), 1.02*own.Most
	ownReach, priorReach := max(own.At(reach), most), p.at(reach, margins.ShareAt(reach))
	at := func(level float64) time.Duration {
		level = max(level+shift, leastLevel)
		share := margins.ShareAt(level)
		margin := own.Quantile(share)
		if level > reach {
			margin = max(margin, ownReach+p.at(level, share)-priorReach)
		}
		// If the level of suspicion is bounded, lower levels are as well. Knots ascend, and if most
		// samples are in one bucket, a quantile can lie anywhere in the bucket, above the bound
		// too.
		if bound := float64(d.Within - period); bound > 0 && max(level, s.suspect+shift) > reach {
			margin = min(margin, max(bound, most))
		}
		return time.Duration(min(margin, float64(maxMargin)))
	}
	last := uint64(0)
	for k, level := range s.levels[:marginSuspect+1] {
		last = setKnot(state, k, max(margins.Pack(at(level)), last+1))
	}
	d.setFail(state, at(s.fail), period)
	state[marginSlope] = uint64(max(own.Slope(), p.line, 1))
}

// leastLevel keeps shares below 1, for senders with a period near MistakeEvery or above.
const leastLevel = 0.1

// floor returns the margin of suspicion for a peer about which nothing is known, in ns.
func (d *marginDetector) floor(period time.Duration) float64 {
	usual := max(3*period, margins.MinFloor)
	if d.Within > period {
		usual = d.Within - period
	}
	return param.OrDefault(float64(d.Floor), float64(usual))
}

// gather adds up both generations of a histogram.
func gather(state []uint64, c *margins.Curve) {
	samples, most := state[marginSamples], state[marginMost]
	c.N = float64(samples>>32 + samples&math.MaxUint32)
	c.Most = float64(max(most>>32, most&math.MaxUint32)) * (1 << margins.Unit)
	for i := range c.Counts {
		c.Counts[i] = margins.CountAt(state[marginNow:marginBefore], i) + margins.CountAt(state[marginBefore:marginWords], i)
	}
}

// setKnot stores the packed margin at knot k and returns it.
func setKnot(state []uint64, k int, code uint64) uint64 {
	shift := uint(k%4) * 16
	word := &state[marginAt+k/4]
	*word = *word&^(math.MaxUint16<<shift) | code<<shift
	return code
}

// Validate returns all faults of d, joined.
func (d *marginDetector) Validate() error {
	return errors.Join(
		param.ZeroOr("Margin.MistakeEvery", d.MistakeEvery, minMistakeEvery, longest), param.ZeroOr("Margin.Period", d.Period, minEta, maxEta),
		param.ZeroOr("Margin.FailAfter", d.FailAfter, 2, 1e9), param.ZeroOr("Margin.X", d.X, 2, 1000),
		param.Within("Margin.Within", d.Within, 0, time.Hour), param.Within("Margin.FailFloor", d.FailFloor, 0, time.Hour),
		param.Within("Margin.Floor", d.Floor, 0, time.Hour))
}
