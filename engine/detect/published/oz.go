// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package published

import (
	"math"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/detect/internal/param"
	"systole/engine/detect/internal/silence"
)

// Oz returns the rule of the Mozart/Oz heartbeat (issue 4 of the mozart-graph project). It waits for
// a delay. If no heartbeat arrived, it raises the delay and the peer is suspect (tempFail); if one
// did, it lowers the delay. A peer that stays silent for X raises is failed (permFail).
//
// In Mozart the delay is also the period of the node's own heartbeats, and two such peers drive
// each other to the least or the greatest delay. Here the delay is only the time to wait.
//
// The delay settles where raises and decreases balance: with the share p of waits without a
// heartbeat, p·ln Increase = (1-p)·ln(1/Decrease). So the share of false alarms
//
//	p* = ln(1/Decrease) / (ln Increase + ln(1/Decrease))
//
// depends on the gains and not on the network: 13 % for ×2 and ×0.9, 1.4 % for ×2 and ×0.99.
//
// Suspicion is the number of raises in the present silence.
func Oz(o OzOptions) detect.Detector { return &oz{o} }

// OzOptions are the parameters of Oz. The zero value has the defaults.
type OzOptions struct {
	// Initial is the first delay, at most 1 hour. 0 means 3 s, as in Mozart.
	Initial time.Duration
	// Increase is the factor of a raise, above 1, at most 16. 0 means 2.
	Increase float64
	// Decrease is the factor at each heartbeat, from 0.5, below 1. 0 means 0.99.
	Decrease float64
	// Min and Max bound the delay, at most 1 hour. 0 means 1.5 periods of the sender for Min, since
	// a shorter wait could end before the next heartbeat, and 30 s for Max. For a slow sender the
	// default of Min can be above Max. Then it counts: else the peer would be suspect before each
	// heartbeat.
	Min, Max time.Duration
	// X is the number of raises in one silence at which the peer is failed, from 2 to 64. 0 means
	// 5.
	X int
}

// oz is the detector of Oz.
type oz struct{ OzOptions }

var _ detect.Detector = (*oz)(nil)

const (
	ozArrival = iota // of the newest heartbeat
	ozDelay          // at that instant, ns
	ozSequence
	ozWords
)

const (
	ozMaxRaises = 64
	ozInitial   = 3 * time.Second
	ozMax       = 30 * time.Second
)

func (o *oz) increase() float64 { return param.OrDefault(o.Increase, 2) }
func (o *oz) decrease() float64 { return param.OrDefault(o.Decrease, 0.99) }
func (o *oz) max() time.Duration {
	return time.Duration(param.OrDefault(float64(o.Max), float64(ozMax)))
}

// Name returns "oz".
func (o *oz) Name() string { return "oz" }

// Words returns the size of a state in words.
func (o *oz) Words() int { return ozWords }

// Summary returns the number of words that Suspicion reads.
func (o *oz) Summary() int { return ozDelay + 1 }

// Levels returns 1 and X.
func (o *oz) Levels() (suspect, fail float64) { return 1, param.OrDefault(float64(o.X), 5) }

// Reset returns state to that of a peer without a heartbeat.
func (o *oz) Reset(state []uint64) { clear(state[:ozWords]) }

// Heartbeat takes a heartbeat: it keeps the raises of the silence before, and lowers the delay
// once.
func (o *oz) Heartbeat(state []uint64, h *detect.Heartbeat) {
	state = state[:ozWords]
	arrival := clock.Instant(state[ozArrival])
	if !silence.Newer(h.Sequence, state[ozArrival], state[ozSequence]) {
		return
	}
	delay := param.OrDefault(float64(o.Initial), float64(ozInitial))
	if arrival != 0 {
		delay = o.raised(float64(state[ozDelay]), o.raises(arrival, float64(state[ozDelay]), h.Arrival))
		delay *= o.decrease()
	}
	least := param.OrDefault(float64(o.Min), 1.5*float64(silence.ClampPeriod(h.Period)))
	state[ozDelay] = uint64(math.Ceil(max(min(delay, float64(o.max())), least)))
	state[ozArrival] = uint64(silence.Newest(h.Arrival, state[ozArrival]))
	state[ozSequence] = h.Sequence
}

// raised returns delay after n raises, which end at Max.
func (o *oz) raised(delay float64, n int) float64 {
	for range n {
		delay = max(min(delay*o.increase(), float64(o.max())), delay)
	}
	return delay
}

// raises returns the number of raises between the instants from and at, if delay is the first wait;
// at most ozMaxRaises.
func (o *oz) raises(from clock.Instant, delay float64, at clock.Instant) int {
	n := 0
	for end := from; n < ozMaxRaises; n++ {
		if end = end.Add(time.Duration(delay)); end > at {
			break
		}
		delay = o.raised(delay, 1)
	}
	return n
}

// Suspicion returns the number of raises until at.
func (o *oz) Suspicion(summary []uint64, at clock.Instant) float64 {
	from := clock.Instant(summary[ozArrival])
	if from == 0 || at <= from {
		return 0
	}
	return float64(o.raises(from, float64(summary[ozDelay]), at))
}

// Deadline returns when the number of raises reaches level.
func (o *oz) Deadline(summary []uint64, level float64) clock.Instant {
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
