// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"time"

	"systole/engine/clock"
	"systole/ringbuf"
)

// sends is the sequence of heartbeats to a peer and the send instants of the last ones. Every
// stride-th instant is kept; the stride is 1 unless a round trip spans more than sentRing heartbeats.
type sends struct {
	sequence ringbuf.Word     // the last one
	last     ringbuf.Word     // clock.Instant of the last heartbeat that the kernel took
	before   clock.Instant    // last, as it was before this turn
	at       [sentRing]uint32 // low 32 bits of the send instants, in units of 64 ns
	noting   uint64           // instants are kept after this sequence<<8 | twiceBit | log2 of the stride
}

const (
	// sentRing is how many send instants are kept.
	sentRing = 8
	// sentUnit is the unit of at, as a shift: 64 ns, so that 32 bits last 4.5 minutes.
	sentUnit = 6
	// twiceBit of noting says that two heartbeats were written at the instant last.
	twiceBit = 1 << 7
	// maxShift lets the ring span 8192 heartbeats.
	maxShift = 10
	// maxStride is how far apart, in units, two instants may be for the stride to be doubled: the
	// difference of two fits 31 bits then, also if the period varies.
	maxStride = 1 << 29
)

// begin resets for a new peer: the next sequence is 1.
func (q *sends) begin() {
	q.sequence.Set(0)
	q.last.Set(0)
	q.before, q.noting = 0, 0
}

// note keeps the instants of every 2^shift-th heartbeat from the next one on.
func (q *sends) note(shift uint8) { q.noteFrom(q.sequence.Get(), shift) }

// noteFrom records that the instants of every 2^shift-th heartbeat after a sequence are kept.
func (q *sends) noteFrom(sequence uint64, shift uint8) {
	q.noting = sequence<<8 | q.noting&twiceBit | uint64(shift)
}

// shift returns log2 of the stride.
func (q *sends) shift() uint8 { return uint8(q.noting &^ twiceBit) }

// from returns the sequence after which instants are kept.
func (q *sends) from() uint64 { return q.noting >> 8 }

// next returns the sequence of the next heartbeat.
func (q *sends) next() uint64 { return q.sequence.Get() + 1 }

// wrote records the next heartbeat, written at now.
func (q *sends) wrote(now clock.Instant) {
	n := q.next()
	q.sequence.Set(n)
	if n&(1<<q.shift()-1) == 0 {
		q.at[n>>q.shift()%sentRing] = uint32(now >> sentUnit)
	}
	if last := clock.Instant(q.last.Get()); last != now {
		q.before = last
		q.last.Set(uint64(now))
		q.noting &^= twiceBit
	} else {
		q.noting |= twiceBit
	}
}

// refused records that the kernel refused the heartbeat written at now. The next heartbeat gets its
// sequence, unless two were written at that instant: then it is unknown which one was refused.
func (q *sends) refused(now clock.Instant) {
	if clock.Instant(q.last.Get()) != now {
		return
	}
	q.last.Set(uint64(q.before))
	if q.noting&twiceBit == 0 {
		n := q.sequence.Get()
		q.sequence.Set(n - 1)
		if k := n >> q.shift(); k > sentRing { // its instant has overwritten an older one
			q.noteFrom(max(q.from(), (k-sentRing)<<q.shift()), q.shift())
		}
	}
}

// noted reports whether the send instant of heartbeat n is known.
func (q *sends) noted(n uint64) bool {
	sent := q.sequence.Get()
	return n > q.from() && n <= sent && n&(1<<q.shift()-1) == 0 && sent>>q.shift()-n>>q.shift() < sentRing
}

// is reports whether heartbeat n was sent at the instant at; false also if its instant is not kept.
func (q *sends) is(n uint64, at clock.Instant) bool {
	return q.noted(n) && q.at[n>>q.shift()%sentRing] == uint32(at>>sentUnit)
}

// instant returns when heartbeat n was sent, at most 64 ns too early, and 0 if its instant is not kept.
func (q *sends) instant(n uint64, now clock.Instant) clock.Instant {
	switch {
	case n == q.sequence.Get():
		return clock.Instant(q.last.Get())
	case !q.noted(n):
		return 0
	}
	ago := uint32(now>>sentUnit) - q.at[n>>q.shift()%sentRing]
	return (now>>sentUnit - clock.Instant(ago)) << sentUnit
}

// since returns how long before now heartbeat n was sent. If its instant is not kept, exact is false
// and away is a lower bound, below 0 if there is none. An echo older than the ring doubles the
// stride; an echo of one of the newest heartbeats halves it.
func (q *sends) since(n uint64, now clock.Instant) (away time.Duration, exact bool) {
	last := clock.Instant(q.last.Get())
	k, newest, oldest := (n+1<<q.shift()-1)>>q.shift(), q.sequence.Get()>>q.shift(), q.oldest()
	switch {
	case last == 0 || oldest > newest:
		return -1, false
	case k > newest:
		q.narrow(true)
		return 0, false
	}
	units := int64(now>>sentUnit-last>>sentUnit) + int64(int32(uint32(last>>sentUnit)-q.at[newest%sentRing]))
	for j := newest; j > max(k, oldest); j-- {
		units += int64(q.at[j%sentRing] - q.at[(j-1)%sentRing])
	}
	away, exact = time.Duration(units)<<sentUnit, k >= oldest && k<<q.shift() == n
	if newest-k >= sentRing {
		q.widen(newest, oldest)
	} else {
		q.narrow(k+1 >= newest)
	}
	return away, exact
}

// oldest returns the number, in strides, of the oldest heartbeat whose instant is kept; above the
// newest if there is none.
func (q *sends) oldest() uint64 {
	newest := q.sequence.Get() >> q.shift()
	return max(q.from()>>q.shift(), newest-min(newest, sentRing)) + 1
}

// widen doubles the stride once the ring is full, unless the stride is as long as it may be. Every
// second instant in the ring stays.
func (q *sends) widen(newest, oldest uint64) {
	if newest-oldest < sentRing-1 || q.shift() == maxShift || q.at[newest%sentRing]-q.at[(newest-1)%sentRing] >= maxStride {
		return
	}
	was := q.at
	newest /= 2
	oldest = (oldest + 1) / 2
	for j := oldest; j <= newest; j++ {
		q.at[j%sentRing] = was[2*j%sentRing]
	}
	q.noteFrom(oldest<<(q.shift()+1)-1, q.shift()+1)
}

// narrow halves the stride if near, that is if half the ring would do.
func (q *sends) narrow(near bool) {
	if near && q.shift() > 0 && q.sequence.Get()-q.from() > sentRing<<q.shift() {
		q.note(q.shift() - 1)
	}
}

// read fills s.
func (q *sends) read(s *PeerStats) {
	s.Sent, s.MaySeemDeadSince = q.sequence.Load(), clock.Instant(q.last.Load())
}
