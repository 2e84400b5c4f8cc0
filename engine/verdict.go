package engine

import (
	"math"

	"systole/engine/clock"
)

// A verdict is published as four words of the peer. status alone answers "is it
// alive?"; readers that want the words to agree use readVerdict, which retries while
// version is odd or changes: a sequence lock with one writer, the owner.

// packStatus packs what one load of peer.status answers.
func packStatus(generation uint32, state, from State, cause Cause) uint64 {
	return uint64(generation)<<32 | uint64(state)<<16 | uint64(from)<<8 | uint64(cause)
}

// unpackStatus is the inverse of packStatus.
func unpackStatus(w uint64) (generation uint32, state, from State, cause Cause) {
	return uint32(w >> 32), State(w >> 16), State(w >> 8), Cause(w)
}

// state returns the owner's view of its peer's state.
func (p *peer) state() State { return State(p.status.Get() >> 16) }

// publishVerdict moves p to state to. Only the owner calls it.
func (p *peer) publishVerdict(to State, cause Cause, at clock.Instant, suspicion float64) {
	version := p.version.Get()
	p.version.Set(version + 1)
	p.status.Set(packStatus(p.generation, to, p.state(), cause))
	p.decided.Set(uint64(at))
	p.level.Set(math.Float64bits(suspicion))
	p.version.Set(version + 2)
}

// verdict is one consistent reading of a peer's published verdict.
type verdict struct {
	generation uint32
	version    uint32 // number of transitions
	state      State
	from       State
	cause      Cause
	at         clock.Instant
	suspicion  float64
}

// verdictTries bounds readVerdict: a writer publishes for nanoseconds, and rarely, so
// more collisions than this mean that it was preempted in between.
const verdictTries = 128

// readVerdict reads p's verdict as one. It reports false when the owner was
// publishing all the while; then the event of that transition is about to arrive.
func (p *peer) readVerdict() (verdict, bool) {
	for range verdictTries {
		before := p.version.Load()
		generation, state, from, cause := unpackStatus(p.status.Load())
		at := clock.Instant(p.decided.Load())
		suspicion := math.Float64frombits(p.level.Load())
		if before&1 == 0 && p.version.Load() == before {
			return verdict{generation, uint32(before / 2), state, from, cause, at, suspicion}, true
		}
	}
	return verdict{}, false
}
