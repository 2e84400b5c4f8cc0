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

// Bertier returns the detector of Bertier, Marin and Sens, "Implementation and Performance Evaluation of
// an Adaptable Failure Detector", DSN 2002: Chen's expected arrival, and a margin that follows the
// errors of that expectation as TCP's retransmission timeout does (Jacobson 1988). With the error e
// of an expected arrival beyond the estimate delay,
//
//	delay += Gamma·e;  var += Gamma·(|e| - var);  margin = Beta·delay + Phi·var
//
// On a quiet path the margin shrinks to the noise of the last ten heartbeats, and the next stall is
// a mistake: ten thousand a day at 100 ms is usual.
//
// e is relative to the arrival that was expected next, so after losses it contains the lost periods
// and widens the margin, as in implementations without sequences. The paper can also be read to
// mean the expected arrival of the heartbeat's own sequence: then losses do not change the margin,
// and at 1 % loss the mean detection time is a tenth shorter. The paper's adaptation layer, a step
// of the delay after each mistake, is left out.
//
// The paper's detector only trusts or suspects. Suspicion here is 1 at that deadline, and grows by
// 1 per period.
func Bertier(o BertierOptions) detect.Detector { return &bertier{o} }

// BertierOptions are the parameters of Bertier. The zero value has the defaults.
type BertierOptions struct {
	// Beta, Phi and Gamma are the gains: Beta and Phi up to 100, Gamma up to 1. 0 means 1, 4 and
	// 0.1.
	Beta, Phi, Gamma float64
	// Window is the number of arrivals in the mean, from 1 to 1000. 0 means 1000. Each takes 8
	// bytes per peer.
	Window int
	// Fail is the suspicion at which a peer is failed, above 1. 0 means 10.
	Fail float64
}

// bertier is the detector of Bertier.
type bertier struct{ BertierOptions }

var _ detect.Detector = (*bertier)(nil)

const (
	bertierFrom   = iota // the deadline minus a period: suspicion begins
	bertierPeriod        // ns
	bertierDelay         // estimate, ns, math.Float64bits
	bertierVar           // estimate, ns, math.Float64bits
	bertierExpected
	bertierOffsets
)

func (d *bertier) window() offsets { return offsets{int(param.OrDefault(float64(d.Window), 1000))} }

// Name returns "bertier".
func (d *bertier) Name() string { return "bertier" }

// Words returns the size of a state in words.
func (d *bertier) Words() int { return bertierOffsets + d.window().words() }

// Summary returns the number of words that Suspicion reads.
func (d *bertier) Summary() int { return bertierPeriod + 1 }

// Levels returns 1 and d.Fail.
func (d *bertier) Levels() (suspect, fail float64) { return 1, param.OrDefault(d.Fail, 10) }

// Reset returns state to that of a peer without a heartbeat.
func (d *bertier) Reset(state []uint64) { clear(state[:d.Words()]) }

// Heartbeat takes a heartbeat.
func (d *bertier) Heartbeat(state []uint64, h *detect.Heartbeat) {
	w := d.window()
	relative, ok := w.add(state[bertierOffsets:], h)
	if !ok {
		return
	}
	delay, variation := math.Float64frombits(state[bertierDelay]), math.Float64frombits(state[bertierVar])
	// There is no error of the first heartbeat, nor of the first after a step of the clock.
	if state[bertierOffsets+offsetsCount] > 1 {
		gamma := param.OrDefault(d.Gamma, 0.1)
		e := float64(h.Arrival.Sub(clock.Instant(state[bertierExpected]))) - delay
		delay += gamma * e
		variation += gamma * (math.Abs(e) - variation)
	}
	state[bertierDelay], state[bertierVar] = math.Float64bits(delay), math.Float64bits(variation)
	period := silence.ClampPeriod(h.Period)
	expected := max(h.Arrival.Add(time.Duration(w.mean(state[bertierOffsets:])-relative)+period), 1)
	state[bertierExpected] = uint64(expected)
	margin := param.OrDefault(d.Beta, 1)*delay + param.OrDefault(d.Phi, 4)*variation
	margin = max(min(margin, float64(silence.OffsetStep)), -float64(period))
	state[bertierFrom] = uint64(max(expected.Add(time.Duration(math.Ceil(margin))-period), 1))
	state[bertierPeriod] = uint64(period)
}

// Suspicion returns 1 plus the periods since the deadline: less than 1 before it, at least 0.
func (d *bertier) Suspicion(summary []uint64, at clock.Instant) float64 {
	return silence.Linear(clock.Instant(summary[bertierFrom]), time.Duration(summary[bertierPeriod]), at)
}

// Deadline returns when Suspicion reaches level.
func (d *bertier) Deadline(summary []uint64, level float64) clock.Instant {
	return silence.LinearDeadline(clock.Instant(summary[bertierFrom]), time.Duration(summary[bertierPeriod]), level)
}
