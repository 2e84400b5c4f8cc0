package engine

import (
	"context"
	"errors"
)

// Shutdown says goodbye to every peer, so that they see Left and not a failure, then
// closes the engine. If ctx ends first it closes at once and returns ctx's error. Any
// goroutine may call it. On a Manual engine the program must go on turning meanwhile,
// from another goroutine. In a simulated world Shutdown returns at once, and the engine
// closes when its turns have said every goodbye.
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
	return errors.Join(err, e.Close())
}

// leave waits until every shard has said its goodbyes.
func (e *Engine) leave(ctx context.Context) error {
	for _, s := range e.shards {
		if !s.post(command{kind: commandLeave}) {
			return ErrBusy
		}
	}
	for range e.shards {
		select {
		case <-e.departed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Close stops at once, without goodbye: peers will see silence, or a refused port. Any
// goroutine may call it; a second call returns ErrClosed.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return ErrClosed
	}
	e.closed = true
	e.mu.Unlock()
	e.stop()
	e.stopShards()
	err := e.closeSockets()
	close(e.done)
	return err
}

// post hands a command to the shard and wakes it. It reports false when the ring is full.
func (s *shard) post(c command) bool {
	if !s.ring.TryPush(c) {
		return false
	}
	s.net.Wake()
	return true
}
