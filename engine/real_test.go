package engine

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"systole/engine/clock"
)

// open opens an engine on loopback and closes it with the test.
func open(t *testing.T, cfg Config) *Engine {
	t.Helper()
	if cfg.Listen == nil {
		cfg.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	}
	e, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// atMost returns n shards, or the one that portable sockets serve.
func atMost(n int) int {
	if onlyPortable {
		return 1
	}
	return n
}

// await waits for an event with the cause.
func await(t *testing.T, s *Subscription, cause Cause) Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		ev, err := s.Next(ctx)
		if err != nil {
			t.Fatalf("waiting for %v: %v", cause, err)
		}
		if ev.Cause == cause {
			return ev
		}
	}
}

// eventually waits for at most two seconds.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if is() {
			return
		}
	}
	t.Errorf("not within 10 s: %s", what)
}

func TestOverLoopback(t *testing.T) {
	for _, local := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(local, func(t *testing.T) {
			listen := []netip.AddrPort{netip.MustParseAddrPort(local)}
			a := open(t, Config{Listen: listen, Period: 10 * time.Millisecond})
			b := open(t, Config{Listen: listen, Period: 10 * time.Millisecond})
			events := a.Subscribe()
			p, err := a.AddPeer(PeerConfig{Addr: b.Addrs()[0]})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.AddPeer(PeerConfig{Addr: a.Addrs()[0]}); err != nil {
				t.Fatal(err)
			}
			await(t, events, FirstContact)
			time.Sleep(500 * time.Millisecond)
			if s := p.Stats(); s.State != Alive || s.Received < 20 || s.RoundTrip == 0 {
				t.Errorf("stats %+v", s)
			}
			if s := a.Stats(); !onlyPortable && s.Stamps.Arrivals[clock.Kernel] < s.Heartbeats.Accepted*9/10 {
				t.Errorf("%v of %d heartbeats stamped", s.Stamps.Arrivals, s.Heartbeats.Accepted)
			}
			t.Logf("%+v", a.Stats())
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if err := b.Shutdown(ctx); err != nil {
				t.Error(err)
			}
			await(t, events, Goodbye)
		})
	}
}

// A suspension of the machine is told, by a loop of the engine's own and by a program's: the
// monotonic clock stood still meanwhile, so nothing else shows it.
func TestSuspensionIsTold(t *testing.T) {
	e := open(t, Config{Manual: true})
	events := e.Subscribe()
	defer events.Close()
	r := clock.Read()
	for range 2 {
		if _, err := e.Turn(r); err != nil {
			t.Fatal(err)
		}
		e.shards[0].suspended -= time.Hour // as if the machine had been suspended for an hour since
		r.Now, r.Wall = r.Now.Add(2*time.Second), r.Wall+int64(2*time.Second)
	}
	var pause time.Duration
	events.OnNode = func(ev NodeEvent) {
		if ev.Cause == LocalPause && pause == 0 {
			pause = ev.Pause
		}
	}
	events.TryNext()
	if (pause - time.Hour).Abs() > time.Second {
		t.Errorf("told of a pause of %v", pause)
	}
}

// The loop wakes at a deadline however long the turn took that asked for it.
func TestWaitEndsAtTheDeadline(t *testing.T) {
	const turn = 5 * time.Millisecond
	s := open(t, Config{Manual: true}).shards[0]
	least := time.Hour
	for range 20 { // a busy machine wakes late now and then
		s.turn(clock.Read())
		time.Sleep(turn)
		next := clock.Now().Add(time.Millisecond)
		s.wait(next)
		late := clock.Now().Sub(next)
		if late < 0 {
			continue // woken before, which is no fault: it turns and waits again
		}
		least = min(least, late)
	}
	if least > turn/2 {
		t.Errorf("woke %v after the deadline at best, after turns of %v", least, turn)
	}
}

// Peers whose interface is absent are told apart, and are the same in the next list.
func TestSetPeersWithMissingInterface(t *testing.T) {
	a := open(t, Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("[::1]:0")}})
	var list []PeerConfig
	for _, addr := range []string{"[fe80::1%missing0]:7853", "[fe80::2%missing0]:7853", "[fe80::1%missing1]:7853"} {
		list = append(list, PeerConfig{Addr: netip.MustParseAddrPort(addr)})
	}
	set := func(added, removed int, list ...PeerConfig) {
		t.Helper()
		r, err := a.SetPeers(context.Background(), list)
		if err != nil || len(r.Added) != added || len(r.Removed) != removed {
			t.Errorf("%d added, %d removed, %v", len(r.Added), len(r.Removed), err)
		}
	}
	set(3, 0, list...)
	set(0, 0, list...)
	if _, err := a.AddPeer(list[2]); !errors.Is(err, ErrDuplicate) {
		t.Errorf("the same address again: %v", err)
	}
	set(0, 2, list[1])
	set(1, 0, list[0], list[1])
	set(0, 2)
}

// An address whose interface this host lacks is said to have no socket: the peer does not stay Connecting
// without a cause.
func TestMissingInterfaceIsTold(t *testing.T) {
	a := open(t, Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("[::]:0")}})
	s := a.Subscribe()
	defer s.Close()
	p, err := a.AddPeer(PeerConfig{Addr: netip.MustParseAddrPort("[fe80::1%missing0]:7853")})
	if err != nil {
		t.Fatal(err)
	}
	if ev := await(t, s, NoSocket); ev.Peer != p || ev.To != Connecting {
		t.Errorf("%v", ev)
	}
	time.Sleep(2 * backgroundEvery) // it is told once
	if ev, ok := s.TryNext(); ok {
		t.Errorf("told again: %v", ev)
	}
}
