// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package detect

import (
	"math"
	"time"

	"systole/engine/clock"
)

// Oz is the rule of the Mozart/Oz heartbeat (issue 4 of the mozart-graph project): wait
// for the delay; if nothing was heard, raise the delay and flag tempFail; if something
// was, lower it. A peer that stays silent over X raises is permFail.
//
// In the seed the delay is also the period of our own heartbeats, and two such peers
// drive each other to the floor or the cap. Here the two are apart: the delay is only
// how long we wait.
//
// The delay settles where rises and falls balance: with the share p of waits in which
// nothing was heard, p·ln Increase = (1-p)·ln(1/Decrease). So the share of false alarms
//
//	p* = ln(1/Decrease) / (ln Increase + ln(1/Decrease))
//
// is a property of the gains and not of the network: 13 % for ×2 and ×0.9, 1.4 % for ×2
// and ×0.99. The detector trades delay for alarms only through them.
//
// Suspicion is the number of raises in the present silence.
type Oz struct {
	// Initial is the first delay. 0 means 3 s, as in the seed.
	Initial time.Duration
	// Increase is the factor of a raise, above 1, at most 16. 0 means 2.
	Increase float64
	// Decrease is the factor of a heartbeat, from 0.5, below 1. 0 means 0.99.
	Decrease float64
	// Min and Max bound the delay. 0 means one and a half periods of the sender, below
	// which a wait may end before a heartbeat can come, and 30 s. For a sender slower than
	// Max allows the lower bound wins: it would be suspected between any two heartbeats.
	Min, Max time.Duration
	// X is how many raises in one silence are permFail, from 2 to 64. 0 means 5.
	X int
}

var _ Detector = (*Oz)(nil)

const (
	ozArrival = iota // the silence began
	ozDelay          // the delay at that instant, ns
	ozSequence
	ozWords
)

const (
	ozMaxRaises = 64
	ozInitial   = 3 * time.Second
	ozMax       = 30 * time.Second
)

func (o *Oz) increase() float64  { return orDefault(o.Increase, 2) }
func (o *Oz) decrease() float64  { return orDefault(o.Decrease, 0.99) }
func (o *Oz) max() time.Duration { return time.Duration(orDefault(float64(o.Max), float64(ozMax))) }

// Name returns "oz".
func (o *Oz) Name() string { return "oz" }

// Words returns the size of a state.
func (o *Oz) Words() int { return ozWords }

// Summary returns how many words Suspicion reads.
func (o *Oz) Summary() int { return ozDelay + 1 }

// Levels returns one raise, and X.
func (o *Oz) Levels() (suspect, fail float64) { return 1, orDefault(float64(o.X), 5) }

// Reset forgets everything.
func (o *Oz) Reset(state []uint64) { clear(state[:ozWords]) }

// Heartbeat takes a heartbeat: the raises of the silence that it ends stay, and it lowers
// the delay once.
func (o *Oz) Heartbeat(state []uint64, h *Heartbeat) {
	state = state[:ozWords]
	arrival := clock.Instant(state[ozArrival])
	if !newer(h, state[ozArrival], state[ozSequence]) {
		return
	}
	delay := orDefault(float64(o.Initial), float64(ozInitial))
	if arrival != 0 {
		delay = o.raised(float64(state[ozDelay]), o.raises(arrival, float64(state[ozDelay]), h.Arrival))
		delay *= o.decrease()
	}
	floor := float64(o.Min)
	if floor == 0 {
		floor = 1.5 * float64(clampPeriod(h.Period))
	}
	state[ozDelay] = uint64(math.Ceil(max(min(delay, float64(o.max())), floor)))
	state[ozArrival] = uint64(newest(h, state[ozArrival]))
	state[ozSequence] = h.Sequence
}

// raised returns delay after n raises, which end at the cap.
func (o *Oz) raised(delay float64, n int) float64 {
	for range n {
		delay = max(min(delay*o.increase(), float64(o.max())), delay)
	}
	return delay
}

// raises returns how many waits, each raised after the one before, have passed between
// from and at; at most ozMaxRaises.
func (o *Oz) raises(from clock.Instant, delay float64, at clock.Instant) int {
	n := 0
	for end := from; n < ozMaxRaises; n++ {
		if end = end.Add(time.Duration(delay)); end > at {
			break
		}
		delay = o.raised(delay, 1)
	}
	return n
}

// Suspicion returns the raises until at.
func (o *Oz) Suspicion(summary []uint64, at clock.Instant) float64 {
	from := clock.Instant(summary[ozArrival])
	if from == 0 || at <= from {
		return 0
	}
	return float64(o.raises(from, float64(summary[ozDelay]), at))
}

// Deadline returns when the raises reach level: after d·(inc^n - 1)/(inc - 1) for n
// raises of a delay d that has not reached its cap.
func (o *Oz) Deadline(summary []uint64, level float64) clock.Instant {
	at := clock.Instant(summary[ozArrival])
	n := math.Ceil(level)
	if at == 0 || !(n <= ozMaxRaises) {
		return clock.Never
	}
	delay := float64(summary[ozDelay])
	for range int(n) {
		at = at.Add(time.Duration(delay))
		delay = o.raised(delay, 1)
	}
	return at
}
