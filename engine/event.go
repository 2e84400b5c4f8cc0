package engine

import (
	"time"

	"systole/engine/clock"
)

// Event is a transition of a peer or, with NoCause, its present state. Events about this node are
// NodeEvents.
//
// The events of a peer are delivered in order, and the latest one is never lost. For a reader that
// falls behind, events are merged: Merged counts those skipped. The removal of a peer is delivered
// even if another peer has its slot by then. At is then an upper bound, Cause the likelier one, and
// Merged may include events of other peers that had the slot in between.
type Event struct {
	Peer        Peer
	ID          uint64 // the peer's id, 0 while unknown
	Incarnation uint64 // the peer's incarnation, 0 while unknown
	From, To    State
	Cause       Cause
	At          clock.Instant // when the transition was decided
	Suspicion   float64       // of the detector at that instant
	Silence     time.Duration // since the last arrival; 0 if nothing ever arrived
	Lag         time.Duration // our own lateness: from the deadline, or the arrival, to At
	Delays      Delays        // of the last heartbeat
	Merged      int           // events of this peer that were skipped before this one
}

// Delays is the parts of the delay of one heartbeat. A part that was not measured is 0.
type Delays struct {
	Sender  time.Duration // from the sender's schedule to its sending
	Network time.Duration // above the least recent path delay; needs no synchronized clocks
	Read    time.Duration // from the kernel's receive stamp to our reading
}

// record is an Event or a NodeEvent without pointers, for the rings of subscriptions.
type record struct {
	node             bool // a NodeEvent
	nodeCause        NodeCause
	slot, generation uint32
	other, otherOf   uint32 // the other peer of an IDCollision, and its generation
	version          uint32 // of the slot's verdict; grows by one per transition
	from, to         State
	cause            Cause
	suspicion        float32
	id, incarnation  uint64
	at               clock.Instant
	silence          int64
	lag              int64
	pause            int64
	sender           uint32
	network          uint32
	read             uint32
}

// event returns r as an Event of e.
func (r *record) event(e *Engine, merged int) Event {
	return Event{
		Peer: Peer{e, r.slot, r.generation}, ID: r.id, Incarnation: r.incarnation,
		From: r.from, To: r.to, Cause: r.cause, At: r.at,
		Suspicion: float64(r.suspicion), Silence: time.Duration(r.silence), Lag: time.Duration(r.lag),
		Delays: Delays{time.Duration(r.sender), time.Duration(r.network), time.Duration(r.read)},
		Merged: merged,
	}
}
