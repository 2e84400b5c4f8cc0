package detect

import (
	"math"
	"time"
)

// marginScale is what follows from a Margin's configuration, worked out once.
type marginScale struct {
	suspect, fail float64
	levels        [marginKnots]float64 // of the knots; marginSuspect and the last are the two above
	generation    uint64               // heartbeats that a generation of the histogram lasts
	tick          time.Duration        // see surprise
}

const (
	defaultMistakeEvery = 24 * time.Hour
	defaultPeriod       = 100 * time.Millisecond
	// A generation sees the promised mistake marginMemory times, within bounds.
	marginMemory        = 8
	minMarginGeneration = 1 << 15
	maxMarginGeneration = 1 << 23
)

// scaled returns what follows from d's configuration. Levels, which every user calls
// first, works it out.
func (d *Margin) scaled() *marginScale {
	if s := d.scale.Load(); s != nil {
		return s
	}
	every := orDefault(float64(d.MistakeEvery), float64(defaultMistakeEvery))
	beats := every / orDefault(float64(d.Period), float64(defaultPeriod))
	s := &marginScale{suspect: max(math.Log10(beats), 0.5)}
	s.fail = s.suspect + math.Log10(orDefault(d.FailAfter, 1000))
	for k := range marginSuspect {
		s.levels[k] = s.suspect * float64(k+1) / (marginSuspect + 1)
	}
	s.levels[marginAsk] = s.suspect / 6
	s.levels[marginSuspect], s.levels[marginKnots-1] = s.suspect, s.fail
	s.levels[marginSuspect+1] = (s.suspect + s.fail) / 2
	s.generation = uint64(min(max(marginMemory*beats, minMarginGeneration), maxMarginGeneration))
	s.tick = max(time.Duration(every)/surpriseTicks, 1)
	d.scale.Store(s)
	return s
}

// prior is what is taken for true where a peer's own samples do not speak: what its
// class has shown, and beyond that, or without it, the floor.
type prior struct {
	class   *curve  // nil: none, or without a sample
	line    float64 // the floor in ns per level
	vouched float64 // the level up to which class speaks
	most    float64 // the margin there, or the greatest seen if that is more
}

// newPrior returns the prior of a class, which may be nil, with a floor in ns per level.
func newPrior(class *curve, line float64) prior {
	if class == nil || class.n < 1 {
		return prior{line: line}
	}
	v := class.vouched()
	return prior{class: class, line: line, vouched: v, most: max(class.at(v), class.most)}
}

// at returns the prior's margin at a level, which share is the share of.
func (p *prior) at(level, share float64) float64 {
	if p.class == nil {
		return p.line * level
	}
	if level > p.vouched {
		return max(p.class.quantile(share), p.most+p.line*(level-p.vouched))
	}
	return p.class.quantile(share)
}

// Due reports whether enough was noted since the last Learn: a margin was exceeded, or
// the samples doubled, or marginRefit more have come.
func (d *Margin) Due(state []uint64) bool { return state[marginNotes]&marginDue != 0 }

// Learn fits the margins at the knots to the histogram, and to pool where it ends.
func (d *Margin) Learn(state []uint64, pool *Pool) {
	state = state[:marginWords]
	state[marginNotes] &^= marginDue
	s := d.scaled()
	var own, class curve
	gather(state, &own)
	// A mistake per MistakeEvery is another share of a faster sender's heartbeats.
	period := time.Duration(max(state[marginNotes]&marginPeriod, 1)) * time.Microsecond
	shift := math.Log10(orDefault(float64(d.Period), float64(defaultPeriod)) / float64(period))
	if pool != nil {
		pool.late.curve(&class)
	}
	p := newPrior(&class, d.floor(period)/max(s.suspect+shift, leastLevel))
	vouched, seen := own.vouched(), 1.02*own.most
	shown, known := max(own.at(vouched), seen), p.at(vouched, shareAt(vouched))
	at := func(level float64) time.Duration {
		level = max(level+shift, leastLevel)
		share := shareAt(level)
		margin := own.quantile(share)
		if level > vouched {
			margin = max(margin, shown+p.at(level, share)-known)
		}
		// A level below one that is bounded is bounded as well: knots ascend, and where a
		// bucket holds most samples, what is read off it lies anywhere in it.
		if bound := float64(d.Within - period); bound > 0 && max(level, s.suspect+shift) > vouched {
			margin = min(margin, max(bound, seen))
		}
		return time.Duration(min(margin, float64(maxMargin)))
	}
	last := uint64(0)
	for k, level := range s.levels[:marginSuspect+1] {
		last = setKnot(state, k, max(packMargin(at(level)), last+1))
	}
	d.setFail(state, at(s.fail), period)
	state[marginSlope] = uint64(max(own.slope(), p.line, 1))
}

// leastLevel keeps a share below 1, for senders so slow that the promise asks nothing.
const leastLevel = 0.1

// floor returns the margin at the level of suspicion for a peer of which nothing is known.
func (d *Margin) floor(period time.Duration) float64 {
	usual := max(3*period, minMarginFloor)
	if d.Within > period {
		usual = d.Within - period
	}
	return orDefault(float64(d.Floor), float64(usual))
}

// minMarginFloor is what threads of an idle machine are now and then late.
const minMarginFloor = 10 * time.Millisecond

// gather unpacks both generations of a histogram.
func gather(state []uint64, c *curve) {
	taken, most := state[marginTaken], state[marginMost]
	c.n = float64(taken>>32 + taken&math.MaxUint32)
	c.most = float64(max(most>>32, most&math.MaxUint32)) * (1 << marginUnit)
	for i := range c.counts {
		c.counts[i] = countAt(state[marginNow:marginBefore], i) + countAt(state[marginBefore:marginWords], i)
	}
}

// setKnot stores the packed margin at knot k and returns it.
func setKnot(state []uint64, k int, code uint64) uint64 {
	shift := uint(k%4) * 16
	word := &state[marginAt+k/4]
	*word = *word&^(math.MaxUint16<<shift) | code<<shift
	return code
}
