package engine

import (
	"context"
	"net/netip"
	"testing"
	"time"
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
			if s := a.Stats(); s.Stamped < s.Accepted*9/10 {
				t.Errorf("%d of %d heartbeats stamped", s.Stamped, s.Accepted)
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
