package engine

import (
	"context"
	"fmt"
	"time"

	"systole/engine/clock"
)

// actionGrace is how long Interpret waits at its end for what it called: time to hear of an
// ended context and to return, and not more, since what does not listen may never return.
const actionGrace = time.Second

// Interpret follows the levels of every peer for l until ctx is done or the engine is
// closed. For each change it calls the Leave or Enter of the levels passed, and action,
// which may be nil: at most l.Parallel at once, on goroutines that begin when they are needed
// and end when nothing is left to call.
//
// Each level of each peer has its Enter and Leave called one at a time, and so has each peer
// its action; all others run beside them. One that is stuck delays no loop, no other
// subscriber, no other peer and no other level of its own peer, as long as l.Parallel is not
// reached. When it returns, the latest level of its peer follows, if that makes a
// difference. What came between is in Merged, except changes that cancelled each other out.
//
// For one change the functions begin in the order of the levels passed, action last, but
// they do not wait for each other. Who needs the changes of a peer in one line uses action.
//
// Interpret returns the faults of l, joined, ctx's error, or ErrClosed. The context of what
// it calls carries the values of ctx, and ends with it: then nothing more is called. When the
// engine is closed, the changes until then are still told, and the context ends as soon as
// all have been told and have returned, or 1 s later; what then is left is told with that
// ended context. Interpret waits until all have returned, at most for 1 s after
// their context has ended. Then it returns a *StuckError, which wraps ctx's error or ErrClosed.
//
// Beside what an Interpreter takes, a peer takes some hundred bytes while a call for it runs
// or waits, and each running call a goroutine.
//
// Any goroutine may call it. Engines opened with Config.Manual need their loop turned
// meanwhile.
func (e *Engine) Interpret(ctx context.Context, l Levels, action func(context.Context, LevelEvent)) error {
	in, err := e.Interpreter(l)
	if err != nil {
		return err
	}
	defer in.Close()
	a := newActions(ctx, in.levels, action)
	return a.end(a.follow(in))
}

// StuckError tells that Interpret has ended, but not all that it called.
type StuckError struct {
	// Running is how many functions had not returned 1 s after their context had ended.
	// They run on; nothing more is called when they return.
	Running int
	reason  error
}

// Error says how many functions still run.
func (e *StuckError) Error() string {
	return fmt.Sprintf("engine: Interpret: %v; %d of its actions still run %v after their context has ended: have them watch it",
		e.reason, e.Running, actionGrace)
}

// Unwrap returns why Interpret ended: its context's error, or ErrClosed.
func (e *StuckError) Unwrap() error { return e.reason }

// follow steps the interpreter until the context is done or the engine is closed.
func (a *actions) follow(in *Interpreter) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next := in.Step(clock.Now())
		a.hear(in)
		if next == clock.Never {
			timer.Stop()
		} else {
			timer.Reset(max(next.Sub(clock.Now()), 0))
		}
		select {
		case <-timer.C:
		case <-in.Wake():
		case <-a.until.Done():
			return a.until.Err()
		case <-in.engine.done:
			in.Step(clock.Now())
			for in.hear() { // one Step hears a bounded number
				a.hear(in)
			}
			a.hear(in)
			return ErrClosed
		}
	}
}

// hear takes what in has to tell.
func (a *actions) hear(in *Interpreter) {
	for {
		ev, ok := in.TryNext()
		if !ok {
			return
		}
		a.change(&ev)
	}
}

// end ends the actions after the last change and returns what Interpret returns for reason.
func (a *actions) end(reason error) error {
	quiet := a.last()
	if a.until.Err() == nil { // the engine is closed: all is told
		waitFor(actionGrace, quiet, a.until.Done())
	}
	a.cancel()
	waitFor(actionGrace, quiet, nil)
	if n := a.stop(); n > 0 {
		return &StuckError{n, reason}
	}
	return reason
}

// waitFor waits for d, until quiet or otherwise is closed.
func waitFor(d time.Duration, quiet, otherwise <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-quiet:
	case <-otherwise:
	case <-timer.C:
	}
}
