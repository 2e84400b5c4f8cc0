// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"math"
	"time"

	"systole/engine/clock"
	"systole/ringbuf"
)

// pace is how often heartbeats go to a peer: the schedule, the negotiated period, and the credit of
// an admitted stranger, which gets at most one heartbeat for each of its own.
type pace struct {
	remote    ringbuf.Word  // the peer's period, µs <<32 | ours to it, µs
	nextSend  clock.Instant // of the schedule; lateness does not move it
	period    int64         // ns, in force
	wanted    uint32        // µs, by the configuration
	minPeriod uint32        // µs, the shortest that the peer accepts
	slowed    uint32        // grid steps: a period announced and not yet acknowledged; 0: none
	slowedSeq uint32        // low half of the sequence that announced slowed; 0: none yet
	credit    uint8         // heartbeats that an admitted peer may still get
	free      uint8         // heartbeats of a handshake that may go out without a gap
	bytes     uint8         // bytes of messages, in units of 8, that an admitted peer may still get
	skipped   bool          // the schedule has skipped one to save credit
	now       bool          // a heartbeat is to be sent ahead of the schedule
	leaving   bool          // heartbeats are goodbyes
	planned   bool          // the period is derived from the promise
	admitted  bool          // a stranger: what goes to it is bounded by credit
}

// maxCredit bounds the credit of an admitted peer.
const maxCredit = 16

// begin resets for a new peer with a wanted period.
func (q *pace) begin(period time.Duration, planned, admitted bool) {
	q.remote.Set(0)
	q.nextSend, q.period, q.wanted, q.minPeriod = 0, int64(period), uint32(period/time.Microsecond), 0
	q.slowed, q.slowedSeq, q.credit, q.free, q.bytes = 0, 0, 0, 0, 0
	q.now, q.leaving, q.planned, q.admitted = false, false, planned, admitted
}

// configure makes an admitted peer a configured one with a wanted period.
func (q *pace) configure(period time.Duration, planned bool) {
	q.admitted, q.planned, q.wanted = false, planned, uint32(period/time.Microsecond)
}

// at sets the next instant of the schedule.
func (q *pace) at(next clock.Instant) { q.nextSend = next }

// leave makes every heartbeat from now on a goodbye.
func (q *pace) leave() { q.leaving = true }

// handshake asks for a heartbeat at once and lets freeHandshake of them go out without a gap, one
// to an admitted peer.
func (q *pace) handshake() {
	q.free, q.now = freeHandshake, true
	if q.admitted {
		q.free = 1
	}
}

// freeHandshake is how many heartbeats of a handshake need no gap.
const freeHandshake = 2

// ask asks for a heartbeat ahead of the schedule.
func (q *pace) ask() { q.now = true }

// earn credits the peer with a datagram of its own, which had that many bytes of messages.
func (q *pace) earn(messages int) {
	if q.credit < maxCredit {
		q.credit++
	}
	q.bytes = uint8(min(int(q.bytes)+messages/bytesUnit, math.MaxUint8))
}

// bytesUnit is the unit of pace.bytes, so that one byte counts more than MaxRoom.
const bytesUnit = 8

// room returns how many bytes of messages may go to the peer: most, or to an admitted peer as many as
// came from it.
func (q *pace) room(most int) int {
	if q.admitted {
		return min(int(q.bytes)*bytesUnit, most)
	}
	return most
}

// mayAhead reports whether a heartbeat was asked for and may go out since the last one: after gap, or
// as part of a handshake. Otherwise the schedule serves the request.
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

// pay debits a datagram to the peer.
func (q *pace) pay() {
	if q.credit > 0 {
		q.credit--
	}
}

// mayPay reports whether the peer's credit allows a heartbeat. One is kept for a goodbye, except
// during the handshake.
func (q *pace) mayPay() bool { return !q.admitted || q.credit > 1 || q.credit > 0 && q.free > 0 }

// mayLeave reports whether the peer's credit allows a goodbye.
func (q *pace) mayLeave() bool { return !q.admitted || q.credit > 0 }

// maySchedule reports whether the schedule may send heartbeat n. While the credit does not cover all
// goodbyes, one heartbeat in saveEvery is skipped.
func (q *pace) maySchedule(n uint64) bool {
	if q.admitted && q.credit <= goodbyes && n%saveEvery == saveEvery-1 && !q.skipped {
		q.skipped = true
		return false
	}
	return q.mayPay()
}

// saveEvery is how often the schedule of an admitted peer skips a heartbeat to save credit: so
// seldom that no detector suspects.
const saveEvery = 8

// wrote records heartbeat n, which had that many bytes of messages.
func (q *pace) wrote(n uint64, messages int) {
	q.now, q.skipped = false, false
	if q.admitted {
		q.free = 0
	}
	q.pay()
	if q.admitted {
		q.bytes -= uint8((messages + bytesUnit - 1) / bytesUnit)
	}
	if q.slowed != 0 && q.slowedSeq == 0 {
		q.slowedSeq = max(uint32(n), 1)
	}
}

// gap is the least time between heartbeats outside the schedule.
func (q *pace) gap(grid time.Duration) time.Duration {
	return max(grid, time.Duration(q.period)/8) - grid/2
}

// theirs returns the period that the peer announced, or ours if it has announced none.
func (q *pace) theirs() time.Duration {
	if us := q.remote.Get() >> 32; us != 0 {
		return time.Duration(us) * time.Microsecond
	}
	return time.Duration(q.period)
}

// heard records the periods that a heartbeat announces, in µs.
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

// want changes the wanted period, in ns.
func (q *pace) want(period int64, grid time.Duration) {
	q.wanted = uint32(period / 1000)
	q.negotiate(grid)
}

// negotiate sets the period: the wanted one, but no shorter than the peer accepts. A longer period
// is announced before it is in force.
func (q *pace) negotiate(grid time.Duration) {
	period := int64(onGrid(time.Duration(max(q.wanted, q.minPeriod))*time.Microsecond, grid))
	if period > q.period {
		q.slowed, q.slowedSeq = uint32(period/int64(grid)), 0
		return
	}
	q.period, q.slowed = period, 0
}

// echoed records that the peer has heard heartbeat n. A longer period that n announced is now in
// force, so the peer never expects heartbeats by a shorter period than is used (RFC 5880, 6.8.3).
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
