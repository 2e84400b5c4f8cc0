// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package detect

import (
	"math"
	"time"

	"systole/engine/clock"
)

// PhiExponential is the accrual detector as Apache Cassandra computes it
// (org.apache.cassandra.gms.FailureDetector): with the mean of the last intervals,
//
//	φ = (now - last arrival) / mean / ln 10
//
// so φ 8 is a silence of 18.4 mean intervals, however steady they are. The first interval counts as
// Initial. Intervals above MaxInterval are ignored, so the detector does not learn the period of a
// sender slower than that.
type PhiExponential struct {
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

var _ Detector = (*PhiExponential)(nil)

const (
	phiExpArrival = iota
	phiExpUnit    // mean·ln 10, ns, math.Float64bits
	phiExpSequence
	phiExpSum
	phiExpCount
	phiExpRing
)

const cassandraInterval = 2 * time.Second

func (d *PhiExponential) window() int { return int(orDefault(float64(d.Window), 1000)) }

// Name returns "phi-exp".
func (d *PhiExponential) Name() string { return "phi-exp" }

// Words returns the size of a state in words.
func (d *PhiExponential) Words() int { return phiExpRing + d.window() }

// Summary returns the number of words that Suspicion reads.
func (d *PhiExponential) Summary() int { return phiExpUnit + 1 }

// Levels returns the threshold and d.Fail.
func (d *PhiExponential) Levels() (suspect, fail float64) {
	suspect = orDefault(d.Threshold, 8)
	return suspect, orDefault(d.Fail, 2*suspect)
}

// Reset returns state to that of a peer without a heartbeat.
func (d *PhiExponential) Reset(state []uint64) { clear(state[:d.Words()]) }

// Heartbeat takes a heartbeat.
func (d *PhiExponential) Heartbeat(state []uint64, h *Heartbeat) {
	n := uint64(d.window())
	state = state[:phiExpRing+n]
	last := state[phiExpArrival]
	if !newer(h, last, state[phiExpSequence]) {
		return
	}
	arrival := newest(h, last)
	interval := arrival.Sub(clock.Instant(last))
	longest := time.Duration(orDefault(float64(d.MaxInterval), float64(cassandraInterval)))
	if last == 0 {
		interval = time.Duration(orDefault(float64(d.Initial), float64(cassandraInterval)))
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
func (d *PhiExponential) Suspicion(summary []uint64, at clock.Instant) float64 {
	from := clock.Instant(summary[phiExpArrival])
	if from == 0 || at <= from {
		return 0
	}
	return float64(at.Sub(from)) / math.Float64frombits(summary[phiExpUnit])
}

// Deadline returns when φ reaches level.
func (d *PhiExponential) Deadline(summary []uint64, level float64) clock.Instant {
	from := clock.Instant(summary[phiExpArrival])
	return firstAt(d, summary, from, level*math.Float64frombits(summary[phiExpUnit]), level)
}
