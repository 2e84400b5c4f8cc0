// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package detect

import (
	"math"
	"math/bits"
	"time"

	"systole/engine/clock"
)

// Margin is the required-margin detector: it learns from the peer itself how long beyond
// its expected arrival a heartbeat may come, as rarely as the promise allows.
//
// The expected arrival EA is the later of two means, as in TwoWindow, the short one of
// one heartbeat, the long one an exponential mean of 1024. The required margin of an
// arrival is
//
//	M = arrival - EA(next after the last received)
//
// and a mistake happens exactly when M exceeds the margin granted. M holds jitter,
// sender stalls, runs of losses and queueing with all their correlations, so nothing is
// assumed to be independent. A histogram of M in two generations gives its tail. Where
// fewer than marginTail samples lie beyond, the tail is continued as an exponential one
// with their mean excess, and not below the greatest M seen.
//
// Suspicion is φ = -log10 P(M > silence beyond EA), the accrual level of Hayashibara et
// al. (SRDS 2004) with the measured tail in place of a normal one; it ends at 300. So the
// threshold is the promise: one mistake per MistakeEvery is φ = log10(MistakeEvery/η). n
// samples vouch for φ up to log10(n); from there on φ grows no faster than by the prior,
// which alone counts for a peer that is new.
//
// A silence that was taken for a failure teaches no more than that silence at which it was.
type Margin struct {
	// MistakeEvery is the mean time between two mistakes of suspicion, T_MR of Chen,
	// Toueg and Aguilera. 0 means a day. From 1 s to 100 years.
	MistakeEvery time.Duration
	// Period is the η by which MistakeEvery becomes a level: what most peers have. 0 means
	// 100 ms. From 1 ms to 1 minute.
	Period time.Duration
	// Floor is the margin at the level of suspicion for a peer of which nothing is known
	// yet. 0 means three periods of the sender, at least 300 ms. At most 1 hour.
	Floor time.Duration
	// FailAfter is how much rarer mistakes of failure are than those of suspicion. 0 means
	// 1000. From 2 to 1e9.
	FailAfter float64
}

var _ Detector = (*Margin)(nil)

// The knots are the levels at which the margin is fitted. Between them, and beyond the
// last, φ is linear in the silence.
var marginLevels = [marginKnots]float64{1, 2, 3, 4, 5, 6, 8, 10}

const (
	marginKnots     = 8
	marginPerOctave = 3
	marginOctaves   = 20 // of the histogram: 32 µs to 34 s
	marginLeast     = 15 // log2 of the least margin told apart, ns
	marginBuckets   = 1 + marginPerOctave*marginOctaves
	marginTail      = 20      // samples beyond a quantile that is read, not continued
	marginRefit     = 256     // heartbeats between two fits
	marginAge       = 1 << 17 // heartbeats that a generation lasts
	marginUnit      = 10      // log2 of the unit of packed margins, ns: 32 bits last 73 minutes
	marginGain      = 10      // log2 of the heartbeats in the long mean
)

const (
	marginExpected = iota // EA of the next heartbeat; 0: none was heard
	marginAt              // margins at the knots, two per word

	marginSlope    = marginAt + marginKnots/2 // ns per 1 of φ beyond the last knot
	marginSequence = marginSlope + 1
	marginBase     = marginSequence + 1 // an offset, arrival - due, ns
	marginMean     = marginBase + 1     // long mean of the others less the base, ns << marginGain
	marginCount    = marginMean + 1     // heartbeats taken since the base
	marginTaken    = marginCount + 1    // samples, of this generation << 32 | of the one before
	marginMost     = marginTaken + 1    // greatest M of each, likewise
	marginHist     = marginMost + 1     // buckets, likewise
	marginWords    = marginHist + marginBuckets
)

// Name returns "margin".
func (d *Margin) Name() string { return "margin" }

// Words returns the size of a state: 592 bytes.
func (d *Margin) Words() int { return marginWords }

// Summary returns how many words Suspicion reads.
func (d *Margin) Summary() int { return marginSlope + 1 }

// Levels returns the φ of one mistake per MistakeEvery, and of FailAfter times as rare.
func (d *Margin) Levels() (suspect, fail float64) {
	every := orDefault(float64(d.MistakeEvery), float64(24*time.Hour))
	suspect = max(math.Log10(every/orDefault(float64(d.Period), float64(100*time.Millisecond))), 0.5)
	return suspect, suspect + math.Log10(orDefault(d.FailAfter, 1000))
}

// Reset forgets everything.
func (d *Margin) Reset(state []uint64) { clear(state[:marginWords]) }

// Heartbeat takes a heartbeat.
func (d *Margin) Heartbeat(state []uint64, h *Heartbeat) {
	state = state[:marginWords]
	expected := clock.Instant(state[marginExpected])
	if !newer(h, uint64(expected), state[marginSequence]) {
		return
	}
	state[marginSequence] = h.Sequence
	period := clampPeriod(h.Period)
	if expected != 0 {
		d.learn(state, h.Arrival.Sub(expected), period)
	} else {
		d.fit(state, period)
	}
	state[marginExpected] = uint64(max(d.expect(state, h).Add(period), 1))
}

// expect takes the heartbeat's offset and returns when it was itself expected, by what is
// known with it.
func (d *Margin) expect(state []uint64, h *Heartbeat) clock.Instant {
	offset := int64(h.Arrival) - (int64(h.Send) - int64(h.Late))
	relative := offset - int64(state[marginBase])
	if state[marginCount] == 0 || relative < -offsetStep || relative > offsetStep {
		state[marginBase], state[marginMean], state[marginCount] = uint64(offset), 0, 1
		return h.Arrival
	}
	state[marginCount]++
	mean := int64(state[marginMean])
	if n := int64(state[marginCount]); n < 1<<marginGain {
		mean += (relative<<marginGain - mean) / n
	} else {
		mean += relative - mean>>marginGain
	}
	state[marginMean] = uint64(mean)
	return h.Arrival.Add(time.Duration(max(mean>>marginGain-relative, 0)))
}

// learn takes a required margin into the histogram, and fits anew when it is time or the
// margin was exceeded.
func (d *Margin) learn(state []uint64, m, period time.Duration) {
	const young = 1 << 32
	suspect, fail := d.Levels()
	if most := marginOf(state, fail); m > most {
		m = most
	}
	if state[marginTaken]>>32 == marginAge {
		d.age(state)
	}
	state[marginTaken] += young
	state[marginHist+marginBucket(m)] += young
	units := uint64(max(m, 0)) >> marginUnit
	if units > state[marginMost]>>32 {
		state[marginMost] = units<<32 | state[marginMost]&(young-1)
	}
	n := state[marginTaken] >> 32
	if n%marginRefit == 0 || n < marginRefit && n&(n-1) == 0 || m > marginOf(state, suspect) {
		d.fit(state, period)
	}
}

// age makes the present generation the one before.
func (d *Margin) age(state []uint64) {
	for i := marginTaken; i < marginWords; i++ {
		state[i] >>= 32
	}
}

// marginBucket returns the bucket of m: 0 below 2^marginLeast ns, then three per octave.
func marginBucket(m time.Duration) int {
	if m < 1<<marginLeast {
		return 0
	}
	octave := bits.Len64(uint64(m)) - 1
	// The fraction of the octave in 1024ths; 2^(1/3) and 2^(2/3) part it.
	part, fraction := 0, uint64(m)>>(octave-10)&1023
	if fraction >= 266 {
		part++
	}
	if fraction >= 602 {
		part++
	}
	return min(1+(octave-marginLeast)*marginPerOctave+part, marginBuckets-1)
}

// marginEdge returns the upper end of bucket i in ns.
func marginEdge(i int) float64 { return math.Exp2(marginLeast + float64(i)/marginPerOctave) }

// fit computes the margins at the knots from the histogram.
func (d *Margin) fit(state []uint64, period time.Duration) {
	const half = 1<<32 - 1
	n := float64(state[marginTaken]>>32 + state[marginTaken]&half)
	most := float64(max(state[marginMost]>>32, state[marginMost]&half)) * (1 << marginUnit)
	suspect, _ := d.Levels()
	floor := orDefault(float64(d.Floor), max(3*float64(period), float64(300*time.Millisecond)))
	prior := floor / suspect // ns per 1 of φ

	// What is read ends where marginTail samples lie beyond, what is vouched for at one.
	read := max(math.Log10(n/marginTail), 0)
	vouched := max(math.Log10(n), 0)
	tail, excess := quantileOf(state, min(marginTail, n))
	slope := excess * math.Ln10
	last := 0.0
	for k, level := range marginLevels {
		margin, _ := quantileOf(state, n*math.Pow(10, -level))
		if level > read {
			margin = tail + slope*(level-read)
		}
		if level > vouched {
			atVouched := max(tail+slope*(vouched-read), 1.02*most)
			margin = max(margin, atVouched+max(slope, prior)*(level-vouched))
		}
		last = setKnot(state, k, max(margin, last+1<<marginUnit))
	}
	state[marginSlope] = uint64(max(slope, prior, 1))
}

// setKnot stores the margin at knot k and returns it as it is stored.
func setKnot(state []uint64, k int, margin float64) float64 {
	units := uint64(min(math.Ceil(margin/(1<<marginUnit)), 1<<32-1-marginKnots+float64(k)))
	shift := uint(k%2) * 32
	word := &state[marginAt+k/2]
	*word = *word&^(math.MaxUint32<<shift) | units<<shift
	return float64(units << marginUnit)
}

// knot returns the margin at knot k in ns.
func knot(summary []uint64, k int) int64 {
	return int64(summary[marginAt+k/2]>>(uint(k%2)*32)&math.MaxUint32) << marginUnit
}

// quantileOf returns the margin that beyond samples exceed, and their mean excess above it.
func quantileOf(state []uint64, beyond float64) (margin, excess float64) {
	const half = 1<<32 - 1
	above, sum := 0.0, 0.0
	for i := marginBuckets - 1; i > 0; i-- {
		word := state[marginHist+i]
		if word == 0 {
			continue
		}
		count, low, high := float64(word>>32+word&half), marginEdge(i-1), marginEdge(i)
		if above+count < beyond {
			above += count
			sum += count * (low + high) / 2
			continue
		}
		margin = high - (high-low)*(beyond-above)/count
		sum += (beyond - above) * (margin + high) / 2
		return margin, max(sum/max(beyond, 1)-margin, 0)
	}
	return 0, sum / max(beyond, 1)
}

// Suspicion returns φ.
func (d *Margin) Suspicion(summary []uint64, at clock.Instant) float64 {
	expected := clock.Instant(summary[marginExpected])
	if expected == 0 || at <= expected {
		return 0
	}
	x := int64(at - expected)
	level, margin := 0.0, int64(0)
	for k := range marginKnots {
		next := knot(summary, k)
		if x < next {
			return level + (marginLevels[k]-level)*(float64(x-margin)/float64(next-margin))
		}
		level, margin = marginLevels[k], next
	}
	return min(level+float64(x-margin)/float64(summary[marginSlope]), maxPhi)
}

// marginOf returns the silence beyond EA at which φ is level, rounded.
func marginOf(summary []uint64, level float64) time.Duration {
	at, margin := 0.0, int64(0)
	for k := range marginKnots {
		next := knot(summary, k)
		if level <= marginLevels[k] {
			return time.Duration(margin) + time.Duration(math.Ceil(float64(next-margin)*((level-at)/(marginLevels[k]-at))))
		}
		at, margin = marginLevels[k], next
	}
	return time.Duration(margin) + time.Duration(math.Ceil((level-at)*float64(summary[marginSlope])))
}

// Deadline returns when φ reaches level.
func (d *Margin) Deadline(summary []uint64, level float64) clock.Instant {
	expected := clock.Instant(summary[marginExpected])
	if expected == 0 || !(level > 0 && level <= maxPhi) {
		return clock.Never
	}
	margin := marginOf(summary, level)
	at := expected.Add(margin)
	if at < clock.Never && d.Suspicion(summary, at) >= level && d.Suspicion(summary, at-1) < level {
		return at
	}
	return firstAt(d, summary, expected, float64(margin), level)
}
