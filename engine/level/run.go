package level

import (
	"context"
	"errors"
	"fmt"
	"time"

	"systole/engine"
	"systole/engine/clock"
)

// Options are what Run does besides calling the functions of a List. A nil *Options is the zero one.
type Options struct {
	// Action is called for each change of a peer's level, if it is given.
	Action func(context.Context, Event)
	// Parallel is how many functions may run at once. 0 means 1024. Those beyond wait until one
	// returns, in the order in which they came to be called, and are then called for the latest
	// level of their peer, if that still asks for it. At most 65536. With 1, one that is stuck
	// holds up all others of this Run, and of no other.
	Parallel int
}

const (
	// defaultParallel is more than the peers that most nodes watch, and as goroutines
	// some MB; maxParallel is for nodes that watch as many and whose actions take long.
	defaultParallel = 1024
	maxParallel     = 65536
)

// validate reports every fault of o at once, each an *engine.FieldError, joined.
func (o *Options) validate() error {
	if o != nil && (o.Parallel < 0 || o.Parallel > maxParallel) {
		return errors.Join(fieldError("Parallel", "%d is not within 0 to %d", o.Parallel, maxParallel))
	}
	return nil
}

// actionGrace is how long Run waits at its end for what it called: time to notice an
// ended context and to return, and not more, since what ignores it may never return.
const actionGrace = time.Second

// Run follows the levels of every peer of e until ctx is done or the engine is
// closed. For each change it calls the Leave or Enter of the levels passed, and o.Action: at
// most o.Parallel at once, on goroutines that begin when they are needed and end when nothing
// is left to call.
//
// Each level of each peer has its Enter and Leave called one at a time, and so has each peer
// its action; all others run beside them. One that is stuck delays no loop, no other
// subscriber, no other peer and no other level of its own peer, as long as o.Parallel is not
// reached. When it returns, the latest level of its peer follows, if that makes a
// difference. What came between is in Event.Merged, except changes that cancelled each other out.
//
// For one change the functions begin in the order of the levels passed, the action last, but
// they do not wait for each other. A program that needs the changes of a peer in one line uses
// the action.
//
// Run returns the faults of l and o, joined, ctx's error, or engine.ErrClosed. The context of what
// it calls carries the values of ctx, and ends with it: then nothing more is called. When the
// engine is closed, the functions are still called for the changes until then, and the context
// ends as soon as all have returned, or 1 s later; what then is left is called with that
// ended context. Run waits until all have returned, at most for 1 s after their context has ended. Then
// its error wraps ErrStuck, and ctx's error or engine.ErrClosed, and says how many still run. Nothing
// more is called when they return.
//
// Beside what an Interpreter takes, a peer takes some hundred bytes while a call for it runs
// or waits, and each running call a goroutine.
//
// Any goroutine may call it. Engines opened with engine.Config.Manual need their loop turned
// meanwhile.
func Run(ctx context.Context, e *engine.Engine, l List, o *Options) error {
	if o == nil {
		o = &Options{}
	}
	if err := errors.Join(l.Validate(), o.validate()); err != nil {
		return err
	}
	in, err := NewInterpreter(e, l)
	if err != nil {
		return err
	}
	defer in.Close()
	a := newActions(ctx, in.levels, o)
	return a.end(a.follow(e, in))
}

// ErrStuck means that Run has ended, but not all that it called.
var ErrStuck = errors.New("level: actions still run")

// stuckError is an ErrStuck with its reason.
type stuckError struct {
	running int   // functions that had not returned 1 s after their context had ended
	reason  error // why Run ended: its context's error, or engine.ErrClosed
}

// Error says how many functions still run.
func (e *stuckError) Error() string {
	return fmt.Sprintf("level: Run: %v; %d of its actions still run %v after their context has ended: have them watch it",
		e.reason, e.running, actionGrace)
}

// Unwrap returns both kinds of the error.
func (e *stuckError) Unwrap() []error { return []error{ErrStuck, e.reason} }

// follow steps the interpreter until the context is done or the engine is closed.
func (a *actions) follow(e *engine.Engine, in *Interpreter) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next := in.Step(clock.Now())
		a.forward(in)
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
		case <-e.Done():
			in.Step(clock.Now())
			for in.readEvents() {
				// A Step reads a bounded number of them.
			}
			a.forward(in)
			return engine.ErrClosed
		}
	}
}

// forward passes on what in has for its reader.
func (a *actions) forward(in *Interpreter) {
	for {
		ev, ok := in.TryNext()
		if !ok {
			return
		}
		a.change(ev)
	}
}

// end ends the actions after the last change and returns what Run returns for reason.
func (a *actions) end(reason error) error {
	quiet := a.last()
	if a.until.Err() == nil { // the engine is closed: calls for its last changes are made
		waitFor(actionGrace, quiet, a.until.Done())
	}
	a.cancel()
	waitFor(actionGrace, quiet, nil)
	if n := a.stop(); n > 0 {
		return &stuckError{n, reason}
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
