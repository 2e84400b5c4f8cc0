package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ListError is the fault of one element of a list that AddPeers, RemovePeers or SetPeers was given.
type ListError struct {
	Index int   // of the element
	Err   error // its fault, or why the call ended there
}

// Error returns the index and the fault.
func (e *ListError) Error() string {
	return fmt.Sprintf("engine: element %d of the list: %s", e.Index, strings.TrimPrefix(e.Err.Error(), "engine: "))
}

// Unwrap returns Err.
func (e *ListError) Unwrap() error { return e.Err }

// AddPeers is AddPeer for many peers. Where AddPeer returns ErrBusy, it waits until the loop has taken
// commands, or ctx ends.
//
// It returns the faults that Validate finds in the list, each a *ListError, joined; then no peer was added. An
// error at a later element, or the end of ctx, is the *ListError of that element: the peers before it are
// added, and returned.
//
// Any goroutine may call it, and on a Manual engine another one has to turn: on the goroutine that calls
// Turn a full command ring, of some 4000 commands, makes AddPeers wait for the end of ctx. In a simulated
// world, whose turns are on the caller's goroutine, it does not wait, but ends with ErrBusy.
func (e *Engine) AddPeers(ctx context.Context, list []PeerConfig) ([]Peer, error) {
	var faults []error
	for i := range list {
		if err := list[i].Validate(); err != nil {
			faults = append(faults, &ListError{i, err})
		}
	}
	if faults != nil {
		return nil, errors.Join(faults...)
	}
	added := make([]Peer, 0, len(list))
	for i := range list {
		p, err := e.addWaiting(ctx, &list[i])
		if err != nil {
			return added, &ListError{i, err}
		}
		added = append(added, p)
	}
	return added, nil
}

// addWaiting adds a peer whose configuration Validate has accepted, and waits for room.
func (e *Engine) addWaiting(ctx context.Context, c *PeerConfig) (Peer, error) {
	w, err := e.watchOf(c)
	if err != nil {
		return Peer{}, err
	}
	var p Peer
	err = e.waitingForRoom(ctx, func() error {
		p, err = e.add(c, w, e.tryPost)
		return err
	})
	return p, err
}

// RemovePeers is RemovePeer for many peers. Where RemovePeer returns ErrBusy, it waits as AddPeers does.
//
// Of a peer that was removed before it returns a *ListError with ErrNoPeer, and goes on. When ctx ends, or the
// engine is closed, it returns the *ListError of the first peer that is left. All errors are joined. Any
// goroutine may call it.
func (e *Engine) RemovePeers(ctx context.Context, peers []Peer) error {
	var faults []error
	for i, p := range peers {
		err := e.waitingForRoom(ctx, func() error { return e.RemovePeer(p) })
		if err != nil {
			faults = append(faults, &ListError{i, err})
		}
		if err != nil && !errors.Is(err, ErrNoPeer) {
			break
		}
	}
	return errors.Join(faults...)
}

// tryPost posts a command to the shard of its slot, and returns ErrBusy if the ring is full.
func (e *Engine) tryPost(c command) error {
	if !e.tell(c) {
		return ErrBusy
	}
	return nil
}

// maxRoomWait is the longest time between two attempts to post a command to a full ring.
const maxRoomWait = 5 * time.Millisecond

// waitingForRoom calls do again while it returns ErrBusy, and waits in between until ctx ends. Nothing is
// locked meanwhile.
func (e *Engine) waitingForRoom(ctx context.Context, do func() error) error {
	for wait := postWait; ; wait = min(2*wait, maxRoomWait) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := do(); !errors.Is(err, ErrBusy) || e.cfg.world != nil {
			return err
		}
		later := time.NewTimer(wait)
		select {
		case <-later.C:
		case <-ctx.Done():
		case <-e.done:
		}
		later.Stop()
	}
}
