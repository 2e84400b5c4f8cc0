// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package oneway

import (
	"math"
	"time"

	"systole/engine/clock"
)

// Heartbeat is what was measured of a heartbeat.
type Heartbeat struct {
	Arrival clock.Instant // on our clock
	Send    clock.Instant // on the sender's
	// Exchanged says that it echoes a heartbeat of ours, which was sent RoundTrip + Residence before
	// Arrival on our clock, and which the sender had for Residence on its own. The skew of the clocks
	// during Residence is in RoundTrip, which may even be negative.
	Exchanged            bool
	RoundTrip, Residence time.Duration
}

// Estimator moves the Line of a path with each heartbeat. The zero Estimator knows nothing.
type Estimator struct {
	bucket     bucket
	covariance covariance32
	way        time.Duration // of the heartbeat before
	at         uint32        // its arrival, in units of 2^atBits ns
	least      [2]uint32     // least round trips of the last generation and of this one, ns; 0: none
	last       uint32        // least round trip of the last bucket that had one, ns
	generation uint8         // number of this generation
	age        uint8         // buckets that have moved the line since it began; 0: it is the least way so far
	begun      bool          // there is a heartbeat before
}

const (
	// nearLeast is how far above the least round trip that of an exchange may be, if it is to move the
	// line. Without round trips it is how far above the line a way may be.
	nearLeast = 80_000 // ns
	// strayed is how far from the line an exchange is unless a clock has jumped, or begins to slew.
	strayed = 150_000 // ns
	// jitter is how far apart the ways of two heartbeats may be though neither clock slews.
	jitter = 10_000 // ns
	// longestQueue is longer than any queue: a way so far above the line means that a clock has jumped.
	longestQueue = math.MaxUint32 // ns
	// generationBits: a generation is 2^39 ns, 9.2 minutes. The base is the least round trip of one to
	// two generations: a longer route looks like a queue for as long.
	generationBits = 39
	// atBits: Estimator.at is in units of 65.5 µs, and wraps after 3 days.
	atBits = 16
)

// Arrived takes the next heartbeat, moves the line, and returns how long the heartbeat queued, which is
// not negative.
func (q *Estimator) Arrived(l *Line, h *Heartbeat) time.Duration {
	way, now := h.Arrival.Sub(h.Send), ticks(h.Arrival)
	if !q.begun {
		*l = Line{level: int64(way), at: now}
		q.bucket.start = now
	}
	above := l.above(way, h.Arrival)
	if q.age == 0 && above < 0 {
		l.level += int64(above)
		above = 0
	}
	q.add(l, h, above)
	q.way, q.at, q.begun = way, uint32(h.Arrival>>atBits), true
	if q.bucket.isFull(now, q.age) {
		q.move(l, now)
		q.bucket = bucket{start: now}
		above = l.above(way, h.Arrival)
	}
	if base := q.base(); base != 0 && h.Exchanged { // the queue is in the round trip as well
		above = min(above, h.RoundTrip-l.gained(h.Residence)-base)
	}
	return max(above, 0)
}

// add adds a heartbeat, whose way has above in excess of the line, to the bucket.
//
// The sender had our heartbeat at the instant Residence before. The exchange needs the way at that
// instant, or a slewing clock would be in its round trip: between the way of the heartbeat before and
// that of this one, unless both differ by no more than jitter.
func (q *Estimator) add(l *Line, h *Heartbeat, above time.Duration) {
	off := float64(above)
	gap := time.Duration(uint32(h.Arrival>>atBits)-q.at) << atBits
	if !h.Exchanged || !q.begun || gap == 0 || h.Residence > gap {
		q.bucket.addWay(off, ticks(h.Arrival))
		return
	}
	before := float64(l.above(q.way, h.Arrival.Add(-gap)))
	change := (before - off) * float64(h.Residence) / float64(gap)
	change -= min(max(change, -jitter), jitter)
	trip := float64(h.RoundTrip-l.gained(h.Residence)) + change
	if trip < 1 || trip >= math.MaxUint32 {
		q.bucket.addWay(off, ticks(h.Arrival))
		return
	}
	q.bucket.addTrip(off+change, uint32(trip), ticks(h.Arrival.Add(-h.Residence)))
}

// move moves the line by the best heartbeat of the bucket, unless that has queued.
func (q *Estimator) move(l *Line, now uint32) {
	b := &q.bucket
	off, excess := float64(b.off), 0.0
	if b.trip != 0 {
		q.learnBase(b.trip, now)
		excess = float64(b.trip) - float64(q.base())
		off -= excess / 2
	}
	c := q.covariance.after(seconds(l.at, b.when))
	within := c.within(off)
	switch {
	case q.age == 0:
	case b.trip != 0 && excess > nearLeast:
		return
	case b.trip == 0 && off > nearLeast && off < longestQueue && !within && !q.isOverdue(l, now):
		return
	}
	if q.age == 0 || !within && math.Abs(off) > strayed {
		c, q.age = unknown, 0
	}
	q.covariance = c.correct(l, q.age, off, excess, b.when)
	q.age = min(q.age, math.MaxUint8-1) + 1
}

// isOverdue reports whether all ways have been above the line for so long that the line must be wrong:
// for 17 minutes, or down to 10 s if the line is young, and its slope perhaps that of a slewing clock.
func (q *Estimator) isOverdue(l *Line, now uint32) bool {
	return seconds(l.at, now) > max(10, float64(q.age)*float64(q.age)/64)
}

// learnBase takes the least round trip of a bucket. A base that falls steeply falls when two buckets are so:
// while a clock jumps, a single exchange may look short.
func (q *Estimator) learnBase(trip, now uint32) {
	if g := uint8(now >> (generationBits - tickBits)); g != q.generation {
		q.generation = g
		q.least = [2]uint32{q.least[1], 0}
	}
	sure := trip
	if uint64(q.last) > uint64(trip)+nearLeast {
		sure = q.last
	}
	if q.least[1] == 0 || sure < q.least[1] {
		q.least[1] = sure
	}
	q.last = trip
}

// base returns the least round trip, 0 if there is none.
func (q *Estimator) base() time.Duration {
	if q.least[0] == 0 {
		return time.Duration(q.least[1])
	}
	return time.Duration(min(q.least[0], q.least[1]))
}
