// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"time"

	"systole/engine/clock"
	"systole/ringbuf"
)

// pace is how often a peer is written to: the schedule, the period and its negotiation, and what
// may go out besides.
type pace struct {
	remote    ringbuf.Word  // the peer's period, µs <<32 | ours to it, µs
	nextSend  clock.Instant // the schedule, without lateness
	period    int64         // ns, in force
	wanted    uint32        // µs, what the configuration asks for
	minPeriod uint32        // µs, the peer accepts no shorter one
	slowed    uint32        // grid steps: a period announced and not yet acknowledged; 0: none
	slowedSeq uint32        // the sequence that announced it, low half; 0: none yet
	credit    uint8         // heartbeats that an admitted peer may still get for its own
	free      uint8         // heartbeats of a handshake that need no gap
	skipped   bool          // the schedule has left one out to save up credit
	now       bool          // one is to be sent ahead of the schedule
	leaving   bool          // we are saying goodbye
	planned   bool          // the period is the one that the promise takes
	admitted  bool          // a stranger: nothing goes to it but for what comes from it
}

// maxCredit bounds what an admitted peer can save up.
const maxCredit = 16

// begin starts with a wanted period.
func (q *pace) begin(period time.Duration, planned, admitted bool) {
	q.remote.Set(0)
	q.nextSend, q.period, q.wanted, q.minPeriod = 0, int64(period), uint32(period/time.Microsecond), 0
	q.slowed, q.slowedSeq, q.credit, q.free = 0, 0, 0, 0
	q.now, q.leaving, q.planned, q.admitted = false, false, planned, admitted
}

// configure makes a peer that was admitted a configured one, with a wanted period.
func (q *pace) configure(period time.Duration, planned bool) {
	q.admitted, q.planned, q.wanted = false, planned, uint32(period/time.Microsecond)
}

// at sets when the schedule sends next.
func (q *pace) at(next clock.Instant) { q.nextSend = next }

// leave has every heartbeat from now on say goodbye.
func (q *pace) leave() { q.leaving = true }

// handshake lets two heartbeats follow each other without a gap, and asks for one.
func (q *pace) handshake() {
	q.free, q.now = freeHandshake, true
	if q.admitted {
		q.free = 1
	}
}

// freeHandshake is how many heartbeats of a handshake may follow each other without a gap.
const freeHandshake = 2

// ask asks for a heartbeat ahead of the schedule.
func (q *pace) ask() { q.now = true }

// earn notes a datagram of the peer's, for which it may get one.
func (q *pace) earn() {
	if q.credit < maxCredit {
		q.credit++
	}
}

// mayAhead reports whether the heartbeat that was asked for may go out, gap after the last one.
// One that may not is served by the schedule.
func (q *pace) mayAhead(since, gap time.Duration) bool {
	switch {
	case !q.now:
		return false
	case since >= gap:
		return true
	case q.free > 0:
		q.free--
		return true
	}
	return false
}

// pay notes a datagram that the peer got.
func (q *pace) pay() {
	if q.credit > 0 {
		q.credit--
	}
}

// mayPay reports whether the peer may get a heartbeat. One is kept for a goodbye, but for the first.
func (q *pace) mayPay() bool { return !q.admitted || q.credit > 1 || q.credit > 0 && q.free > 0 }

// mayLeave reports whether the peer may get a goodbye.
func (q *pace) mayLeave() bool { return !q.admitted || q.credit > 0 }

// maySchedule reports whether the schedule may send heartbeat n. Until there is credit for all goodbyes,
// it leaves out one of saveEvery.
func (q *pace) maySchedule(n uint64) bool {
	if q.admitted && q.credit <= goodbyes && n%saveEvery == saveEvery-1 && !q.skipped {
		q.skipped = true
		return false
	}
	return q.mayPay()
}

// saveEvery is how often the schedule of an admitted peer leaves one out: so seldom that no
// detector minds.
const saveEvery = 8

// wrote notes heartbeat n.
func (q *pace) wrote(n uint64) {
	q.now, q.skipped = false, false
	if q.admitted {
		q.free = 0
	}
	q.pay()
	if q.slowed != 0 && q.slowedSeq == 0 {
		q.slowedSeq = max(uint32(n), 1)
	}
}

// gap is the least time between heartbeats outside the schedule.
func (q *pace) gap(grid time.Duration) time.Duration {
	return max(grid, time.Duration(q.period)/8) - grid/2
}

// theirs returns the period that the peer announced, or, before it did, ours.
func (q *pace) theirs() time.Duration {
	if us := q.remote.Get() >> 32; us != 0 {
		return time.Duration(us) * time.Microsecond
	}
	return time.Duration(q.period)
}

// heard takes the periods that a heartbeat announces, in µs.
func (q *pace) heard(period, minPeriod uint32, grid, shortest time.Duration) {
	if minPeriod != q.minPeriod || q.admitted && period != uint32(q.remote.Get()>>32) {
		q.minPeriod = minPeriod
		if q.admitted {
			q.wanted = max(period, uint32(shortest/time.Microsecond))
		}
		q.negotiate(grid)
	}
	if remote := uint64(period)<<32 | uint64(q.period/1000); remote != q.remote.Get() {
		q.remote.Set(remote)
	}
}

// want changes the period that the configuration asks for.
func (q *pace) want(period int64, grid time.Duration) {
	q.wanted = uint32(period / 1000)
	q.negotiate(grid)
}

// negotiate settles the period: as wanted here, but no shorter than the peer accepts. A longer one is
// announced before it is used.
func (q *pace) negotiate(grid time.Duration) {
	period := int64(onGrid(time.Duration(max(q.wanted, q.minPeriod))*time.Microsecond, grid))
	if period > q.period {
		q.slowed, q.slowedSeq = uint32(period/int64(grid)), 0
		return
	}
	q.period, q.slowed = period, 0
}

// echoed notes that the peer has heard n: a longer period that was announced by then is in force. So
// the peer never waits by the old period for heartbeats of the new one (RFC 5880, 6.8.3).
func (q *pace) echoed(n uint64, grid time.Duration) {
	if q.slowed != 0 && q.slowedSeq != 0 && int32(uint32(n)-q.slowedSeq) >= 0 {
		q.period, q.slowed = int64(q.slowed)*int64(grid), 0
	}
}

// announced returns the period to announce, in µs.
func (q *pace) announced(grid time.Duration) uint32 {
	if q.slowed != 0 {
		return uint32(int64(q.slowed) * int64(grid) / 1000)
	}
	return uint32(q.period / 1000)
}

// read fills s.
func (q *pace) read(s *PeerStats) {
	remote := q.remote.Load()
	s.Period = time.Duration(uint32(remote)) * time.Microsecond
	s.PeerPeriod = time.Duration(remote>>32) * time.Microsecond
}
