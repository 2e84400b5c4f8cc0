package level

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"systole/engine"
	"systole/engine/enginetest"
)

// levelled feeds actions as an interpreter does: of each peer it knows the level.
type levelled struct {
	*actions
	levels map[engine.Peer]int
}

func feed(ctx context.Context, l List, o Options) *levelled {
	return &levelled{newActions(ctx, l, &o), map[engine.Peer]int{}}
}

// nth returns a peer by number, below 1500.
func nth(i int) engine.Peer { return somePeers()[i] }

var somePeers = sync.OnceValue(func() (peers []engine.Peer) {
	h := enginetest.NewWorld(1).AddHost("host")
	e, err := h.Open(engine.Config{})
	if err != nil {
		panic(err)
	}
	for i := range uint64(1500) {
		p, err := e.AddPeer(engine.PeerConfig{Addr: h.Addr(), ID: i + 1})
		if err != nil {
			panic(err)
		}
		peers = append(peers, p)
	}
	return peers
})

// set changes the level of a peer.
func (f *levelled) set(p engine.Peer, to int) {
	if from := f.levels[p]; from != to {
		f.levels[p] = to
		f.change(Event{Peer: p, From: from, To: to})
	}
}

// calls notes the calls of actions, by peer.
type calls struct {
	mu  sync.Mutex
	log map[engine.Peer][]string
	// before is called by each call first, if it is given.
	before func(what string, p engine.Peer)
}

// of returns what notes a call by a name and its event.
func (c *calls) of(name string) func(context.Context, Event) {
	return func(_ context.Context, ev Event) {
		if c.before != nil {
			c.before(name, ev.Peer)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.log == nil {
			c.log = map[engine.Peer][]string{}
		}
		c.log[ev.Peer] = append(c.log[ev.Peer], fmt.Sprintf("%s %d-%d/%d", name, ev.From, ev.To, ev.Merged))
	}
}

// want fails the test unless the calls for a peer were these, once nothing moves; it
// forgets them.
func (c *calls) want(t *testing.T, what string, p engine.Peer, calls ...string) {
	t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if fmt.Sprint(c.log[p]) != fmt.Sprint(calls) {
		t.Errorf("%s: calls %q, want %q", what, c.log[p], calls)
	}
	delete(c.log, p)
}

// levels returns n levels whose calls c notes.
func (c *calls) levels(n int) (l List) {
	for i := range n {
		name := fmt.Sprint(i + 1)
		l = append(l, Threshold{Name: name, Raise: float64(i + 1), Enter: c.of("+" + name), Leave: c.of("-" + name)})
	}
	return l
}

// ends fails the test unless the actions end as nothing is left of them.
func (f *levelled) ends(t *testing.T) {
	t.Helper()
	if err := f.end(engine.ErrClosed); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("the end: %v", err)
	}
	if f.running != 0 || len(f.lanes) != 0 || f.line.Len() != 0 {
		t.Errorf("left: %d goroutines, %d lanes, %d in line", f.running, len(f.lanes), f.line.Len())
	}
}

// One at a time, the calls for a change come in the order of the levels passed.
func TestActionsBeginInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c calls
		f := feed(t.Context(), c.levels(3), Options{Action: c.of("then"), Parallel: 1})
		for _, step := range []struct {
			to   int
			want string
		}{
			{3, "+1 0-3/0 +2 0-3/0 +3 0-3/0 then 0-3/0"},
			{1, "-3 3-1/0 -2 3-1/0 then 3-1/0"},
			{2, "+2 1-2/0 then 1-2/0"},
			{0, "-2 2-0/0 -1 2-0/0 then 2-0/0"},
		} {
			f.set(nth(0), step.to)
			c.want(t, fmt.Sprint("to ", step.to), nth(0), step.want)
		}
		f.ends(t)
	})
}

// An action of one peer that is stuck delays none of a hundred others, nor the other levels
// of its own peer.
func TestStuckActionDelaysNoOtherPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		c := calls{before: func(what string, p engine.Peer) {
			if what == "+1" && p == nth(0) {
				<-stuck
			}
		}}
		var then calls
		f := feed(t.Context(), c.levels(2), Options{Action: then.of("then")})
		for i := range 101 {
			f.set(nth(i), 1)
		}
		for i := 1; i <= 100; i++ {
			c.want(t, "another peer", nth(i), "+1 0-1/0")
			then.want(t, "another peer's action", nth(i), "then 0-1/0")
		}
		for _, to := range []int{2, 0, 2, 0} {
			f.set(nth(0), to)
			synctest.Wait()
		}
		c.want(t, "its other level", nth(0), "+2 1-2/0", "-2 2-0/0", "+2 0-2/0", "-2 2-0/0")
		then.want(t, "its action", nth(0), "then 0-1/0", "then 1-2/0", "then 2-0/0", "then 0-2/0", "then 2-0/0")
		close(stuck)
		c.want(t, "what it missed, in one", nth(0), "+1 0-1/0", "-1 1-0/3")
		f.ends(t)
	})
}

// What changed and changed back while a call ran is not told.
func TestActionsThatCancelOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		c := calls{before: func(string, engine.Peer) { <-gate }}
		f := feed(t.Context(), c.levels(1), Options{})
		for _, to := range []int{1, 0, 1} {
			f.set(nth(0), to)
		}
		close(gate)
		c.want(t, "in, out, in", nth(0), "+1 0-1/0")
		f.set(nth(0), 0)
		c.want(t, "out", nth(0), "-1 1-0/0")
		f.ends(t)
	})
}

// Beyond Parallel calls wait in line. Peers that come and go meanwhile do not pile up.
func TestActionsBeyondParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		c := calls{before: func(_ string, p engine.Peer) {
			if p == nth(0) || p == nth(1) {
				<-gate
			}
		}}
		f := feed(t.Context(), c.levels(2), Options{Parallel: 2})
		f.set(nth(0), 1)
		f.set(nth(1), 1)
		for i := range 1000 {
			f.set(nth(10+i), 2)
			f.set(nth(10+i), 0)
		}
		for _, to := range []int{1, 2, 1} {
			f.set(nth(3), to)
		}
		synctest.Wait()
		if len(c.log) != 0 || f.running != 2 || len(f.lanes) != 3 || f.line.Len() != 1 {
			t.Errorf("%d peers told, %d goroutines, %d lanes, %d in line", len(c.log), f.running, len(f.lanes), f.line.Len())
		}
		close(gate)
		c.want(t, "when one is free", nth(3), "+1 0-1/2")
		c.want(t, "a peer that is gone", nth(17))
		f.set(nth(3), 0)
		f.set(nth(0), 0)
		f.set(nth(1), 0)
		f.ends(t)
	})
}

// By default 1024 calls run at once.
func TestParallelByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		c := calls{before: func(string, engine.Peer) { <-gate }}
		f := feed(t.Context(), c.levels(1), Options{})
		for i := range 1500 {
			f.set(nth(i), 1)
		}
		synctest.Wait()
		if f.running != 1024 || f.line.Len() != 1500-1024 {
			t.Errorf("%d run, %d wait", f.running, f.line.Len())
		}
		close(gate)
		synctest.Wait()
		if len(c.log) != 1500 || f.running != 0 {
			t.Errorf("%d peers told, %d goroutines left", len(c.log), f.running)
		}
		f.ends(t)
	})
}

// laneCheck holds what is promised for one lane against its calls.
type laneCheck struct {
	name  string
	level int // 0: the action
	runs  bool
	knows int // the level that was told last
	calls int
}

// call fails the test unless a call may come now with an event.
func (c *laneCheck) call(t *testing.T, ev Event, enter bool) {
	c.calls++
	switch {
	case c.runs:
		t.Errorf("%s: two at once", c.name)
	case ev.From == ev.To || ev.Merged < 0:
		t.Errorf("%s: %+v", c.name, ev)
	case c.level == 0 && ev.From != c.knows:
		t.Errorf("%s: from %d, told of %d before", c.name, ev.From, c.knows)
	case c.level > 0 && (enter == (c.knows >= c.level) || enter != (ev.To >= c.level) || enter != (ev.From < c.level)):
		t.Errorf("%s: enter %v at %d, told of %d before", c.name, enter, ev.To, c.knows)
	}
	c.runs, c.knows = true, ev.To
}

// Whatever levels do and however long calls take, in each lane calls alternate and never
// overlap, and the last tells the latest level.
func TestActionsInRandomTimes(t *testing.T) {
	const peers, levels = 20, 4
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			var mu sync.Mutex
			var lanes [peers][levels + 1]laneCheck
			at, most := 0, 0
			call := func(level int, enter bool) func(context.Context, Event) {
				return func(_ context.Context, ev Event) {
					mu.Lock()
					c := &lanes[slices.Index(somePeers(), ev.Peer)][level]
					c.call(t, ev, enter)
					at++
					most = max(most, at)
					d := time.Duration(random.IntN(20)) * time.Millisecond
					mu.Unlock()
					time.Sleep(d)
					mu.Lock()
					c.runs = false
					at--
					mu.Unlock()
					if d == 0 && level == 1 {
						runtime.Goexit() // as t.FailNow does
					}
				}
			}
			o, l := Options{Action: call(0, false), Parallel: []int{0, 1, 7}[seed%3]}, List{}
			for i := range levels {
				l = append(l, Threshold{Name: fmt.Sprint(i), Raise: float64(i + 1), Enter: call(i+1, true), Leave: call(i+1, false)})
			}
			f := feed(t.Context(), l, o)
			for p := range peers {
				for i := range levels + 1 {
					lanes[p][i] = laneCheck{name: fmt.Sprintf("seed %d, peer %d, lane %d", seed, p, i), level: i}
				}
			}
			for range 3000 {
				mu.Lock()
				p, to, d := nth(random.IntN(peers)), random.IntN(levels+1), time.Duration(random.IntN(1500))*time.Microsecond
				mu.Unlock()
				f.set(p, to)
				time.Sleep(d)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			for p := range peers {
				for i := range levels + 1 {
					c, to := &lanes[p][i], f.levels[nth(p)]
					if i == 0 && c.knows != to || i > 0 && (c.knows >= i) != (to >= i) || o.Parallel == 0 && c.calls == 0 {
						t.Errorf("%s: told %d in %d calls, at last it is %d", c.name, c.knows, c.calls, to)
					}
				}
			}
			if o.Parallel > 0 && most > o.Parallel {
				t.Errorf("%d at once, of %d", most, o.Parallel)
			}
			f.ends(t)
		})
	}
}

// How Run ends, by what its actions do.
func TestEndOfActions(t *testing.T) {
	for _, test := range []struct {
		what     string
		closed   bool // the engine, and not the context
		action   func(ctx context.Context, free chan struct{})
		parallel int
		takes    time.Duration
		running  int
		told     int // of two peers, one of which changes once more while its first call runs
	}{
		{what: "they listen", action: listens, told: 2},
		{what: "they return after a while", action: sleeps(300 * time.Millisecond), takes: 300 * time.Millisecond, told: 2},
		{what: "they ignore it", action: ignores, takes: time.Second, running: 2, told: 2},
		{what: "one is free, and ignores it", action: ignores, parallel: 1, takes: time.Second, running: 1, told: 1},
		{what: "closed, they return after a while", closed: true, action: sleeps(300 * time.Millisecond), takes: 600 * time.Millisecond, told: 3},
		{what: "closed, they listen", closed: true, action: listens, takes: time.Second, told: 3},
		{what: "closed, one is free, and listens", closed: true, action: listens, parallel: 1, takes: time.Second, told: 3},
		{what: "closed, they take longer", closed: true, action: sleeps(1500 * time.Millisecond), takes: 2 * time.Second, running: 1, told: 3},
		{what: "closed, they ignore it", closed: true, action: ignores, takes: 2 * time.Second, running: 2, told: 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			free, told := make(chan struct{}), 0
			var mu sync.Mutex
			f := feed(ctx, List{{Name: "one", Raise: 1}}, Options{Parallel: test.parallel, Action: func(ctx context.Context, _ Event) {
				mu.Lock()
				told++
				mu.Unlock()
				test.action(ctx, free)
			}})
			f.set(nth(0), 1)
			f.set(nth(1), 1)
			synctest.Wait()
			f.set(nth(0), 0)
			reason := engine.ErrClosed
			if !test.closed {
				cancel()
				reason = ctx.Err()
			}
			start := time.Now()
			err := f.end(reason)
			if took := time.Since(start); took != test.takes {
				t.Errorf("%s: took %v, want %v", test.what, took, test.takes)
			}
			var stuck *stuckError
			if errors.As(err, &stuck); !errors.Is(err, reason) || (stuck != nil) != (test.running > 0) || stuck != nil && stuck.running != test.running {
				t.Errorf("%s: %v", test.what, err)
			}
			close(free)
			time.Sleep(time.Minute)
			synctest.Wait()
			if told != test.told || f.running != 0 {
				t.Errorf("%s: %d told, want %d; %d goroutines left", test.what, told, test.told, f.running)
			}
		})
	}
}

func listens(ctx context.Context, _ chan struct{})  { <-ctx.Done() }
func ignores(_ context.Context, free chan struct{}) { <-free }

func sleeps(d time.Duration) func(context.Context, chan struct{}) {
	return func(context.Context, chan struct{}) { time.Sleep(d) }
}
