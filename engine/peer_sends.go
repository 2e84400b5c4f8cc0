// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"time"

	"systole/engine/clock"
	"systole/ringbuf"
)

// sends is what was written to a peer, and when. Send instants are noted of every stride-th
// heartbeat: the stride is 1 unless the round trip spans more heartbeats than there is room for.
type sends struct {
	sequence ringbuf.Word     // the last one
	last     ringbuf.Word     // clock.Instant of the last heartbeat that the kernel took
	before   clock.Instant    // last, as it was before this turn
	at       [sentRing]uint32 // low 32 bits of the send instants, in units of 64 ns
	noting   uint64           // the instants after this sequence are noted<<8 | log2 of the stride
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

// begin starts with sequence 1.
func (q *sends) begin() {
	q.sequence.Set(0)
	q.last.Set(0)
	q.before, q.noting = 0, 0
}

// note notes the instants of every 2^shift-th heartbeat from the next one on.
func (q *sends) note(shift uint8) { q.noteFrom(q.sequence.Get(), shift) }

// noteFrom says that those of every 2^shift-th heartbeat after a sequence are noted.
func (q *sends) noteFrom(sequence uint64, shift uint8) {
	q.noting = sequence<<8 | q.noting&twiceBit | uint64(shift)
}

// shift returns log2 of the stride.
func (q *sends) shift() uint8 { return uint8(q.noting &^ twiceBit) }

// from returns the sequence after which instants are noted.
func (q *sends) from() uint64 { return q.noting >> 8 }

// next returns the sequence of the next heartbeat.
func (q *sends) next() uint64 { return q.sequence.Get() + 1 }

// wrote notes the next heartbeat, written at now.
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

// refused notes that the kernel did not take what was written at now: it was not sent, and the next
// heartbeat has its sequence. Of several at one instant nobody knows which it was.
func (q *sends) refused(now clock.Instant) {
	if clock.Instant(q.last.Get()) != now {
		return
	}
	q.last.Set(uint64(q.before))
	if q.noting&twiceBit == 0 {
		n := q.sequence.Get()
		q.sequence.Set(n - 1)
		if k := n >> q.shift(); k > sentRing { // whose instant took the place of an older one's
			q.noteFrom(max(q.from(), (k-sentRing)<<q.shift()), q.shift())
		}
	}
}

// noted reports whether the send instant of heartbeat n is known.
func (q *sends) noted(n uint64) bool {
	sent := q.sequence.Get()
	return n > q.from() && n <= sent && n&(1<<q.shift()-1) == 0 && sent>>q.shift()-n>>q.shift() < sentRing
}

// is reports whether heartbeat n was sent at the instant at; false also if that is not known.
func (q *sends) is(n uint64, at clock.Instant) bool {
	return q.noted(n) && q.at[n>>q.shift()%sentRing] == uint32(at>>sentUnit)
}

// since returns how long before now heartbeat n was sent, or a time that it was longer ago than: then
// exact is false. It is below 0 if nothing is known. Echoes that are older than what is noted double
// the stride, and those of the newest halve it.
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

// oldest returns the number, in strides, of the oldest heartbeat of which the instant is noted; more
// than the newest if there is none.
func (q *sends) oldest() uint64 {
	newest := q.sequence.Get() >> q.shift()
	return max(q.from()>>q.shift(), newest-min(newest, sentRing)) + 1
}

// widen doubles the stride once the ring is full, unless it spans as much as it may. Every second
// instant that is noted stays.
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

// narrow halves the stride if near says that half the ring would do.
func (q *sends) narrow(near bool) {
	if near && q.shift() > 0 && q.sequence.Get()-q.from() > sentRing<<q.shift() {
		q.note(q.shift() - 1)
	}
}

// read fills s.
func (q *sends) read(s *PeerStats) {
	s.Sent, s.MaySeemDeadSince = q.sequence.Load(), clock.Instant(q.last.Load())
}
