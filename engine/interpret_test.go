package engine

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"systole/engine/internal/sim"
)

// running is the running form in virtual time: its actions run on goroutines, its steps
// are the test's.
func running(t *testing.T, n *node, l Levels, action func(context.Context, LevelEvent)) (*actions, *follower) {
	t.Helper()
	f := follow(n, l)
	f.deaf = true
	return newActions(t.Context(), l, action), f
}

// passRunning is pass for one that runs.
func passRunning(w *world, d time.Duration, a *actions, f *follower) {
	for end := w.now().Add(d); w.now() < end; {
		w.run(100 * time.Microsecond)
		if f.step() {
			a.hear(f.Interpreter)
		}
	}
}

// An action that is stuck delays nobody else, and the latest level follows it.
func TestStuckAction(t *testing.T) {
	w := newWorld(t, 1)
	a, b, c := w.start(tenth), w.start(tenth), w.start(tenth)
	pb, pc := a.watch(b), a.watch(c)
	b.watch(a)
	c.watch(a)
	w.run(2 * time.Second)
	stuck, told := make(chan struct{}), make(chan LevelEvent, 100)
	l := threeLevels
	inAction := make(chan struct{}, 1)
	r, f := running(t, a, l, func(_ context.Context, ev LevelEvent) {
		if ev.Peer == pb && ev.To == 1 {
			inAction <- struct{}{}
			<-stuck
		}
		told <- ev
	})
	other := follow(a, threeLevels)
	cut(w, true) // b
	passRunning(w, 50*time.Millisecond, r, f)
	<-inAction
	other.step()
	other.want("another subscriber", "0-1 alive")

	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if d.From == b.addr() || d.From == c.addr() {
			return nil
		}
		return []*sim.Datagram{d}
	}
	passRunning(w, 50*time.Millisecond, r, f)
	if ev := <-told; ev.Peer != pc || ev.To != 1 {
		t.Errorf("first told of %+v", ev)
	}
	passRunning(w, 500*time.Millisecond, r, f)
	close(stuck)
	last := map[Peer]int{pc: 1}
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
	if err := r.end(ErrClosed); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// On sockets: a peer that is closed without a goodbye is entered, one that is removed left;
// the call ends with its context, or with the engine.
func TestInterpret(t *testing.T) {
	local := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	server := open(t, Config{Listen: local, Accept: Accept{Anyone: true}})
	watcher := open(t, Config{Listen: local})
	p, err := watcher.AddPeer(PeerConfig{Addr: server.Addrs()[0]})
	if err != nil {
		t.Fatal(err)
	}
	if err := watcher.Interpret(context.Background(), Levels{}, nil); err == nil {
		t.Error("no levels are interpreted")
	}
	suspect, _ := watcher.StateLevels()
	l := Levels{List: []Level{{Name: "half", Raise: suspect / 2}, {Name: "suspect", Raise: suspect}}}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error)
	go func() { ended <- watcher.Interpret(ctx, l, nil) }()
	var mu sync.Mutex
	level := 0
	events := make(chan LevelEvent, 1000)
	go func() {
		ended <- watcher.Interpret(context.Background(), l, func(_ context.Context, ev LevelEvent) {
			mu.Lock()
			defer mu.Unlock()
			if ev.From != level || ev.Peer != p {
				t.Errorf("%+v at level %d", ev, level)
			}
			level = ev.To
			events <- ev
		})
	}()
	for p.State() != Alive {
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
		if ev.To == 0 && ev.State == Removed {
			break
		}
	}
	if err := watcher.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("with its engine it ended with %v", err)
	}
}

// On sockets: an action that ignores its context does not keep Interpret.
func TestStuckActionDoesNotKeepInterpret(t *testing.T) {
	local := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	server := open(t, Config{Listen: local, Accept: Accept{Anyone: true}})
	watcher := open(t, Config{Listen: local, Period: 10 * time.Millisecond})
	p, err := watcher.AddPeer(PeerConfig{Addr: server.Addrs()[0]})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	free := make(chan struct{})
	defer close(free)
	suspect, _ := watcher.StateLevels()
	l := Levels{List: []Level{{Name: "suspect", Raise: suspect, Enter: func(ctx context.Context, ev LevelEvent) {
		if ev.Peer != p || ctx.Err() != nil {
			t.Errorf("%+v, with a context that is %v", ev, ctx.Err())
		}
		cancel()
		<-free
	}}}}
	go func() {
		for p.State() != Alive {
			time.Sleep(time.Millisecond)
		}
		server.Close()
	}()
	err = watcher.Interpret(ctx, l, nil)
	var stuck *StuckError
	if !errors.As(err, &stuck) || stuck.Running != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}
