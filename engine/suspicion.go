// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"math"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
)

// The functions of this file are the one formula for suspicion: of the loop's verdicts, of Peer, Event
// and Summary, and so of package level.

// Detector returns the detector in use: Config.Detector, or the one that keeps Config.Promise. It
// must not be changed. Any goroutine may call it.
func (e *Engine) Detector() detect.Detector { return e.table.detector }

// StateLevels returns the suspicions at which this engine's detector makes a peer Suspect,
// and Failed: levels can be set to them, or to a share of them. Any goroutine may call it.
func (e *Engine) StateLevels() (suspect, failed float64) { return e.suspectLevel, e.failLevel }

// excuse is what this node's own faults take off a peer's silence: it was stopped or starved, its
// socket overflowed, its link was gone.
type excuse struct {
	from  clock.Instant // silence counts from here
	lost  time.Duration // for how long this node stood still since
	to    clock.Instant // the end of its last pause
	grace clock.Instant // no verdict before
}

// shift returns by how much deadlines are later: by the pauses of this node, but to no later than a
// whole wait after the last one. After that long awake, silence is silence.
func (x *excuse) shift() time.Duration {
	if canary {
		return 0
	}
	return max(min(x.lost, x.to.Sub(x.from)), 0)
}

// deadline returns when a deadline of the detector expires.
func (x *excuse) deadline(at clock.Instant) clock.Instant { return max(at.Add(x.shift()), x.grace) }

// ceiling returns the suspicion that a peer in a state stays below: whether it is suspect, or failed,
// is the loop's verdict, which weighs more than silence.
func ceiling(state State, cause Cause, suspect, fail float64) float64 {
	switch {
	case state == Failed:
		return math.Inf(1)
	case state != Suspect:
		return suspect
	case cause.local():
		return math.Nextafter(suspect, math.Inf(1)) // not judged until the way is back
	}
	return fail
}

// suspicion returns the level of a peer at an instant, by the summary of its detector, nil if the peer
// was never heard, and by its state: finite, at least the level of the state that the peer is in,
// and below that of a state that it is not in.
func suspicion(d detect.Detector, words []uint64, at clock.Instant, state State, cause Cause, suspect, fail float64) float64 {
	level := 0.0
	if len(words) > 0 {
		level = d.Suspicion(words, at)
	}
	switch state {
	case Suspect:
		level = max(level, suspect)
	case Failed:
		return max(level, fail)
	}
	return min(level, math.Nextafter(ceiling(state, cause, suspect, fail), 0))
}
