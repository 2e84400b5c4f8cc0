package level

import (
	"container/list"
	"context"
	"sync"

	"systole/engine"
)

// actions calls the functions of a Run. Each level of a peer is a lane, in which one call runs at
// a time, and so is the peer's action. A lane that has something to call waits in line for a
// goroutine; a change that undoes the last one takes it out of line again. Only lanes that run or
// wait are kept: the functions of all others know the present level.
type actions struct {
	levels List
	action func(context.Context, Event)
	until  context.Context // after it nothing more is called
	ctx    context.Context // of every call
	cancel context.CancelFunc
	most   int // goroutines at once

	mu      sync.Mutex // protects what follows
	lanes   map[laneKey]*lane
	line    list.List // of the *lanes that wait
	running int       // goroutines
	stopped bool      // nothing more is called
	quiet   chan struct{}
}

// laneKey names a lane.
type laneKey struct {
	peer  engine.Peer
	level int // 0: the action
}

// lane is one level of one peer, or its action.
type lane struct {
	laneKey
	latest  *Event        // of the peer
	known   int           // the level that the function knows
	changes int           // of the peer's level, since known
	place   *list.Element // in line; nil: the lane runs
}

// newActions returns actions that run under ctx.
func newActions(ctx context.Context, l List, o *Options) *actions {
	a := &actions{levels: l, action: o.Action, until: ctx, most: o.Parallel, lanes: make(map[laneKey]*lane)}
	if a.most == 0 {
		a.most = defaultParallel
	}
	a.ctx, a.cancel = context.WithCancel(ctx)
	return a
}

// change takes the next change of a peer's level.
func (a *actions) change(ev Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := len(a.levels)
	for i := range n {
		if ev.To > ev.From {
			a.note(i+1, &ev)
		} else {
			a.note(n-i, &ev)
		}
	}
	a.note(0, &ev)
}

// note notes a change of a peer's level in one of its lanes.
func (a *actions) note(level int, ev *Event) {
	key := laneKey{ev.Peer, level}
	l, kept := a.lanes[key]
	if !kept {
		l = &lane{laneKey: key, known: ev.From}
	}
	l.latest = ev
	l.changes += ev.Merged + 1
	if !kept || l.place != nil {
		a.settle(l)
	}
}

// settle puts a lane that does not run in line, or takes it out, as the latest level asks.
func (a *actions) settle(l *lane) {
	switch wanted := a.function(l) != nil; {
	case wanted && l.place == nil:
		a.lanes[l.laneKey] = l
		l.place = a.line.PushBack(l)
		a.start()
	case !wanted:
		if l.place != nil {
			a.line.Remove(l.place)
		}
		delete(a.lanes, l.laneKey)
	}
}

// function returns what is to be called in a lane; nil if nothing is.
func (a *actions) function(l *lane) func(context.Context, Event) {
	to := l.latest.To
	switch {
	case l.level == 0 && l.known != to:
		return a.action
	case l.known < l.level && l.level <= to:
		return a.levels[l.level-1].Enter
	case to < l.level && l.level <= l.known:
		return a.levels[l.level-1].Leave
	}
	return nil
}

// start starts a goroutine if a lane waits and there may be one more.
func (a *actions) start() {
	if a.running < a.most && a.line.Len() > 0 && !a.over() {
		a.running++
		go a.run()
	}
}

// run makes the calls of lanes, those that wait longest first. A function that ends its goroutine
// (runtime.Goexit) ends this one, and another one goes on.
func (a *actions) run() {
	a.mu.Lock()
	defer a.exit()
	for a.line.Len() > 0 && !a.over() {
		a.call(a.line.Remove(a.line.Front()).(*lane))
	}
}

// exit ends a goroutine of run, which holds a.mu.
func (a *actions) exit() {
	defer a.mu.Unlock()
	a.running--
	a.start()
	a.closeQuiet()
}

// call makes the call of a lane that was taken out of line. It lets go of a.mu meanwhile. Another
// call follows if the level has changed then.
func (a *actions) call(l *lane) {
	f, ev := a.function(l), *l.latest
	ev.From, ev.FromName, ev.Merged = l.known, a.levels.name(l.known), l.changes-1
	l.known, l.changes, l.place = ev.To, 0, nil
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.settle(l)
	}()
	f(a.ctx, ev)
}

// last says that no more changes come. The channel it returns is closed when all calls are made
// and have returned.
func (a *actions) last() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.quiet = make(chan struct{})
	a.closeQuiet()
	return a.quiet
}

// closeQuiet closes quiet if no more changes come and no goroutine runs.
func (a *actions) closeQuiet() {
	if a.quiet != nil && a.running == 0 {
		close(a.quiet)
	}
}

// stop lets nothing more be called, and returns how many calls still run.
func (a *actions) stop() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopped = true
	return a.running
}

// over reports whether nothing more may be called.
func (a *actions) over() bool { return a.stopped || a.until.Err() != nil }
