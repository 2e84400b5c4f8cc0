package engine

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// book is a resolver that knows one address, or none.
type book struct{ addr netip.Addr }

// LookupNetIP returns the address.
func (b *book) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	if !b.addr.IsValid() {
		return nil, errors.New("no such host")
	}
	return []netip.Addr{b.addr}, nil
}

// Of a name that does not resolve the log hears once, as an error: nothing is sent until it
// does, so nothing else would say why. It is looked up again until it resolves.
func TestNameThatDoesNotResolve(t *testing.T) {
	var log bytes.Buffer
	names := &book{}
	w := newWorld(t, 1)
	b := w.start(Config{})
	a := w.start(Config{Resolver: names, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError}))})
	b.watch(a)
	p, err := a.AddPeer(PeerConfig{Name: "b.test:7946"})
	if err != nil {
		t.Fatal(err)
	}
	w.run(30 * time.Second)
	if said := log.String(); p.State() != Connecting || strings.Count(said, "\n") != 1 || !strings.Contains(said, "b.test:7946") || !strings.Contains(said, "no such host") {
		t.Errorf("state %v, said %q", p.State(), said)
	}
	names.addr = b.host.Addr().Addr()
	w.run(30 * time.Second)
	if p.State() != Alive || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("state %v after the name resolves, said %q", p.State(), log.String())
	}
}

// eventful is a resolver to which something happens during its first lookup.
type eventful struct {
	book
	happens func()
	hosts   []string // that were asked for
}

// LookupNetIP returns the address after what happens.
func (v *eventful) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	v.hosts = append(v.hosts, host)
	if happens := v.happens; happens != nil {
		v.happens = nil
		happens()
	}
	return v.book.LookupNetIP(ctx, network, host)
}

// watchedByName returns a world in which b watches a, which is about to look up b's name.
func watchedByName(t *testing.T, cfg Config) (w *world, a, b *node, p Peer, names *eventful) {
	t.Helper()
	w = newWorld(t, 1)
	b = w.start(cfg)
	names = &eventful{book: book{b.host.Addr().Addr()}}
	a = w.start(Config{Resolver: names})
	b.watch(a)
	p, err := a.AddPeer(PeerConfig{Name: "b.test:7946"})
	if err != nil {
		t.Fatal(err)
	}
	return w, a, b, p, names
}

// A lookup that ends after its peer was removed changes nothing: neither is that name looked up
// again, nor does it take the place of the peer that has the slot now.
func TestLookupThatEndsAfterItsPeer(t *testing.T) {
	for _, reused := range []bool{false, true} {
		w, a, _, p, names := watchedByName(t, Config{})
		var next Peer
		names.happens = func() {
			if err := a.RemovePeer(p); err != nil {
				t.Error(err)
			}
			a.shards[0].commands()
			a.shards[0].transmit() // after which the slot is free
			if !reused {
				return
			}
			var err error
			if next, err = a.AddPeer(PeerConfig{Name: "two.test:7946"}); err != nil || next.slot != p.slot {
				t.Errorf("slot %d in place of %d: %v", next.slot, p.slot, err)
			}
		}
		w.run(20 * time.Second)
		if n := len(names.hosts); names.hosts[0] != "b.test" || slices.Contains(names.hosts[1:], "b.test") {
			t.Errorf("reused %v: after its peer was removed, its name was looked up in %d lookups: %q", reused, n, names.hosts)
		}
		if reused && next.State() != Alive {
			t.Errorf("the peer that has the slot now is %v", next.State())
		}
	}
}

// An address that the shard had no room to be told of is told again.
func TestAddressIsToldAgain(t *testing.T) {
	w, a, _, p, names := watchedByName(t, Config{})
	names.happens = func() {
		for a.shards[0].ring.TryPush(command{kind: commandRead}) {
		}
	}
	w.run(2 * resolveEvery)
	if p.State() != Alive {
		t.Errorf("%v, sent to %d times", p.State(), p.Stats().Sent)
	}
}

// A peer that turned out to have the id under which another one is added gives way to that
// one, is told apart from a stranger that was forgotten, and its name is looked up no more.
func TestReplacedPeer(t *testing.T) {
	w, a, b, p, names := watchedByName(t, Config{ID: 77})
	w.run(2 * time.Second)
	if p.State() != Alive || p.ID() != 77 {
		t.Fatalf("%v", p)
	}
	a.log = nil
	q := a.watch(b, func(c *PeerConfig) { c.ID = 77 })
	w.run(10 * time.Second)
	a.want("replaced", "alive removed replaced", "connecting alive first-contact")
	if p.State() != Removed || q.State() != Alive || a.Stats().Peers != 1 {
		t.Errorf("%v, then %v; %d peers", p, q, a.Stats().Peers)
	}
	asked := len(names.hosts)
	w.run(time.Minute)
	if len(names.hosts) != asked {
		t.Errorf("the name of a peer that is gone was looked up %d times", len(names.hosts)-asked)
	}
	b.accusedNobody()
}
