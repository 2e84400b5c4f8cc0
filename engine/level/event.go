package level

import (
	"time"

	"systole/engine"
	"systole/engine/clock"
)

// Event tells that a peer's level has changed, From and To being different. Per
// peer, events come in order, and the latest level always arrives; to a reader that falls
// behind changes are merged. A peer that leaves or is removed ends at level 0, with an
// event if the reader knows it at another.
type Event struct {
	Peer             engine.Peer
	ID               uint64 // the peer's id, 0 while unknown
	Incarnation      uint64 // the peer's incarnation
	From, To         int    // 0: none; i: the i-th of the List
	FromName, ToName string // "" for none
	Suspicion        float64
	Silence          time.Duration // since the last arrival; 0 if nothing ever arrived
	Since            clock.Instant // when To was entered
	State            engine.State  // of the peer at that instant
	Cause            engine.Cause  // of the peer's last transition of State
	Merged           int           // changes of this peer's level not delivered before this one
}

// TryNext returns a change of a peer's level that the reader does not know, if there is one.
// Changes that have cancelled each other out meanwhile are only counted.
func (in *Interpreter) TryNext() (Event, bool) {
	front := in.queue.Front()
	if front == nil {
		return Event{}, false
	}
	sub := in.queue.Remove(front).(*subject)
	ev := in.event(sub)
	sub.queued, sub.known, sub.changes = nil, uint8(sub.Level), 0
	return ev, true
}

// event returns what the reader does not know of a peer.
func (in *Interpreter) event(sub *subject) Event {
	from, to := int(sub.known), sub.Level
	return Event{
		Peer: sub.peer, ID: sub.id, Incarnation: sub.Incarnation,
		From: from, To: to, FromName: in.levels.name(from), ToName: in.levels.name(to),
		Suspicion: float64(sub.suspicion), Silence: sub.silence, Since: sub.Since,
		State: sub.state, Cause: sub.cause, Merged: int(sub.changes) - 1,
	}
}

// enqueue puts a peer in the queue if the reader knows it at another level, else takes it out.
func (in *Interpreter) enqueue(sub *subject) {
	switch same := int(sub.known) == sub.Level; {
	case same && sub.queued != nil:
		in.queue.Remove(sub.queued)
		sub.queued = nil
	case !same && sub.queued == nil:
		sub.queued = in.queue.PushBack(sub)
	}
}
