package level

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"systole/engine"
)

// passRunning is pass for the running form: its actions run on goroutines, its steps are the
// test's. The follower is deaf.
func (w *world) passRunning(d time.Duration, a *actions, f *follower) {
	for end := w.now().Add(d); w.now() < end; {
		w.Run(100 * time.Microsecond)
		if f.step() {
			a.forward(f.Interpreter)
		}
	}
}

// An action that is stuck delays nobody else, and the latest level follows it.
func TestStuckAction(t *testing.T) {
	w := newWorld(t, tenth)
	third := w.AddHost("third")
	w.open(third, tenth)
	pb, pc := w.peer, w.watch(w.watcher, third, 0)
	w.watch(third, w.watcher, 0)
	w.Run(2 * time.Second)
	stuck, told := make(chan struct{}), make(chan Event, 100)
	inAction := make(chan struct{}, 1)
	r := newActions(t.Context(), threeLevels, &Options{Action: func(_ context.Context, ev Event) {
		if ev.Peer == pb && ev.To == 1 {
			inAction <- struct{}{}
			<-stuck
		}
		told <- ev
	}})
	f := follow(w, threeLevels)
	f.deaf = true
	other := follow(w, threeLevels)
	w.cut(true)
	w.passRunning(50*time.Millisecond, r, f)
	<-inAction
	other.step()
	other.want("another subscriber", "0-1 alive")

	w.Cut(third, w.watcher)
	w.passRunning(50*time.Millisecond, r, f)
	if ev := <-told; ev.Peer != pc || ev.To != 1 {
		t.Errorf("first told of %+v", ev)
	}
	w.passRunning(500*time.Millisecond, r, f)
	close(stuck)
	last := map[engine.Peer]int{pc: 1}
	merged := 0
	for last[pb] != 3 || last[pc] != 3 {
		ev := <-told
		if ev.From != last[ev.Peer] {
			t.Errorf("%v from %d, told of %d before", ev.Peer, ev.From, last[ev.Peer])
		}
		last[ev.Peer] = ev.To
		if ev.Peer == pb {
			merged += ev.Merged
		}
	}
	if merged != 1 { // 0-1 was told, 1-2 and 2-3 became one
		t.Errorf("%d changes merged", merged)
	}
	if err := r.end(engine.ErrClosed); !errors.Is(err, engine.ErrClosed) {
		t.Error(err)
	}
}

// open opens an engine that is closed when the test ends.
func open(t *testing.T, cfg engine.Config) *engine.Engine {
	t.Helper()
	e, err := engine.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// On sockets: a peer that is closed without a goodbye is entered, one that is removed left;
// the call ends with its context, or with the engine.
func TestRun(t *testing.T) {
	local := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	server := open(t, engine.Config{Listen: local, Accept: engine.Accept{Anyone: true}})
	watcher := open(t, engine.Config{Listen: local})
	p, err := watcher.AddPeer(engine.PeerConfig{Addr: server.Addrs()[0]})
	if err != nil {
		t.Fatal(err)
	}
	if err := Run(context.Background(), watcher, nil, nil); err == nil {
		t.Error("no levels are interpreted")
	}
	suspect, _ := watcher.StateLevels()
	l := List{{Name: "half", Raise: suspect / 2}, {Name: "suspect", Raise: suspect}}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error)
	go func() { ended <- Run(ctx, watcher, l, nil) }()
	var mu sync.Mutex
	level := 0
	events := make(chan Event, 1000)
	go func() {
		ended <- Run(context.Background(), watcher, l, &Options{Action: func(_ context.Context, ev Event) {
			mu.Lock()
			defer mu.Unlock()
			if ev.From != level || ev.Peer != p {
				t.Errorf("%+v at level %d", ev, level)
			}
			level = ev.To
			events <- ev
		}})
	}()
	for p.State() != engine.Alive {
		time.Sleep(time.Millisecond)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	for ev := range events {
		if ev.To == 2 {
			break
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("with its context it ended with %v", err)
	}
	if err := watcher.RemovePeer(p); err != nil {
		t.Fatal(err)
	}
	for ev := range events {
		if ev.To == 0 && ev.State == engine.Removed {
			break
		}
	}
	if err := watcher.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, engine.ErrClosed) {
		t.Errorf("with its engine it ended with %v", err)
	}
}

// On sockets: an action that ignores its context does not keep Run.
func TestStuckActionDoesNotKeepRun(t *testing.T) {
	local := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	server := open(t, engine.Config{Listen: local, Accept: engine.Accept{Anyone: true}})
	watcher := open(t, engine.Config{Listen: local, Period: 10 * time.Millisecond})
	p, err := watcher.AddPeer(engine.PeerConfig{Addr: server.Addrs()[0]})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	free := make(chan struct{})
	defer close(free)
	suspect, _ := watcher.StateLevels()
	l := List{{Name: "suspect", Raise: suspect, Enter: func(ctx context.Context, ev Event) {
		if ev.Peer != p || ctx.Err() != nil {
			t.Errorf("%+v, with a context that is %v", ev, ctx.Err())
		}
		cancel()
		<-free
	}}}
	go func() {
		for p.State() != engine.Alive {
			time.Sleep(time.Millisecond)
		}
		server.Close()
	}()
	err = Run(ctx, watcher, l, nil)
	var stuck *stuckError
	if !errors.As(err, &stuck) || !errors.Is(err, ErrStuck) || stuck.running != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}
