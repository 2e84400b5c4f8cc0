// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package published

import (
	"math"
	"math/bits"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/detect/internal/param"
	"systole/engine/detect/internal/silence"
)

// PhiNormal returns the accrual detector of Hayashibara, Défago, Yared and Katayama (SRDS 2004), as Akka
// and Pekko compute it (PhiAccrualFailureDetector.scala). It assumes that intervals are normally
// distributed, and uses the logistic approximation of the normal tail
//
//	y = (now - last arrival - mean - Pause) / max(deviation, MinDeviation)
//	φ = -log10(e/(1 + e)),  e = exp(-y·(1.5976 + 0.070566·y²))
//
// which exceeds the true φ far out: 10.8 in place of 9.0 at six deviations. Until the first
// interval, two samples stand in for it: FirstEstimate plus and minus a quarter. An interval that
// ends while the peer is suspect is no sample.
//
// φ is computed here as (a + ln(1 + exp(-a)))/ln 10 with a = y·(1.5976 + 0.070566·y²). That is
// equal, and does not overflow. φ ends at 300. Instants are in nanoseconds; Akka truncates them to
// milliseconds, so its deadlines are up to 1 ms earlier.
func PhiNormal(o PhiNormalOptions) detect.Detector { return &phiNormal{o} }

// PhiNormalOptions are the parameters of PhiNormal. The zero value has the defaults.
type PhiNormalOptions struct {
	// Threshold is the φ at which a peer is suspect, from 0.1 to 299. 0 means 8.
	Threshold float64
	// Window is the number of intervals, from 2 to 1000. 0 means 1000. Each takes 8 bytes per peer.
	Window int
	// MinDeviation is the least deviation, at most 1 hour. 0 means 100 ms.
	MinDeviation time.Duration
	// Pause is added to the mean, at most 1 hour. 0 means 3 s; below 0 means none.
	Pause time.Duration
	// FirstEstimate stands in for the first interval, at most 1 hour. 0 means 1 s.
	FirstEstimate time.Duration
	// Fail is the suspicion at which a peer is failed, above the threshold and at most 300. 0 means
	// twice the threshold, at most 300.
	Fail float64
}

// phiNormal is the detector of PhiNormal.
type phiNormal struct{ PhiNormalOptions }

var _ detect.Detector = (*phiNormal)(nil)

const (
	phiArrival   = iota
	phiMean      // mean interval + pause, ns, math.Float64bits
	phiDeviation // ns, math.Float64bits
	phiSequence
	phiSum
	phiSquaresHigh // sum of squares, ns², 128 bits
	phiSquaresLow
	phiCount
	phiRing
)

// maxPhiInterval keeps the sum of a thousand squares within 128 bits.
const maxPhiInterval = 24 * time.Hour

func (d *phiNormal) window() int { return int(param.OrDefault(float64(d.Window), 1000)) }

// pause returns the time that is added to the mean, in ns.
func (d *phiNormal) pause() float64 {
	return max(param.OrDefault(float64(d.Pause), float64(3*time.Second)), 0)
}

// Name returns "phi".
func (d *phiNormal) Name() string { return "phi" }

// Words returns the size of a state in words.
func (d *phiNormal) Words() int { return phiRing + d.window() }

// Summary returns the number of words that Suspicion reads.
func (d *phiNormal) Summary() int { return phiDeviation + 1 }

// Levels returns the threshold and d.Fail.
func (d *phiNormal) Levels() (suspect, fail float64) {
	suspect = param.OrDefault(d.Threshold, 8)
	return suspect, param.OrDefault(d.Fail, min(2*suspect, silence.MaxPhi))
}

// Reset returns state to that of a peer without a heartbeat.
func (d *phiNormal) Reset(state []uint64) { clear(state[:d.Words()]) }

// Heartbeat takes a heartbeat.
func (d *phiNormal) Heartbeat(state []uint64, h *detect.Heartbeat) {
	state = state[:d.Words()]
	last := state[phiArrival]
	if !silence.Newer(h.Sequence, last, state[phiSequence]) {
		return
	}
	arrival := silence.Newest(h.Arrival, last)
	threshold, _ := d.Levels()
	switch {
	case last == 0:
		estimate := time.Duration(param.OrDefault(float64(d.FirstEstimate), float64(time.Second)))
		d.sample(state, estimate-estimate/4)
		d.sample(state, estimate+estimate/4)
		d.fit(state)
	case d.Suspicion(state, arrival) < threshold:
		d.sample(state, min(arrival.Sub(clock.Instant(last)), maxPhiInterval))
		d.fit(state)
	}
	state[phiArrival] = uint64(arrival)
	state[phiSequence] = h.Sequence
}

// sample adds an interval to the window.
func (d *phiNormal) sample(state []uint64, interval time.Duration) {
	n, count := uint64(d.window()), state[phiCount]
	place := phiRing + count%n
	if count >= n {
		old := state[place]
		state[phiSum] -= old
		high, low := bits.Mul64(old, old)
		var borrow uint64
		state[phiSquaresLow], borrow = bits.Sub64(state[phiSquaresLow], low, 0)
		state[phiSquaresHigh], _ = bits.Sub64(state[phiSquaresHigh], high, borrow)
	}
	x := uint64(interval)
	state[place] = x
	state[phiSum] += x
	high, low := bits.Mul64(x, x)
	var carry uint64
	state[phiSquaresLow], carry = bits.Add64(state[phiSquaresLow], low, 0)
	state[phiSquaresHigh], _ = bits.Add64(state[phiSquaresHigh], high, carry)
	state[phiCount] = count + 1
}

// fit computes mean and deviation of the window. n·Σx² - (Σx)² is exact, in integers of 128 bits:
// in floats most digits would cancel.
func (d *phiNormal) fit(state []uint64) {
	n := min(state[phiCount], uint64(d.window()))
	high, low := bits.Mul64(state[phiSquaresLow], n)
	high += state[phiSquaresHigh] * n
	sumHigh, sumLow := bits.Mul64(state[phiSum], state[phiSum])
	low, borrow := bits.Sub64(low, sumLow, 0)
	high, _ = bits.Sub64(high, sumHigh, borrow)
	deviation := math.Sqrt(float64(high)*(1<<64)+float64(low)) / float64(n)
	least := param.OrDefault(float64(d.MinDeviation), float64(100*time.Millisecond))
	state[phiMean] = math.Float64bits(float64(state[phiSum])/float64(n) + d.pause())
	state[phiDeviation] = math.Float64bits(max(deviation, least))
}

// Constants of the logistic approximation of the normal distribution.
const (
	logistic1 = 1.5976
	logistic3 = 0.070566
)

// Suspicion returns φ.
func (d *phiNormal) Suspicion(summary []uint64, at clock.Instant) float64 {
	from := clock.Instant(summary[phiArrival])
	if from == 0 || at <= from {
		return 0
	}
	y := (float64(at.Sub(from)) - math.Float64frombits(summary[phiMean])) / math.Float64frombits(summary[phiDeviation])
	a := y * (logistic1 + logistic3*y*y)
	if a < 0 {
		return math.Log1p(math.Exp(a)) / math.Ln10
	}
	return min((a+math.Log1p(math.Exp(-a)))/math.Ln10, silence.MaxPhi)
}

// Deadline returns when φ reaches level. φ·ln 10 = ln(1 + exp(a)) gives a, and y is the only root
// of an increasing cubic.
func (d *phiNormal) Deadline(summary []uint64, level float64) clock.Instant {
	from := clock.Instant(summary[phiArrival])
	if !(level > 0 && level <= silence.MaxPhi) {
		return clock.Never
	}
	l := level * math.Ln10
	a := l + math.Log(-math.Expm1(-l))
	y := cubicRoot(logistic3, logistic1, a)
	after := math.Float64frombits(summary[phiMean]) + y*math.Float64frombits(summary[phiDeviation])
	return silence.First(d, summary, from, after, level)
}

// cubicRoot returns the y with c·y³ + b·y = a, for b and c above 0 (Cardano).
func cubicRoot(c, b, a float64) float64 {
	p, q := b/c, -a/c
	r := math.Sqrt(q*q/4 + p*p*p/27)
	// u is the cube root without cancellation; the other one is -p/3u, by their product.
	u := math.Cbrt(-q/2 - math.Copysign(r, q))
	if u == 0 {
		return 0
	}
	return u - p/(3*u)
}
