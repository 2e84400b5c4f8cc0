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

// PhiExponential returns the accrual detector as Apache Cassandra computes it
// (org.apache.cassandra.gms.FailureDetector): with the mean of the last intervals,
//
//	φ = (now - last arrival) / mean / ln 10
//
// so φ 8 is a silence of 18.4 mean intervals, however steady they are. The first interval counts as
// Initial. Intervals above MaxInterval are ignored, so the detector does not learn the period of a
// sender slower than that.
func PhiExponential(o PhiExponentialOptions) detect.Detector { return &phiExponential{o} }

// PhiExponentialOptions are the parameters of PhiExponential. The zero value has the defaults.
type PhiExponentialOptions struct {
	// Threshold is the φ at which a peer is suspect, from 0.1 to 300. 0 means 8.
	Threshold float64
	// Window is the number of intervals in the mean, from 1 to 1000. 0 means 1000. Each takes 8
	// bytes per peer.
	Window int
	// Initial stands in for the first interval, and MaxInterval is the longest interval that
	// counts: at most 1 hour. 0 means 2 s, twice Cassandra's gossip period.
	Initial, MaxInterval time.Duration
	// Fail is the suspicion at which a peer is failed, above the threshold. 0 means twice the
	// threshold.
	Fail float64
}

// phiExponential is the detector of PhiExponential.
type phiExponential struct{ PhiExponentialOptions }

var _ detect.Detector = (*phiExponential)(nil)

const (
	phiExpArrival = iota
	phiExpUnit    // mean·ln 10, ns, math.Float64bits
	phiExpSequence
	phiExpSum
	phiExpCount
	phiExpRing
)

const cassandraInterval = 2 * time.Second

func (d *phiExponential) window() int { return int(param.OrDefault(float64(d.Window), 1000)) }

// Name returns "phi-exp".
func (d *phiExponential) Name() string { return "phi-exp" }

// Words returns the size of a state in words.
func (d *phiExponential) Words() int { return phiExpRing + d.window() }

// Summary returns the number of words that Suspicion reads.
func (d *phiExponential) Summary() int { return phiExpUnit + 1 }

// Levels returns the threshold and d.Fail.
func (d *phiExponential) Levels() (suspect, fail float64) {
	suspect = param.OrDefault(d.Threshold, 8)
	return suspect, param.OrDefault(d.Fail, 2*suspect)
}

// Reset returns state to that of a peer without a heartbeat.
func (d *phiExponential) Reset(state []uint64) { clear(state[:d.Words()]) }

// Heartbeat takes a heartbeat.
func (d *phiExponential) Heartbeat(state []uint64, h *detect.Heartbeat) {
	n := uint64(d.window())
	state = state[:phiExpRing+n]
	last := state[phiExpArrival]
	if !silence.Newer(h.Sequence, last, state[phiExpSequence]) {
		return
	}
	arrival := silence.Newest(h.Arrival, last)
	interval := arrival.Sub(clock.Instant(last))
	longest := time.Duration(param.OrDefault(float64(d.MaxInterval), float64(cassandraInterval)))
	if last == 0 {
		interval = time.Duration(param.OrDefault(float64(d.Initial), float64(cassandraInterval)))
		longest = interval
	}
	if interval <= longest {
		count := state[phiExpCount]
		place := phiExpRing + count%n
		if count >= n {
			state[phiExpSum] -= state[place]
		}
		state[place] = uint64(interval)
		state[phiExpSum] += uint64(interval)
		state[phiExpCount] = count + 1
		mean := float64(state[phiExpSum]) / float64(min(count+1, n))
		state[phiExpUnit] = math.Float64bits(max(mean, 1) * math.Ln10)
	}
	state[phiExpArrival] = uint64(arrival)
	state[phiExpSequence] = h.Sequence
}

// Suspicion returns φ.
func (d *phiExponential) Suspicion(summary []uint64, at clock.Instant) float64 {
	from := clock.Instant(summary[phiExpArrival])
	if from == 0 || at <= from {
		return 0
	}
	return float64(at.Sub(from)) / math.Float64frombits(summary[phiExpUnit])
}

// Deadline returns when φ reaches level.
func (d *phiExponential) Deadline(summary []uint64, level float64) clock.Instant {
	from := clock.Instant(summary[phiExpArrival])
	return silence.First(d, summary, from, level*math.Float64frombits(summary[phiExpUnit]), level)
}
