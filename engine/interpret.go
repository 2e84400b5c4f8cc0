package engine

import (
	"context"
	"errors"
	"sync"
	"time"

	"systole/engine/clock"
)

// Interpret follows the levels of every peer for l until ctx is done or the engine is
// closed. For each change it calls the Leave or Enter of the levels passed, then action,
// which may be nil. They run on goroutines of this call, at most l.Parallel at once and
// one at a time for each peer: one that is stuck delays neither a loop nor another
// subscriber, and when it returns the latest level of its peer follows.
//
// Interpret returns the faults of l, joined, ctx's error, or ErrClosed once every change
// was told. It waits for actions that still run. Any goroutine may call it. Engines opened with
// Config.Manual need their loop turned meanwhile.
func (e *Engine) Interpret(ctx context.Context, l Levels, action func(LevelEvent)) error {
	in, err := e.Interpreter(l)
	if err != nil {
		return err
	}
	defer in.Close()
	r := &interpretation{in: in, action: action}
	r.work.L = &r.mu
	for range max(l.Parallel, 1) {
		r.workers.Add(1)
		go r.tell()
	}
	err = r.follow(ctx)
	r.end(errors.Is(err, ErrClosed))
	r.workers.Wait()
	return err
}

// interpretation is a running Interpreter: one goroutine steps it, others run actions.
type interpretation struct {
	action  func(LevelEvent)
	workers sync.WaitGroup

	mu       sync.Mutex // protects what follows
	work     sync.Cond
	in       *Interpreter
	ended    bool // no more actions begin
	draining bool // no more changes come
}

// follow steps the interpreter until ctx is done or the engine is closed.
func (r *interpretation) follow(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next := r.step(clock.Now())
		if next == clock.Never {
			timer.Stop()
		} else {
			timer.Reset(max(next.Sub(clock.Now()), 0))
		}
		select {
		case <-timer.C:
		case <-r.in.Wake():
		case <-ctx.Done():
			return ctx.Err()
		case <-r.in.engine.done:
			r.step(clock.Now())
			return ErrClosed
		}
	}
}

// step steps the interpreter once and wakes those who tell.
func (r *interpretation) step(now clock.Instant) clock.Instant {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := r.in.Step(now)
	if r.in.waiting() {
		r.work.Broadcast()
	}
	return next
}

// end lets the telling goroutines end: at once, or when all is told.
func (r *interpretation) end(told bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended, r.draining = !told, true
	r.work.Broadcast()
}

// tell runs actions until there are no more.
func (r *interpretation) tell() {
	defer r.workers.Done()
	for {
		ev, slot, ok := r.take()
		if !ok {
			return
		}
		r.run(ev)
		r.release(slot)
	}
}

// take waits for a change to tell; false when no more are to be told.
func (r *interpretation) take() (ev LevelEvent, slot uint32, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.ended {
		if ev, slot, ok = r.in.take(); ok || r.draining {
			return ev, slot, ok
		}
		r.work.Wait()
	}
	return LevelEvent{}, 0, false
}

// release lets the peer in slot be told of again.
func (r *interpretation) release(slot uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.in.release(slot)
	if r.in.waiting() {
		r.work.Signal()
	}
}

// run calls the actions of one change.
func (r *interpretation) run(ev LevelEvent) {
	list := r.in.levels.List
	for i := ev.From; i > ev.To; i-- {
		if leave := list[i-1].Leave; leave != nil {
			leave(ev)
		}
	}
	for i := ev.From; i < ev.To; i++ {
		if enter := list[i].Enter; enter != nil {
			enter(ev)
		}
	}
	if r.action != nil {
		r.action(ev)
	}
}
