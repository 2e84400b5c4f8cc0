package level

import (
	"container/list"
	"context"
	"sync"

	"systole/engine"
)

// actions calls the functions that Run was given. Each level of a peer is a lane, in
// which one call runs at a time, and so is the peer's catch-all action. A lane whose function
// is to be called waits in line for a goroutine; a change that undoes the last takes it
// out again. Only peers of which a call runs or waits are kept: of all others, the function of
// each lane knows the level that the interpreter told last.
type actions struct {
	levels List
	action func(context.Context, Event)
	until  context.Context // after it nothing more is called
	ctx    context.Context // of every call
	cancel context.CancelFunc
	most   int // goroutines at once

	mu      sync.Mutex // protects what follows
	peers   map[engine.Peer]*peerActions
	line    list.List // of the *lanes that wait
	running int       // goroutines
	stopped bool      // nothing more is called
	quiet   chan struct{}
}

// peerActions is what runs or waits for one peer.
type peerActions struct {
	latest Event
	lanes  []lane // the first is the action's, the i-th that of level i
	busy   int    // lanes that run or wait
}

// lane is one level of one peer, or its action.
type lane struct {
	of      *peerActions
	waits   *list.Element // its place in line; nil: it does not wait
	changes uint32        // of the peer's level, since told
	told    uint8         // the level that its function knows
	level   uint8         // 0: the action
	runs    bool
}

// newActions returns actions that run under ctx.
func newActions(ctx context.Context, l List, o *Options) *actions {
	a := &actions{levels: l, action: o.Action, until: ctx, most: o.Parallel, peers: make(map[engine.Peer]*peerActions)}
	if a.most == 0 {
		a.most = defaultParallel
	}
	a.ctx, a.cancel = context.WithCancel(ctx)
	return a
}

// change takes the next change of a peer's level.
func (a *actions) change(ev *Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.peers[ev.Peer]
	if p == nil {
		p = newPeerActions(len(a.levels), ev.From)
		a.peers[ev.Peer] = p
	}
	p.latest = *ev
	n := len(p.lanes) - 1
	for i := range n {
		if ev.To > ev.From {
			a.note(&p.lanes[i+1])
		} else {
			a.note(&p.lanes[n-i])
		}
	}
	a.note(&p.lanes[0])
	a.forget(p)
}

// newPeerActions returns the lanes of a peer of which all are told the level.
func newPeerActions(levels, level int) *peerActions {
	p := &peerActions{lanes: make([]lane, levels+1)}
	for i := range p.lanes {
		p.lanes[i] = lane{of: p, level: uint8(i), told: uint8(level)}
	}
	return p
}

// note notes the latest change of its peer in a lane.
func (a *actions) note(l *lane) {
	l.changes += uint32(l.of.latest.Merged) + 1
	if !l.runs {
		a.settle(l)
	}
}

// settle puts a lane that does not run in line, or takes it out, as the latest level asks.
func (a *actions) settle(l *lane) {
	wanted, waits := a.function(l) != nil, l.waits != nil
	switch {
	case !wanted:
		if waits {
			a.line.Remove(l.waits)
			l.waits = nil
			l.of.busy--
		}
		l.told, l.changes = uint8(l.of.latest.To), 0
	case !waits:
		l.waits = a.line.PushBack(l)
		l.of.busy++
		a.start()
	}
}

// function returns what is to be called in a lane; nil if nothing is.
func (a *actions) function(l *lane) func(context.Context, Event) {
	told, to := l.told, uint8(l.of.latest.To)
	switch {
	case l.level == 0 && told != to:
		return a.action
	case told < l.level && to >= l.level:
		return a.levels[l.level-1].Enter
	case told >= l.level && to < l.level && l.level > 0:
		return a.levels[l.level-1].Leave
	}
	return nil
}

// forget drops a peer of which nothing runs or waits.
func (a *actions) forget(p *peerActions) {
	if p.busy == 0 {
		delete(a.peers, p.latest.Peer)
	}
}

// start starts a goroutine if there may be one more and a lane waits for it.
func (a *actions) start() {
	if a.running < a.most && a.line.Len() > 0 && !a.over() {
		a.running++
		go a.run()
	}
}

// run makes calls until no more are to be made. An action that ends its goroutine (runtime.Goexit)
// costs this one, and another follows.
func (a *actions) run() {
	defer a.leave()
	for a.callNext() {
	}
}

// leave ends a goroutine of actions.
func (a *actions) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.running--
	a.start()
	a.settleDown()
}

// callNext makes the call of the lane that waits longest; false if none may be made.
func (a *actions) callNext() bool {
	l, f, ev := a.take()
	if l == nil {
		return false
	}
	defer a.release(l)
	f(a.ctx, ev)
	return true
}

// take takes a lane out of line, and returns what to call with what; nil if none waits
// that may be called.
func (a *actions) take() (l *lane, f func(context.Context, Event), ev Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	front := a.line.Front()
	if front == nil || a.over() {
		return nil, nil, ev
	}
	l = a.line.Remove(front).(*lane)
	f, ev = a.function(l), l.of.latest
	ev.From, ev.Merged = int(l.told), int(l.changes)-1
	ev.FromName = a.levels.name(ev.From)
	l.waits, l.runs = nil, true
	l.told, l.changes = uint8(ev.To), 0
	return l, f, ev
}

// release ends the call in a lane; another follows if the level has changed meanwhile.
func (a *actions) release(l *lane) {
	a.mu.Lock()
	defer a.mu.Unlock()
	l.runs = false
	l.of.busy--
	a.settle(l)
	a.forget(l.of)
}

// last says that no more changes come. The channel it returns is closed when all is told
// and has returned.
func (a *actions) last() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.quiet = make(chan struct{})
	a.settleDown()
	return a.quiet
}

// settleDown closes quiet when it is.
func (a *actions) settleDown() {
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
