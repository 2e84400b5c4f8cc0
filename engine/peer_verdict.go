// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"math"

	"systole/engine/clock"
	"systole/ringbuf"
)

// verdict is the state of a peer and its last transition, as four published words. status alone
// answers "is the peer alive?". A reader that needs all words of one transition calls read, which
// retries while version is odd or changes: a sequence lock with one writer, the owner.
type verdict struct {
	status  ringbuf.Word // generation, flags, state, from, cause
	version ringbuf.Word // twice the number of transitions, odd while one is written
	decided ringbuf.Word // clock.Instant of the last transition
	level   ringbuf.Word // math.Float64bits of the suspicion at the last transition
}

// Flags of a status.
const (
	degradedBit = 1 << 24 // the peer calls itself degraded
	slowBit     = 1 << 25 // see slow
)

// packStatus packs a status word.
func packStatus(generation uint32, state, from State, cause Cause) uint64 {
	return uint64(generation)<<32 | uint64(state)<<16 | uint64(from)<<8 | uint64(cause)
}

// unpackStatus is the inverse of packStatus.
func unpackStatus(w uint64) (generation uint32, state, from State, cause Cause) {
	return uint32(w >> 32), State(w >> 16), State(w >> 8), Cause(w)
}

// state returns the owner's view of the state.
func (v *verdict) state() State { return State(v.status.Get() >> 16) }

// cause returns the owner's view of the cause of the last transition.
func (v *verdict) cause() Cause { return Cause(v.status.Get()) }

// generation tells the successive peers of one slot apart.
func (v *verdict) generation() uint32 { return uint32(v.status.Get() >> 32) }

// begin resets the verdict for a new peer of the slot, before any other part of the peer is reset: a
// reader that finds the generation unchanged has read no word of the next peer.
func (v *verdict) begin(generation uint32) {
	v.status.Set(packStatus(generation, Unknown, Unknown, NoCause))
	v.decided.Set(0)
	v.level.Set(0)
}

// move publishes a transition.
func (v *verdict) move(to State, cause Cause, at clock.Instant, suspicion float64) {
	version := v.version.Get()
	v.version.Set(version + 1)
	v.status.Set(packStatus(v.generation(), to, v.state(), cause) | v.status.Get()&(degradedBit|slowBit))
	v.decided.Set(uint64(at))
	v.level.Set(math.Float64bits(suspicion))
	v.version.Set(version + 2)
}

// flag publishes a flag of the peer.
func (v *verdict) flag(bit uint64, on bool) {
	w := v.status.Get() &^ bit
	if on {
		w |= bit
	}
	if w != v.status.Get() {
		v.status.Set(w)
	}
}

// isSlow returns the owner's view of whether the peer is slow.
func (v *verdict) isSlow() bool { return v.status.Get()&slowBit != 0 }

// shownVerdict is one consistent reading of a verdict.
type shownVerdict struct {
	generation uint32
	version    uint32 // number of transitions
	state      State
	from       State
	cause      Cause
	slow       bool
	at         clock.Instant
	suspicion  float64
}

// verdictTries bounds the retries of a reader. A writer publishes rarely and for nanoseconds, so more
// collisions mean that it was preempted while publishing.
const verdictTries = 128

// read returns the words of one transition. It reports false if the owner was publishing all the
// while; the event of that transition follows.
func (v *verdict) read() (shownVerdict, bool) {
	for range verdictTries {
		before := v.version.Load()
		status := v.status.Load()
		generation, state, from, cause := unpackStatus(status)
		at := clock.Instant(v.decided.Load())
		suspicion := math.Float64frombits(v.level.Load())
		if before&1 == 0 && v.version.Load() == before {
			return shownVerdict{generation, uint32(before / 2), state, from, cause, status&slowBit != 0, at, suspicion}, true
		}
	}
	return shownVerdict{}, false
}
