package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"systole/engine/internal/sim"
)

// running is the running form in virtual time: its actions run on goroutines, its steps
// are the test's.
func running(t *testing.T, n *node, l Levels, action func(LevelEvent)) (*interpretation, *follower) {
	t.Helper()
	f := follow(n, l)
	f.deaf = true
	r := &interpretation{in: f.Interpreter, action: action}
	r.work.L = &r.mu
	for range max(l.Parallel, 1) {
		r.workers.Add(1)
		go r.tell()
	}
	return r, f
}

// passRunning is pass for one that runs.
func passRunning(w *world, d time.Duration, r *interpretation, f *follower) {
	for end := w.now().Add(d); w.now() < end; {
		w.run(100 * time.Microsecond)
		if w.now() >= f.next || len(f.Wake()) > 0 {
			select {
			case <-f.Wake():
			default:
			}
			f.next = r.step(w.now())
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
	l.Parallel = 2
	inAction := make(chan struct{}, 1)
	r, f := running(t, a, l, func(ev LevelEvent) {
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
	r.end(true)
	r.workers.Wait()
}

// Enter and Leave alternate per peer and are nested, whatever was merged.
func TestActionsAreNested(t *testing.T) {
	var got []string
	note := func(what string) func(LevelEvent) {
		return func(ev LevelEvent) { got = append(got, what) }
	}
	l := Levels{}
	for i := range 3 {
		l.List = append(l.List, Level{
			Name: fmt.Sprint(i + 1), Raise: float64(i + 1),
			Enter: note(fmt.Sprint("+", i+1)), Leave: note(fmt.Sprint("-", i+1)),
		})
	}
	r := &interpretation{in: &Interpreter{levels: l}, action: note("then")}
	for _, ev := range []LevelEvent{{From: 0, To: 3}, {From: 3, To: 1}, {From: 1, To: 2}, {From: 2, To: 0}} {
		r.run(ev)
	}
	want := "[+1 +2 +3 then -3 -2 then +2 then -2 -1 then]"
	if fmt.Sprint(got) != want {
		t.Errorf("actions %v, want %v", got, want)
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
		ended <- watcher.Interpret(context.Background(), l, func(ev LevelEvent) {
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
