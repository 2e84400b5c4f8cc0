// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"time"

	"systole/engine/clock"
	"systole/ringbuf"
)

// deadline is how long a peer may be silent before it is suspected and failed. Both instants are the
// detector's, or follow from Config.ConnectTimeout before the first heartbeat. Own pauses and other
// faults of this node are not in them: see excuse.
type deadline struct {
	from      clock.Instant // silence counts from here: the newest arrival, or our first heartbeat to it
	suspectAt clock.Instant
	failAt    clock.Instant
	checkAt   clock.Instant // next check of the peer; its timer is armed at or before
	timerAt   clock.Instant // when the timer is armed; 0: it is not
	paused    ringbuf.Word  // the shard's sum of own pauses at from, ns; published
	grace     ringbuf.Word  // clock.Instant before which there is no verdict; published
	drops     uint32        // the shard's count of receive drops at from
	lag       uint32        // age of the newest measured heartbeat in excess of the least round trip, µs
	refusedAt uint32        // send instant of the first heartbeat refused by the peer's port in this silence, in units of 64 ns; 0: none
	heard     bool          // from is the arrival of a heartbeat
	held      bool          // the newest heartbeat was held back on its path
	extended  uint8         // extensions of this silence because of receive drops
	asked     uint8         // solicitations in this silence
}

// begin resets for a new peer, to which nothing was sent.
func (d *deadline) begin() {
	d.paused.Set(0)
	d.grace.Set(0)
	d.from, d.suspectAt, d.failAt, d.checkAt, d.timerAt = 0, 0, 0, clock.Never, 0
	d.drops, d.lag, d.refusedAt, d.heard, d.held, d.extended, d.asked = 0, 0, 0, false, false, 0, 0
}

// set starts a silence at from, judged at the two instants. lost is the sum of own pauses, drops the
// count of receive drops at from. Only later and hold move the deadlines of the same silence.
func (d *deadline) set(from, suspectAt, failAt clock.Instant, heard bool, lost int64, drops uint32) {
	d.from, d.heard, d.drops = from, heard, drops
	d.later(suspectAt, failAt)
	d.extended, d.asked, d.refusedAt, d.held = 0, 0, 0, false
	if uint64(lost) != d.paused.Get() {
		d.paused.Set(uint64(lost))
	}
	if d.grace.Get() != 0 {
		d.grace.Set(0)
	}
}

// later moves the deadlines of the present silence.
func (d *deadline) later(suspectAt, failAt clock.Instant) { d.suspectAt, d.failAt = suspectAt, failAt }

// hold records that the newest heartbeat was held back: from is when it would have arrived. Such a
// peer is not suspected before it fails.
func (d *deadline) hold() { d.suspectAt, d.held = d.failAt, true }

// check sets the next check of the peer.
func (d *deadline) check(at clock.Instant) { d.checkAt = at }

// arm records for when the timer is armed; 0: it is not.
func (d *deadline) arm(at clock.Instant) { d.timerAt = at }

// ask reports whether another solicitation is allowed, and counts it.
func (d *deadline) ask() bool {
	if d.asked >= maxSolicitations {
		return false
	}
	d.asked++
	return true
}

// extend reports whether receive drops since from excuse the peer until grace, and counts the
// extension. There are at most maxExtensions in one silence.
func (d *deadline) extend(drops uint32, grace clock.Instant) bool {
	if d.drops == drops || d.extended >= maxExtensions {
		return false
	}
	d.extended++
	d.drops = drops
	d.forgive(grace)
	return true
}

// forgive allows no verdict before grace.
func (d *deadline) forgive(grace clock.Instant) { d.grace.Set(uint64(grace)) }

// refuse records that the peer's port refused a heartbeat sent at the instant sent. If it is not the
// first refusal of this silence (again), later is how much later it was sent than the first.
func (d *deadline) refuse(sent clock.Instant) (later time.Duration, again bool) {
	at := uint32(sent >> sentUnit)
	if d.refusedAt != 0 {
		return time.Duration(int32(at-d.refusedAt)) << sentUnit, true
	}
	d.refusedAt = max(at, 1)
	return 0, false
}

// lagged records the lag of a heartbeat.
func (d *deadline) lagged(lag time.Duration) { d.lag = saturate32(lag / time.Microsecond) }

// behind returns the lag of the newest heartbeat that measured one.
func (d *deadline) behind() time.Duration { return time.Duration(d.lag) * time.Microsecond }

// wait returns the silence that is allowed until at.
func (d *deadline) wait(at clock.Instant) time.Duration { return at.Sub(d.from) }
