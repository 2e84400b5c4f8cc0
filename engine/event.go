package engine

import (
	"time"

	"systole/engine/clock"
)

// Event tells one transition of one peer, or, when Peer is the zero Peer, something
// about this node (LocalPause, LocalSuspect, IDCollision, PromiseAtRisk).
//
// Per peer, events are delivered in order and the latest state is never lost. A
// reader that falls behind gets transitions merged: Merged counts those that were
// skipped before this one. That a peer was removed it hears also when another peer has its
// place in the table already: At is then the latest instant at which that can have been,
// Cause the likelier one, and Merged may count others that had the place in between. Of events
// about this node it hears the last of each cause at least, maybe after later ones of others.
type Event struct {
	Peer Peer
	// Others are, with IDCollision, the two peers that have one id and different incarnations; zero
	// where the other process has this node's own id.
	Others      [2]Peer
	ID          uint64 // the peer's id, 0 while unknown
	Incarnation uint64 // the peer's incarnation, 0 while unknown
	From, To    State
	Cause       Cause
	At          clock.Instant // when the transition was decided
	Suspicion   float64       // the detector's level at that instant
	Silence     time.Duration // since the last arrival; 0 if nothing ever arrived
	Lag         time.Duration // our own lateness: from the deadline, or the arrival, to At
	Pause       time.Duration // LocalPause: how long this node stood still
	Delays      Delays        // of the last heartbeat
	Merged      int           // transitions of this peer, or events of this cause, not delivered before this one
}

// Delays splits the way of one heartbeat. Each part is at least 0; a part that was
// not measured is 0.
type Delays struct {
	Sender  time.Duration // how late after its own schedule the sender wrote it
	Network time.Duration // above the least path time seen lately, so clocks need not agree
	Read    time.Duration // from the kernel's receive stamp to our reading it
}

// record is an Event without pointers, as it travels in the subscribers' rings.
type record struct {
	slot, generation uint32
	other, otherOf   uint32 // another peer and its generation
	node             bool   // it is about this node
	version          uint32 // of the peer's verdicts, grows by one per transition
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

// event completes r for a reader.
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
