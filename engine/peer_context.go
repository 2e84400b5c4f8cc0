package engine

import (
	"context"
	"errors"
	"fmt"
)

// ErrPeerFailed is what every *PeerFailedError is, by errors.Is.
var ErrPeerFailed = errors.New("engine: peer failed")

// PeerFailedError is the cause of a context of Peer.Context that the peer has ended: context.Cause returns
// it.
type PeerFailedError struct {
	Peer        Peer
	ID          uint64 // the peer's id; 0: unknown
	Incarnation uint64 // that the context was for; 0: unknown
	// State is the state in which the peer was found: Failed, Left or Removed; Alive after a restart; any
	// other one if its suspicion reached the level. Unknown is that of the zero Peer.
	State State
	// Cause is that of the last transition to State, Restarted for a new incarnation, Silence for a level
	// that was reached without a transition, and ReachableAgain if the peer failed or left and is back.
	Cause     Cause
	Suspicion float64 // when the context ended
}

// Error names the peer by its name or else its address, and says its state and the cause, or that it has
// restarted or is back.
func (e *PeerFailedError) Error() string {
	if e.Peer.IsZero() {
		return "engine: no peer"
	}
	is := e.Peer.identity()
	switch e.Cause {
	case Restarted:
		return fmt.Sprintf("engine: %s has restarted", is.text())
	case ReachableAgain:
		return fmt.Sprintf("engine: %s was failed or had left, and is back", is.text())
	}
	return fmt.Sprintf("engine: %s is %v: %v, suspicion %.1f", is.text(), e.State, e.Cause, e.Suspicion)
}

// Unwrap returns ErrPeerFailed.
func (e *PeerFailedError) Unwrap() error { return ErrPeerFailed }

// Context returns a context for what is asked of the peer's present incarnation, such as a request. It ends
// when the suspicion of the peer reaches level, when the peer fails, leaves, restarts or is removed, when the
// engine is closed, and when parent ends. In all but the last case context.Cause returns a
// *PeerFailedError. If one of these holds already, the context has ended when Context returns.
//
// Level is in the unit of the detector: see Engine.StateLevels. A level at or above that of Suspect is
// reached with that state only, so what excuses the peer from the state keeps the context. A lower level is
// reached by silence that the peer's loop has read its sockets to the end of, less the pauses of this node.
// With math.Inf(1) suspicion ends no context.
//
// Call the CancelFunc when the request is done: it forgets the context, whose cause is then
// context.Canceled. A context costs some hundred bytes and no goroutine: one goroutine per engine ends the
// contexts of all peers. It runs while there are any, and ends a second or two after the last. A context
// of which only the parent has ended is forgotten within two seconds. Any goroutine may call Context.
func (p Peer) Context(parent context.Context, level float64) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	x := &peerContext{ctx: ctx, cancel: cancel, level: level, place: -1}
	if p.engine == nil {
		cancel(&PeerFailedError{})
		return ctx, x.forget
	}
	x.of = &p.engine.contexts
	if err := x.of.add(p, x); err != nil {
		cancel(err)
	}
	return ctx, x.forget
}

// peerContext is a context that a peer ends.
type peerContext struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	of     *contexts        // nil for the zero Peer
	level  float64          // the suspicion that ends it
	err    *PeerFailedError // why it ended; nil: it has not

	// Guarded by contexts.mu.
	peer  *followed
	place int // in followed.waiting; -1: it ended, or was forgotten
}

// forget is the CancelFunc.
func (x *peerContext) forget() {
	if x.of != nil {
		x.of.remove(x)
	}
	x.cancel(nil)
}

// peerContexts is the contexts of one peer: a heap by level, the lowest first.
type peerContexts []*peerContext

// Len, Less, Swap, Push and Pop are heap.Interface.
func (h peerContexts) Len() int           { return len(h) }
func (h peerContexts) Less(i, j int) bool { return h[i].level < h[j].level }

func (h peerContexts) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *peerContexts) Push(x any) {
	c := x.(*peerContext)
	c.place = len(*h)
	*h = append(*h, c)
}

func (h *peerContexts) Pop() any {
	last := len(*h) - 1
	c := (*h)[last]
	(*h)[last], c.place = nil, -1
	*h = (*h)[:last]
	return c
}
