// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

// Package detect has promises about the detection of failures, and the detectors that keep them.
//
// A [Promise] is the quality that a program asks for: within which time a crash is detected, and how
// rarely a peer that lives is suspected. Programs set engine.Config.Promise, and few need more of this
// package. Promise.Plan tells with which period and margin a promise can be kept by what is [Known] of
// the network, and [TradeOff] what else could be asked.
//
// A [Detector] turns the heartbeats of a peer into a level of suspicion. It is an algorithm with its
// parameters. It holds no state of a peer: that is a few words which the caller keeps, in the engine
// in flat memory. It neither reads a clock nor allocates: the caller passes every instant. So the same
// code runs on sockets, in simulations and over recordings.
//
// Heartbeats that are stale, duplicated or reordered change nothing: only one with a higher
// sequence than all before counts. [Margin], the default, expects a heartbeat by the sender's
// schedule and not by the time since the last arrival, so queued heartbeats that arrive late do not
// keep a dead peer alive, and a burst after a pause does not look like a fast path. Package
// systole/engine/detect/published has baselines that follow their publications.
//
// Detectors are experimental: a later minor version may change Detector, Heartbeat, Take and Judge.
// Promises are stable.
package detect

import (
	"time"

	"systole/engine/clock"
	"systole/engine/internal/margins"
)

// Heartbeat is a received heartbeat.
type Heartbeat struct {
	Sequence uint64        // the sender's
	Send     clock.Instant // on the sender's clock
	Late     time.Duration // from its due time to Send
	Arrival  clock.Instant // on our clock: the stamp of the kernel or the network card
	Period   time.Duration // the sender's period η from this heartbeat on; 1 µs to 2^32 µs
	// Paused is the time since the previous arrival during which this node was paused. It is not
	// held against the peer.
	Paused time.Duration
}

// Detector is a failure detector. It is experimental. A state is Words words, which are 0 at first. Only one goroutine
// at a time uses a state. Any number of goroutines may use a Detector with states of their own.
type Detector interface {
	// Name is the detector's name in flags and reports.
	Name() string
	// Words is the size of a state in words.
	Words() int
	// Summary is the number of words at the beginning of a state that Suspicion and Deadline read.
	// The engine publishes these words.
	Summary() int
	// Levels are the suspicions at which a peer becomes suspect and failed.
	Levels() (suspect, fail float64)
	// Reset returns state to that of a peer without a heartbeat.
	Reset(state []uint64)
	// Heartbeat takes a heartbeat. It ignores one whose sequence is not above all before it.
	Heartbeat(state []uint64, h *Heartbeat)
	// Suspicion is the level at the instant at. It is finite, not negative and does not fall until
	// the next heartbeat. It is 0 before the first one.
	Suspicion(summary []uint64, at clock.Instant) float64
	// Deadline is the first instant at which Suspicion reaches level, which is above 0; clock.Never
	// if Suspicion does not reach it.
	Deadline(summary []uint64, level float64) clock.Instant
}

// learner is a detector that collects samples with each heartbeat and fits its margins to them
// later, off the hot path.
type learner interface {
	Detector
	// Due reports whether enough samples were collected since the last Learn. It costs a load.
	Due(state []uint64) bool
	// Learn fits the margins. prior has the samples of peers of the same class, for levels that the
	// samples in state do not support; it may be nil.
	Learn(state []uint64, prior *margins.Pool)
}

// Take gives h to d, and fits d's margins at once if that is due. The engine does this in two steps;
// Take is for replays, tests and programs that feed a detector themselves.
func Take(d Detector, state []uint64, h *Heartbeat) {
	d.Heartbeat(state, h)
	if l, ok := d.(learner); ok && l.Due(state) {
		l.Learn(state, nil)
	}
}
