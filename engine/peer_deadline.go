// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"time"

	"systole/engine/clock"
	"systole/ringbuf"
)

// deadline is until when a peer may be silent. Its two instants are the detector's, or follow from
// Config.ConnectTimeout before the first heartbeat; what this node's own faults take off the
// evidence is kept apart from them: see excuse.
type deadline struct {
	from      clock.Instant // silence counts from here: the newest arrival, or our first heartbeat to it
	suspectAt clock.Instant
	failAt    clock.Instant
	checkAt   clock.Instant // next check of the peer; its timer is armed at or before
	timerAt   clock.Instant // when the timer is armed; 0: it is not
	paused    ringbuf.Word  // the shard's sum of own pauses at from, ns; published
	grace     ringbuf.Word  // clock.Instant before which there is no verdict; published
	drops     uint32        // the shard's count of overflows at from
	lag       uint32        // by how much the newest heartbeat that told was older than its way explains, µs
	refusedAt uint32        // when the heartbeat was sent that the peer's port first refused in this silence, in units of 64 ns; 0: none
	heard     bool          // from is the arrival of a heartbeat
	held      bool          // the newest heartbeat was held back on its way
	extended  uint8         // times that an overflow put off the verdict on this silence
	asked     uint8         // times that the peer was asked to answer in this silence
}

// begin starts for a peer that nothing was sent to.
func (d *deadline) begin() {
	d.paused.Set(0)
	d.grace.Set(0)
	d.from, d.suspectAt, d.failAt, d.checkAt, d.timerAt = 0, 0, 0, clock.Never, 0
	d.drops, d.lag, d.refusedAt, d.heard, d.held, d.extended, d.asked = 0, 0, 0, false, false, 0, 0
}

// set starts a silence at from and ends it at the two instants. lost is the sum of own pauses, drops
// the count of overflows by then. Nothing else sets a deadline, but for later, which the same
// silence has.
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

// later moves the ends of the present silence.
func (d *deadline) later(suspectAt, failAt clock.Instant) { d.suspectAt, d.failAt = suspectAt, failAt }

// hold notes that the newest heartbeat was held back on its way, so that from is when it would have
// arrived. Suspicion waits for as long as failure.
func (d *deadline) hold() { d.suspectAt, d.held = d.failAt, true }

// check sets when to look at the peer next.
func (d *deadline) check(at clock.Instant) { d.checkAt = at }

// arm notes when the timer is armed; 0: it is not.
func (d *deadline) arm(at clock.Instant) { d.timerAt = at }

// ask counts a request to answer, and reports whether another one may be made.
func (d *deadline) ask() bool {
	if d.asked >= maxSolicitations {
		return false
	}
	d.asked++
	return true
}

// extend counts an overflow after drops, which grants the peer until grace, and reports whether
// another extension may be made.
func (d *deadline) extend(drops uint32, grace clock.Instant) bool {
	if d.drops == drops || d.extended >= maxExtensions {
		return false
	}
	d.extended++
	d.drops = drops
	d.forgive(grace)
	return true
}

// forgive grants the peer until grace.
func (d *deadline) forgive(grace clock.Instant) { d.grace.Set(uint64(grace)) }

// refuse notes that the peer's port refused what was sent at the instant sent, and returns how much
// later that is than what it first refused in this silence.
func (d *deadline) refuse(sent clock.Instant) (later time.Duration, again bool) {
	at := uint32(sent >> sentUnit)
	if d.refusedAt != 0 {
		return time.Duration(int32(at-d.refusedAt)) << sentUnit, true
	}
	d.refusedAt = max(at, 1)
	return 0, false
}

// lagged notes by how much a heartbeat is older than the least round trip explains.
func (d *deadline) lagged(lag time.Duration) { d.lag = saturate32(lag / time.Microsecond) }

// behind returns by how much the newest heartbeat that told was older than its way explains.
func (d *deadline) behind() time.Duration { return time.Duration(d.lag) * time.Microsecond }

// wait returns for how long the peer may be silent until at.
func (d *deadline) wait(at clock.Instant) time.Duration { return at.Sub(d.from) }
