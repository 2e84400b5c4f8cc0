// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package detect

import (
	"math"
	"sync/atomic"
	"time"

	"systole/engine/clock"
	"systole/engine/detect/internal/silence"
	"systole/engine/internal/margins"
)

// Margin returns the default detector, whose name is margin. It learns from a peer's own heartbeats
// how late they arrive, and grants a margin that they exceed no more often than the promise allows.
//
// The expected arrival EA of the next heartbeat is the later of two means of offsets, as in
// published.TwoWindow: the short one is of one heartbeat, the long one an exponential mean of 1024.
// The required margin of an arrival is
//
//	M = arrival - EA(next after the last received)
//
// and a mistake happens exactly when M exceeds the granted margin. M contains jitter, stalls of the
// sender, runs of losses and queueing with all their correlations, so no independence is assumed. A
// histogram of M in two generations gives the tail. Where fewer than ten samples lie beyond, the
// tail continues as an exponential one with their mean excess, but not below the greatest M.
//
// Suspicion is φ = -log10 P(M > silence beyond EA) for a sender with the period Period: the accrual
// level of Hayashibara et al. (SRDS 2004), with the measured tail in place of a normal one. So the
// promise is the threshold: one mistake per MistakeEvery is φ = log10(MistakeEvery/η). φ ends at
// 300.
//
// n samples support φ up to log10(n). Beyond that, the margin grows as in the prior: the samples of
// the peer's class and, where those end, the floor. For a new peer the prior alone counts.
//
// If mistakes happen more than twice as often as promised, the path has changed: the detector
// forgets the older generation at once.
//
// A heartbeat costs a few integer operations. The engine has margins fitted after the turn; Take does
// so at once. A silence that was judged a failure counts only up to the margin of failure.
//
// The parameters are checked by the method Validate of the detector, which engine.Config.Validate
// calls.
func Margin(o MarginOptions) Detector { return newMargin(o) }

// MarginOptions are the parameters of Margin. The zero value is usable.
type MarginOptions struct {
	// MistakeEvery is the mean time between two mistakes of suspicion (T_MR of Chen, Toueg and
	// Aguilera), from 1 s to 100 years. 0 means a day.
	MistakeEvery time.Duration
	// Period is the η that converts MistakeEvery to a level, from 1 ms to 1 minute: the period of
	// most peers. 0 means 100 ms. The promise is about time, so a peer with another period is
	// judged at the same level, which is another share of its heartbeats.
	Period time.Duration
	// Floor is the margin of suspicion for a peer about which nothing is known yet, at most 1 hour.
	// 0 means three periods of the sender, at least 10 ms.
	Floor time.Duration
	// Within bounds the detection time without the delay of the path, at most 1 hour. A new peer
	// gets all of it as its margin, in place of Floor. A peer gets more only if it has needed more,
	// or if its samples support the level of suspicion. 0 means no bound.
	Within time.Duration
	// FailAfter is the factor by which mistakes of failure are rarer than those of suspicion, from
	// 2 to 1e9. 0 means 1000.
	FailAfter float64
	// Final means that a failure is final for an incarnation of the peer. A wrong one costs the
	// incarnation, so failure takes longer.
	Final bool
	// X and FailFloor delay failure, because tails so far out are extrapolated: a peer is failed
	// only after X deadlines of suspicion, and after a silence of FailFloor. X is from 2 to 1000,
	// FailFloor at most 1 hour. 0 means 4 and 400 ms; with Final 10, as in Mozart, and 2 s, the
	// time in which a network finds another route. Without Final, a deadline counts X times only up
	// to Within or Floor, and failure is later than suspicion by a quarter of its deadline at
	// least.
	//
	// `go run ./bench -days 80 qos-failed` measures the cost. With Within 50 ms, on a network of
	// one switch, half of all crashes are failures within 0.47 s and 99 % within 0.53 s, with no
	// wrong failure in a day; with FailFloor 200 ms within 0.33 s, with three; with Final within
	// 3.7 s. On the other models it is 0.6 to 1.0 s, with at most three wrong failures in a day. A
	// peer that stalls for 1 to 3 s each hour is wrongly failed up to nine times in the first day,
	// until its margin is learned; never with Final, which then takes 10 to 50 s.
	X         int
	FailFloor time.Duration
}

// marginDetector is the detector of Margin.
type marginDetector struct {
	MarginOptions
	scale atomic.Pointer[marginScale]
}

// newMargin is Margin.
func newMargin(o MarginOptions) *marginDetector { return &marginDetector{MarginOptions: o} }

var _ learner = (*marginDetector)(nil)

// The knots are the levels at which the margin is fitted: marginSuspect even steps below suspicion,
// then suspicion, half way to failure, and failure. Between the knots, and beyond the last, φ is
// linear in the silence.
const (
	marginKnots   = 8
	marginSuspect = 5   // index of the knot of suspicion
	marginSolicit = 0   // index of the knot at which the engine solicits: a sixth of that level
	marginRefit   = 256 // samples between two fits
	marginGain    = 10  // log2 of the heartbeats in the long mean
)

const (
	marginExpected = iota // EA of the next heartbeat; 0: there was none yet
	marginAt              // packed margins at the knots, four per word

	marginSlope    = marginAt + marginKnots/4 // ns per 1 of φ beyond the last knot
	marginSequence = marginSlope + 1
	marginBase     = marginSequence + 1 // the first offset, arrival - due, ns
	marginMean     = marginBase + 1     // long mean of the offsets minus the base, ns << marginGain
	marginNotes    = marginMean + 1     // see below
	marginSamples  = marginNotes + 1    // their number: of this generation << 32 | of the older one
	marginMost     = marginSamples + 1  // greatest M of each, in units of margins.Unit, likewise
	marginNow      = marginMost + 1     // packed counts of this generation
	marginBefore   = marginNow + margins.Buckets/8
	marginWords    = marginBefore + margins.Buckets/8
)

// The bits of marginNotes.
const (
	marginPeriod   = 1<<32 - 1                // mask of the sender's period, µs
	marginCount    = 32                       // shift of the number of heartbeats in the long mean
	marginSurprise = marginCount + marginGain // shift of the instant that surprise keeps
	marginDue      = 1 << 63                  // Learn is due
)

// Name returns "margin".
func (d *marginDetector) Name() string { return "margin" }

// Words returns the size of a state in words: 24, which is 192 bytes.
func (d *marginDetector) Words() int { return marginWords }

// Summary returns the number of words that Suspicion reads.
func (d *marginDetector) Summary() int { return marginSlope + 1 }

// Levels returns the φ of one mistake per MistakeEvery, and that of FailAfter times rarer mistakes.
func (d *marginDetector) Levels() (suspect, fail float64) {
	s := d.scaled()
	return s.suspect, s.fail
}

// Reset returns state to that of a peer without a heartbeat.
func (d *marginDetector) Reset(state []uint64) { clear(state[:marginWords]) }

// Heartbeat takes a heartbeat.
func (d *marginDetector) Heartbeat(state []uint64, h *Heartbeat) {
	state = state[:marginWords]
	expected := clock.Instant(state[marginExpected])
	if !silence.Newer(h.Sequence, uint64(expected), state[marginSequence]) {
		return
	}
	state[marginSequence] = h.Sequence
	period := silence.ClampPeriod(h.Period)
	notes, us := state[marginNotes], min(uint64(period/time.Microsecond), marginPeriod)
	if notes&marginPeriod != us {
		notes |= marginDue // margins depend on the period
	}
	state[marginNotes] = notes&^marginPeriod | us
	if expected != 0 {
		d.note(state, h.Arrival.Sub(expected)-h.Paused, uint64(h.Arrival))
	} else {
		d.cold(state, period)
	}
	state[marginExpected] = uint64(max(d.expect(state, h).Add(period), 1))
}

// cold sets the margins of a new peer until Learn fits them to the prior.
func (d *marginDetector) cold(state []uint64, period time.Duration) {
	step := time.Duration(d.floor(period)) / (marginSuspect + 1)
	for k := range marginSuspect + 1 {
		setKnot(state, k, margins.Pack(time.Duration(k+1)*step))
	}
	d.setFail(state, 0, period)
	state[marginSlope] = uint64(max(step, 1))
	state[marginNotes] |= marginDue
}

// setFail sets the knots beyond suspicion. Failure is at the latest of margin, X deadlines and
// FailFloor; the other knot is half way.
func (d *marginDetector) setFail(state []uint64, margin, period time.Duration) {
	suspect := knot(state, marginSuspect)
	x, floor := d.failure()
	counted := suspect
	if !d.Final {
		counted = min(suspect, time.Duration(d.floor(period)))
		margin = max(margin, suspect+(suspect+period)/failBeyond)
	}
	margin = min(max(margin, x*(counted+period)-period, floor-period), maxMargin)
	for k := marginSuspect + 1; k < marginKnots; k++ {
		part := time.Duration(k - marginSuspect)
		code := margins.Pack(suspect + (margin-suspect)*part/(marginKnots-1-marginSuspect))
		setKnot(state, k, max(code, margins.Pack(knot(state, k-1))+1))
	}
}

// failBeyond: without Final, failure is later than suspicion by a fourth of its deadline at least.
const failBeyond = 4

// failure returns X and FailFloor, or their defaults.
func (d *marginDetector) failure() (x, floor time.Duration) {
	x, floor = healingX, healingFloor
	if d.Final {
		x, floor = finalX, finalFloor
	}
	if d.X != 0 {
		x = time.Duration(d.X)
	}
	if d.FailFloor != 0 {
		floor = d.FailFloor
	}
	return x, floor
}

// The defaults of X and FailFloor: if failure heals, and if it is final.
const (
	healingX, healingFloor = 4, 400 * time.Millisecond
	finalX, finalFloor     = 10, 2 * time.Second
)

// maxMargin bounds all margins, whatever was learned.
const maxMargin = time.Hour

// expect takes the heartbeat's offset and returns the expected arrival of the same heartbeat, as of
// now: its due time plus the later of the two means.
func (d *marginDetector) expect(state []uint64, h *Heartbeat) clock.Instant {
	offset := int64(h.Arrival) - (int64(h.Send) - int64(h.Late))
	relative := offset - int64(state[marginBase])
	count := int64(state[marginNotes] >> marginCount & (1<<marginGain - 1))
	if count == 0 || relative < -silence.OffsetStep || relative > silence.OffsetStep {
		state[marginBase], state[marginMean] = uint64(offset), 0
		state[marginNotes] = state[marginNotes]&^((1<<marginGain-1)<<marginCount) | 1<<marginCount
		return h.Arrival
	}
	mean := int64(state[marginMean])
	if count < 1<<marginGain-1 {
		state[marginNotes] += 1 << marginCount
		mean += (relative<<marginGain - mean) / (count + 1)
	} else {
		mean += relative - mean>>marginGain
	}
	state[marginMean] = uint64(mean)
	return h.Arrival.Add(time.Duration(max(mean>>marginGain-relative, 0)))
}

// note adds a required margin to the histogram. seed makes its counters random.
func (d *marginDetector) note(state []uint64, m time.Duration, seed uint64) {
	const young = 1 << 32
	s := d.scaled()
	if state[marginSamples]>>32 >= s.generation {
		age(state)
	}
	m = min(m, knot(state, marginKnots-1))
	state[marginSamples] += young
	margins.AddCount(state[marginNow:marginBefore], margins.Bucket(m), margins.Scramble(seed))
	if units := uint64(max(m, 0)) >> margins.Unit; units > state[marginMost]>>32 {
		state[marginMost] = min(units, math.MaxUint32)<<32 | state[marginMost]&(young-1)
	}
	n := state[marginSamples] >> 32
	exceeded := m > knot(state, marginSuspect)
	if exceeded && surprise(state, clock.Instant(seed), s.tick) {
		age(state)
	}
	if n%marginRefit == 0 || n < marginRefit && n&(n-1) == 0 || exceeded {
		state[marginNotes] |= marginDue
	}
}

// A path that becomes noisy after hours of calm would have dozens of mistakes in its first hour,
// since its histogram is mostly of the calm. So a leaky bucket counts mistakes: six at once, or
// more than two per MistakeEvery for some time, fill it, and the detector forgets its older
// generation. If the promise is kept, chance fills the bucket once in about a thousand times
// MistakeEvery.
const (
	surpriseTicks = 16                // ticks in MistakeEvery
	surpriseEach  = surpriseTicks / 2 // ticks that a mistake adds
	surpriseMost  = 6*surpriseEach - 1
	surpriseMask  = 1<<(63-marginSurprise) - 1
)

// surprise adds a mistake at an instant to the bucket, which leaks one tick per tick. It reports
// whether the bucket is full, and then empties it. The state is the instant at which the bucket
// will be empty (virtual scheduling of ITU-T I.371, annex A).
func surprise(state []uint64, at clock.Instant, tick time.Duration) bool {
	now := uint64(at/clock.Instant(tick)) & surpriseMask
	left := (state[marginNotes]>>marginSurprise - now) & surpriseMask
	if left > surpriseMost {
		left = 0 // the instant has passed
	}
	left += surpriseEach
	full := left > surpriseMost
	if full {
		left = 0
	}
	state[marginNotes] = state[marginNotes]&^(surpriseMask<<marginSurprise) | (now+left)&surpriseMask<<marginSurprise
	return full
}

// age makes the present generation the older one.
func age(state []uint64) {
	state[marginSamples] >>= 32
	state[marginMost] >>= 32
	copy(state[marginBefore:marginWords], state[marginNow:marginBefore])
	clear(state[marginNow:marginBefore])
}

// knot returns the margin at knot k.
func knot(summary []uint64, k int) time.Duration {
	return margins.Unpack(summary[marginAt+k/4] >> (uint(k%4) * 16) & math.MaxUint16)
}

// Suspicion returns φ.
func (d *marginDetector) Suspicion(summary []uint64, at clock.Instant) float64 {
	expected := clock.Instant(summary[marginExpected])
	if expected == 0 || at <= expected {
		return 0
	}
	x := at.Sub(expected)
	level, margin := 0.0, time.Duration(0)
	for k, next := range d.scaled().levels {
		end := knot(summary, k)
		if x < end {
			return level + (next-level)*(float64(x-margin)/float64(end-margin))
		}
		level, margin = next, end
	}
	return min(level+float64(x-margin)/float64(summary[marginSlope]), silence.MaxPhi)
}

// Deadline returns when φ reaches level. It costs a load at the levels that the loop uses, which
// are knots: suspicion, a sixth of it, and failure.
func (d *marginDetector) Deadline(summary []uint64, level float64) clock.Instant {
	expected := clock.Instant(summary[marginExpected])
	s := d.scaled()
	switch {
	case expected == 0 || !(level > 0 && level <= silence.MaxPhi):
		return clock.Never
	case level == s.suspect:
		return expected.Add(knot(summary, marginSuspect))
	case level == s.fail:
		return expected.Add(knot(summary, marginKnots-1))
	case level == s.levels[marginSolicit]:
		return expected.Add(knot(summary, marginSolicit))
	}
	return silence.First(d, summary, expected, d.silence(summary, level), level)
}

// silence returns the silence beyond EA at which φ reaches level, in ns, rounded.
func (d *marginDetector) silence(summary []uint64, level float64) float64 {
	from, margin := 0.0, 0.0
	for k, next := range d.scaled().levels {
		end := float64(knot(summary, k))
		if level <= next {
			return margin + (end-margin)*((level-from)/(next-from))
		}
		from, margin = next, end
	}
	return margin + (level-from)*float64(summary[marginSlope])
}
