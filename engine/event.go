package engine

import (
	"time"

	"systole/engine/clock"
)

// Event is a transition of a peer or, if Peer is the zero Peer, an event about this node (LocalPause,
// LocalSuspect, IDCollision, PromiseAtRisk).
//
// The events of a peer are delivered in order, and the latest one is never lost. For a reader that
// falls behind, events are merged: Merged counts those skipped. The removal of a peer is delivered
// even if another peer has its slot by then. At is then an upper bound, Cause the likelier one, and
// Merged may include events of other peers that had the slot in between. Of the events about this
// node the latest of each cause is never lost, but may come after later events.
type Event struct {
	Peer Peer
	// Others is, for IDCollision, the two peers that have one id and different incarnations. It is
	// zero if the other process has this node's own id.
	Others      [2]Peer
	ID          uint64 // the peer's id, 0 while unknown
	Incarnation uint64 // the peer's incarnation, 0 while unknown
	From, To    State
	Cause       Cause
	At          clock.Instant // when the transition was decided
	Suspicion   float64       // of the detector at that instant
	Silence     time.Duration // since the last arrival; 0 if nothing ever arrived
	Lag         time.Duration // our own lateness: from the deadline, or the arrival, to At
	Pause       time.Duration // LocalPause: how long this node stood still
	Delays      Delays        // of the last heartbeat
	Merged      int           // events of this peer, or of this cause, that were skipped before this one
}

// Delays is the parts of the delay of one heartbeat. A part that was not measured is 0.
type Delays struct {
	Sender  time.Duration // from the sender's schedule to its sending
	Network time.Duration // above the least recent path delay; needs no synchronized clocks
	Read    time.Duration // from the kernel's receive stamp to our reading
}

// record is an Event without pointers, for the rings of subscriptions.
type record struct {
	slot, generation uint32
	other, otherOf   uint32 // the other peer of an IDCollision, and its generation
	node             bool   // the event is about this node
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
	ev := Event{
		ID: r.id, Incarnation: r.incarnation, From: r.from, To: r.to, Cause: r.cause,
		At: r.at, Suspicion: float64(r.suspicion), Silence: time.Duration(r.silence),
		Lag: time.Duration(r.lag), Pause: time.Duration(r.pause), Merged: merged,
		Delays: Delays{time.Duration(r.sender), time.Duration(r.network), time.Duration(r.read)},
	}
	peer := Peer{e, r.slot, r.generation}
	switch {
	case !r.node:
		ev.Peer = peer
	case r.other != 0:
		ev.Others = [2]Peer{peer, {e, r.other, r.otherOf}}
	}
	return ev
}
