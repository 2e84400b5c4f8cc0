// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package detect

import (
	"math"
	"sync/atomic"
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
// fewer than ten samples lie beyond, the tail is continued as an exponential one with
// their mean excess, and not below the greatest M seen.
//
// Suspicion is φ = -log10 P(M > silence beyond EA) for a sender with the period Period, the accrual level of Hayashibara et
// al. (SRDS 2004) with the measured tail in place of a normal one; it ends at 300. So the
// threshold is the promise: one mistake per MistakeEvery is φ = log10(MistakeEvery/η). n
// samples vouch for φ up to log10(n); from there on φ grows no faster than by the prior,
// which alone counts for a peer that is new: what the peers of its class have shown, and
// where they do not vouch either, the floor.
//
// Mistakes that keep coming more than twice as often as promised tell that the path is no
// longer the one that was learned: then the older generation is forgotten at once.
//
// A heartbeat costs a few integer operations; Learn, which fits, is for after the turn. A
// silence that was taken for a failure teaches no more than that silence at which it was.
type Margin struct {
	// MistakeEvery is the mean time between two mistakes of suspicion, T_MR of Chen,
	// Toueg and Aguilera. 0 means a day. From 1 s to 100 years.
	MistakeEvery time.Duration
	// Period is the η by which MistakeEvery becomes a level: what most peers have. A peer
	// with another one is judged at the same level, which for it is another share of its
	// heartbeats: the promise is about time. 0 means 100 ms. From 1 ms to 1 minute.
	Period time.Duration
	// Floor is the margin at the level of suspicion for a peer of which nothing is known
	// yet. 0 means three periods of the sender, at least 10 ms. At most 1 hour.
	Floor time.Duration
	// Within is a bound on the detection time, without the way of a heartbeat. It is granted
	// whole at first, in place of Floor, and no more of it than that until the peer has
	// shown more, or its samples vouch for more. 0 is no bound. At most 1 hour.
	Within time.Duration
	// FailAfter is how much rarer mistakes of failure are than those of suspicion. 0 means
	// 1000. From 2 to 1e9.
	FailAfter float64
	// Final says that failure is final: what failed is buried, and a wrong one costs an incarnation.
	// Then failure waits longer. Without it a failed peer that is heard again is alive.
	Final bool
	// X and FailFloor delay failure besides, because tails so far out are guesses: a peer is
	// failed no sooner than after X deadlines of suspicion, nor before it was silent for
	// FailFloor. X is 0 or from 2 to 1000, FailFloor at most 1 hour. 0 means, where failure is
	// final, 10, the seed's X raises, and 2 s, what a network takes to find another way; else
	// 4 and 400 ms, and of a deadline no more counts X times than Within, or else Floor: of
	// what the peer has shown beyond, a quarter is added.
	//
	// go run ./bench -days 80 qos-failed prints what that costs. Within 50 ms, on a network
	// of one switch, half of all crashes are failures within 0.47 s and 99 % within 0.53 s,
	// with no wrong one in a day; with 200 ms as the floor within 0.33 s, with three, and by
	// the rule for final ones within 3.7 s. On the other models it is 0.6 to 1.0 s, which
	// is what their peers need, with at most three wrong a day. A peer that stands still for
	// 1 to 3 s each hour is wrongly failed up to nine times in the first day, until its own
	// need is known; never by the rule for final ones, which then takes 10 to 50 s.
	X         int
	FailFloor time.Duration

	scale atomic.Pointer[marginScale]
}

var _ Learner = (*Margin)(nil)

// The knots are the levels at which the margin is fitted: marginSuspect even steps below
// suspicion, suspicion, half way to failure, and failure. Between them, and beyond
// the last, φ is linear in the silence.
const (
	marginKnots   = 8
	marginSuspect = 5
	marginAsk     = 0   // at a sixth of the level of suspicion: where the engine solicits
	marginRefit   = 256 // samples between two fits
	marginGain    = 10  // log2 of the heartbeats in the long mean
)

const (
	marginExpected = iota // EA of the next heartbeat; 0: none was heard
	marginAt              // packed margins at the knots, four per word

	marginSlope    = marginAt + marginKnots/4 // ns per 1 of φ beyond the last knot
	marginSequence = marginSlope + 1
	marginBase     = marginSequence + 1 // an offset, arrival - due, ns
	marginMean     = marginBase + 1     // long mean of the others less the base, ns << marginGain
	marginNotes    = marginMean + 1     // see marginPeriod, marginCount and marginDue
	marginTaken    = marginNotes + 1    // samples, of this generation << 32 | of the one before
	marginMost     = marginTaken + 1    // greatest M of each, in units of marginUnit, likewise
	marginNow      = marginMost + 1     // packed counts of this generation
	marginBefore   = marginNow + marginBuckets/8
	marginWords    = marginBefore + marginBuckets/8
)

// The parts of marginNotes: the sender's period in µs, the heartbeats in the long mean as
// far as they matter, what surprise keeps, and whether Learn has something to do.
const (
	marginPeriod   = 1<<32 - 1
	marginCount    = 32
	marginSurprise = marginCount + marginGain
	marginDue      = 1 << 63
)

// Name returns "margin".
func (d *Margin) Name() string { return "margin" }

// Words returns the size of a state: 192 bytes.
func (d *Margin) Words() int { return marginWords }

// Summary returns how many words Suspicion reads.
func (d *Margin) Summary() int { return marginSlope + 1 }

// Levels returns the φ of one mistake per MistakeEvery, and of FailAfter times as rare.
func (d *Margin) Levels() (suspect, fail float64) {
	s := d.scaled()
	return s.suspect, s.fail
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
	notes, us := state[marginNotes], min(uint64(period/time.Microsecond), marginPeriod)
	if notes&marginPeriod != us {
		notes |= marginDue // what is granted in all, and as how much of a share, follows the period
	}
	state[marginNotes] = notes&^marginPeriod | us
	if expected != 0 {
		d.note(state, h.Arrival.Sub(expected)-h.Paused, uint64(h.Arrival))
	} else {
		d.cold(state, period)
	}
	state[marginExpected] = uint64(max(d.expect(state, h).Add(period), 1))
}

// cold sets the margins of a peer of which nothing is known, until Learn has the prior.
func (d *Margin) cold(state []uint64, period time.Duration) {
	step := time.Duration(d.floor(period)) / (marginSuspect + 1)
	for k := range marginSuspect + 1 {
		setKnot(state, k, packMargin(time.Duration(k+1)*step))
	}
	d.setFail(state, 0, period)
	state[marginSlope] = uint64(max(step, 1))
	state[marginNotes] |= marginDue
}

// setFail sets the knots beyond suspicion: failure at margin, after X deadlines or at
// FailFloor, whichever is latest, and one half way.
func (d *Margin) setFail(state []uint64, margin, period time.Duration) {
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
		code := packMargin(suspect + (margin-suspect)*part/(marginKnots-1-marginSuspect))
		setKnot(state, k, max(code, packMargin(knot(state, k-1))+1))
	}
}

// failBeyond is the part of a deadline of suspicion by which failure is later at least.
const failBeyond = 4

// failure returns X and FailFloor as they count.
func (d *Margin) failure() (x, floor time.Duration) {
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

// The defaults of X and FailFloor, where failure heals and where it is final.
const (
	healingX, healingFloor = 4, 400 * time.Millisecond
	finalX, finalFloor     = 10, 2 * time.Second
)

// maxMargin is an hour: beyond it a silence is one, whatever was learned.
const maxMargin = time.Hour

// expect takes the heartbeat's offset and returns when it was itself expected, by what is
// known with it.
func (d *Margin) expect(state []uint64, h *Heartbeat) clock.Instant {
	offset := int64(h.Arrival) - (int64(h.Send) - int64(h.Late))
	relative := offset - int64(state[marginBase])
	count := int64(state[marginNotes] >> marginCount & (1<<marginGain - 1))
	if count == 0 || relative < -offsetStep || relative > offsetStep {
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

// note takes a required margin into the histogram. seed tells it from others of its size.
func (d *Margin) note(state []uint64, m time.Duration, seed uint64) {
	const young = 1 << 32
	s := d.scaled()
	if state[marginTaken]>>32 >= s.generation {
		age(state)
	}
	m = min(m, knot(state, marginKnots-1))
	state[marginTaken] += young
	addCount(state[marginNow:marginBefore], marginBucket(m), scramble(seed))
	if units := uint64(max(m, 0)) >> marginUnit; units > state[marginMost]>>32 {
		state[marginMost] = min(units, math.MaxUint32)<<32 | state[marginMost]&(young-1)
	}
	n := state[marginTaken] >> 32
	exceeded := m > knot(state, marginSuspect)
	if exceeded && surprise(state, clock.Instant(seed), s.tick) {
		age(state)
	}
	if n%marginRefit == 0 || n < marginRefit && n&(n-1) == 0 || exceeded {
		state[marginNotes] |= marginDue
	}
}

// A histogram of mixed paths grants each the other's share of mistakes: after hours of calm
// a noisy path would be granted all that the calm did not use, dozens in its first hour. So
// six mistakes at once, or more than two per MistakeEvery for long enough, which chance
// brings once in a thousand times MistakeEvery or so, make the detector forget.
const (
	surpriseTicks = 16                // in MistakeEvery
	surpriseEach  = surpriseTicks / 2 // that one mistake stands for, so that twice the promise fills
	surpriseMost  = 6*surpriseEach - 1
	surpriseMask  = 1<<(63-marginSurprise) - 1
)

// surprise takes a mistake at an instant into a bucket that leaks a tick each tick (the
// virtual scheduling of ITU-T I.371, annex A: it keeps when the bucket will be empty), and
// reports whether it is full, and then empties it.
func surprise(state []uint64, at clock.Instant, tick time.Duration) bool {
	now := uint64(at/clock.Instant(tick)) & surpriseMask
	left := (state[marginNotes]>>marginSurprise - now) & surpriseMask
	if left > surpriseMost {
		left = 0 // empty long since
	}
	left += surpriseEach
	full := left > surpriseMost
	if full {
		left = 0
	}
	state[marginNotes] = state[marginNotes]&^(surpriseMask<<marginSurprise) | (now+left)&surpriseMask<<marginSurprise
	return full
}

// age makes the present generation the one before.
func age(state []uint64) {
	state[marginTaken] >>= 32
	state[marginMost] >>= 32
	copy(state[marginBefore:marginWords], state[marginNow:marginBefore])
	clear(state[marginNow:marginBefore])
}

// knot returns the margin at knot k.
func knot(summary []uint64, k int) time.Duration {
	return unpackMargin(summary[marginAt+k/4] >> (uint(k%4) * 16) & math.MaxUint16)
}

// Suspicion returns φ.
func (d *Margin) Suspicion(summary []uint64, at clock.Instant) float64 {
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
	return min(level+float64(x-margin)/float64(summary[marginSlope]), maxPhi)
}

// Deadline returns when φ reaches level. The levels of suspicion and failure are knots,
// and so is a sixth of the former: they cost no more than a load.
func (d *Margin) Deadline(summary []uint64, level float64) clock.Instant {
	expected := clock.Instant(summary[marginExpected])
	s := d.scaled()
	switch {
	case expected == 0 || !(level > 0 && level <= maxPhi):
		return clock.Never
	case level == s.suspect:
		return expected.Add(knot(summary, marginSuspect))
	case level == s.fail:
		return expected.Add(knot(summary, marginKnots-1))
	case level == s.levels[marginAsk]:
		return expected.Add(knot(summary, marginAsk))
	}
	return firstAt(d, summary, expected, d.silence(summary, level), level)
}

// silence returns the silence beyond EA at which φ is level, rounded, in ns.
func (d *Margin) silence(summary []uint64, level float64) float64 {
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
