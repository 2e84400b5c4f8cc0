package engine

import (
	"context"
	"errors"
)

// Shutdown says goodbye to every peer, so that peers see Left and not a failure, then closes the
// engine. A stranger that was admitted a moment ago gets its goodbye for its next heartbeat, for which
// Shutdown waits up to 250 ms. It returns nil if all goodbyes were sent, ctx's error if ctx ended first, ErrBusy if the
// command ring of a shard was full, and ErrClosed if Close was called first or meanwhile. Any goroutine
// may call it, several at once: each returns when the engine is closed. On a Manual engine another goroutine must go on calling Turn until Turn returns ErrClosed. In a simulated
// world Shutdown returns at once, and the engine closes when its turns have sent all goodbyes.
func (e *Engine) Shutdown(ctx context.Context) error {
	if e.stopping.Load() {
		return ErrClosed
	}
	if e.cfg.world != nil {
		if !e.shards[0].post(command{kind: commandLeave}) {
			return ErrBusy
		}
		return nil
	}
	err := e.leave(ctx)
	closed := e.Close()
	if errors.Is(closed, ErrClosed) {
		<-e.done // another goroutine closes the engine; err is the result
		closed = nil
	}
	return errors.Join(err, closed)
}

// leave makes every shard send its goodbyes, and waits until all have.
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

// depart counts a shard that has sent its goodbyes. Each shard calls it once.
func (e *Engine) depart() {
	if e.departures.Add(1) == int32(len(e.shards)) {
		close(e.departed)
	}
}

// Close closes the engine at once, without goodbyes: peers will see silence, or an unreachable port. It
// waits for turns that have begun. A second call returns ErrClosed. Any goroutine may call it.
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
	e.turning.Lock() // the loop of a Manual program may be in a turn
	e.endPeers()
	err := e.closeSockets()
	e.turning.Unlock()
	e.contexts.close()
	close(e.done)
	return err
}

// Done returns a channel that is closed when the engine is closed, and every peer is Removed. Any
// goroutine may call it.
func (e *Engine) Done() <-chan struct{} { return e.done }

// endPeers makes every peer Removed. No loop runs any more.
func (e *Engine) endPeers() {
	now := e.reading().Now
	for slot := uint32(1); slot < e.table.slots.Load(); slot++ {
		s := e.shards[e.shardOf(slot)]
		if p := e.table.peer(slot); p.session.mine != 0 {
			s.now = max(s.now, now)
			s.transition(p, slot, Removed, Closed, s.now)
			s.unwatchBelow(p, slot)
			p.session.end()
		}
	}
}
