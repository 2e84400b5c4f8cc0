package engine

import (
	"context"
	"errors"
)

// Shutdown says goodbye to every peer, so that they see Left and not a failure, then
// closes the engine. If ctx ends first it closes at once and returns ctx's error; likewise
// ErrBusy, if a shard's command ring is full. Any goroutine may call it, and several at
// once: each returns when the engine is closed, with nil if every goodbye was said, with
// ErrClosed if Close came first or came in between. On a Manual engine the program must go
// on turning meanwhile, from another goroutine, until Turn returns ErrClosed. In a simulated
// world Shutdown returns at once, and the engine closes when its turns have said every goodbye.
func (e *Engine) Shutdown(ctx context.Context) error {
	if e.stopping.Load() {
		return ErrClosed
	}
	if e.cfg.Network != nil {
		if !e.shards[0].post(command{kind: commandLeave}) {
			return ErrBusy
		}
		return nil
	}
	err := e.leave(ctx)
	closed := e.Close()
	if errors.Is(closed, ErrClosed) {
		<-e.done // another caller closes it, and err says all
		closed = nil
	}
	return errors.Join(err, closed)
}

// leave waits until every shard has said its goodbyes.
func (e *Engine) leave(ctx context.Context) error {
	for _, s := range e.shards {
		if !s.post(command{kind: commandLeave}) {
			return ErrBusy
		}
	}
	select {
	case <-e.departed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-e.done:
	}
	select {
	case <-e.departed:
		return nil
	default:
		return ErrClosed
	}
}

// depart notes that one shard more has said its goodbyes. Each calls it once.
func (e *Engine) depart() {
	if e.departures.Add(1) == int32(len(e.shards)) {
		close(e.departed)
	}
}

// Close stops at once, without goodbye: peers will see silence, or a refused port. Any
// goroutine may call it; a second call returns ErrClosed. It waits for turns that have begun.
func (e *Engine) Close() error {
	e.mu.Lock()
	closed := e.stopping.Swap(true)
	e.mu.Unlock()
	if closed {
		return ErrClosed
	}
	e.stop()
	e.stopShards()
	e.ended.Store(true)
	e.turning.Lock() // a program's own loop may be in a turn
	e.endPeers()
	err := e.closeSockets()
	e.turning.Unlock()
	close(e.done)
	return err
}

// Done returns a channel that is closed when the engine is closed, and every peer is Removed. Any
// goroutine may call it.
func (e *Engine) Done() <-chan struct{} { return e.done }

// endPeers makes every peer Removed: nobody is watched any more. No loop turns.
func (e *Engine) endPeers() {
	now := e.reading().Now
	for slot := uint32(1); slot < e.table.slots.Load(); slot++ {
		s := e.shards[e.shardOf(slot)]
		if p := e.table.peer(slot); p.session.mine != 0 {
			s.now = max(s.now, now)
			s.transition(p, slot, Removed, Closed, s.now)
			p.session.end()
		}
	}
}
