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

	"systole/engine/detect/published"
	"systole/wire"
)

// oneHost is a resolver that knows one address, or none.
type oneHost struct{ addr netip.Addr }

// LookupNetIP returns the address.
func (b *oneHost) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	if !b.addr.IsValid() {
		return nil, errors.New("no such host")
	}
	return []netip.Addr{b.addr}, nil
}

// Of a name that does not resolve the log hears once, as an error: nothing is sent until it
// does, so nothing else would say why. It is looked up again until it resolves.
func TestNameThatDoesNotResolve(t *testing.T) {
	var log bytes.Buffer
	names := &oneHost{}
	w := newWorld(t, 1)
	b := w.start(Config{})
	a := w.start(Config{Resolver: names, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError}))})
	b.watch(a)
	p, err := a.AddPeer(PeerConfig{Name: "b.test:7853", Tag: "rack 4"})
	if err != nil {
		t.Fatal(err)
	}
	w.run(30 * time.Second)
	if said := log.String(); p.State() != Connecting || strings.Count(said, "\n") != 1 || !strings.Contains(said, `peer.name=b.test:7853 peer.tag="rack 4"`) || !strings.Contains(said, "no such host") {
		t.Errorf("state %v, said %q", p.State(), said)
	}
	a.want("a name that does not resolve", "connecting connecting unresolved")
	names.addr = b.host.Addr().Addr()
	w.run(30 * time.Second)
	if p.State() != Alive || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("state %v after the name resolves, said %q", p.State(), log.String())
	}
}

// eventful is a resolver to which something happens during its first lookup.
type eventful struct {
	oneHost
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
	return v.oneHost.LookupNetIP(ctx, network, host)
}

// watchedByName returns a world in which b watches a, which is about to look up b's name.
func watchedByName(t *testing.T, cfg Config) (w *world, a, b *node, p Peer, names *eventful) {
	t.Helper()
	w = newWorld(t, 1)
	b = w.start(cfg)
	names = &eventful{oneHost: oneHost{b.host.Addr().Addr()}}
	a = w.start(Config{Resolver: names})
	b.watch(a)
	p, err := a.AddPeer(PeerConfig{Name: "b.test:7853"})
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
			if next, err = a.AddPeer(PeerConfig{Name: "two.test:7853"}); err != nil || next.slot != p.slot {
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
	w.run(10 * time.Second)
	if p.State() != Alive {
		t.Errorf("%v, sent to %d times", p.State(), p.Stats().Sent)
	}
}

// A name and its address are peers of their own. Of a node that watches us once, the second is alive by the
// answers to its introductions, and is judged by ConnectTimeout.
func TestNameAndAddressOfOneNode(t *testing.T) {
	w, a, b, p, names := watchedByName(t, Config{ID: 77})
	w.run(2 * time.Second)
	if p.State() != Alive || p.ID() != 77 {
		t.Fatalf("%v", p)
	}
	a.log, b.log = nil, nil
	q := a.watch(b, func(c *PeerConfig) { c.ID = 77 })
	w.run(time.Minute)
	a.want("its address as well", "connecting alive first-contact")
	b.want("two watches of one")
	if p.State() != Alive || q.State() != Alive || p == q || a.Stats().Peers.Watched != 2 || q.Stats().LostIn+q.Stats().LostOut != 0 {
		t.Errorf("%v and %v; %d peers", p, q, a.Stats().Peers.Watched)
	}
	b.host.Crash()
	w.run(7 * time.Second)
	if p.State() != Failed || q.State() != Failed {
		t.Errorf("%v and %v of a dead one", p, q)
	}
	if err := a.RemovePeer(p); err != nil {
		t.Fatal(err)
	}
	w.run(time.Second)
	asked := len(names.hosts)
	w.run(time.Minute)
	if len(names.hosts) != asked {
		t.Errorf("the name of a peer that is gone was looked up %d times", len(names.hosts)-asked)
	}
}

// hosts is a resolver that knows these addresses for every name.
type hosts struct{ addrs []netip.Addr }

// LookupNetIP returns the addresses.
func (h *hosts) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return slices.Clone(h.addrs), nil
}

// Where a name points wins over where heartbeats come from: whoever is at the old address is not the peer
// any more, and what it sends by the discriminator that it knows changes nothing.
func TestMovedByName(t *testing.T) {
	w := newWorld(t, 1)
	old, b := w.start(Config{}), w.start(Config{})
	names := &hosts{[]netip.Addr{old.host.Addr().Addr()}}
	a := w.start(Config{Resolver: names, Detector: published.Fixed(0, 0)})
	old.watch(a)
	b.watch(a)
	p, err := a.AddPeer(PeerConfig{Name: "b.test:7853"})
	if err != nil {
		t.Fatal(err)
	}
	w.run(2 * time.Second)
	mine := p.record().session.mine
	if p.State() != Alive || p.ID() != old.ID() {
		t.Fatalf("%v", p)
	}
	a.log = nil
	names.addrs = []netip.Addr{b.host.Addr().Addr()}
	w.run(20 * time.Second)
	a.want("its name has another address", "alive alive restarted")
	if p.State() != Alive || p.ID() != b.ID() || p.Addr() != b.host.Addr() || p.record().session.mine == mine {
		t.Errorf("%v at %v, where %x is, with the discriminator %x", p, p.Addr(), b.ID(), p.record().session.mine)
	}
	if p.record().session.mine&(1<<wire.SlotBits-1) != mine&(1<<wire.SlotBits-1) {
		t.Error("the slot has changed")
	}
	// Nobody is at the next one. The process that was at the name before goes on sending, to no avail.
	names.addrs = []netip.Addr{netip.MustParseAddr("10.0.0.99")}
	w.run(20 * time.Second)
	if p.State() != Failed {
		t.Errorf("%v, at an address where nobody is", p)
	}
}

// An address that is tried while a peer is silent has the peer's discriminator: it is the same peer, wherever
// it answers from.
func TestAddressesAreTriedWhileSilent(t *testing.T) {
	w := newWorld(t, 1)
	b := w.start(Config{Detector: published.Fixed(1000, 0)})
	nobody := netip.MustParseAddr("10.0.0.99")
	names := &hosts{[]netip.Addr{b.host.Addr().Addr(), nobody}}
	a := w.start(Config{Resolver: names, Detector: published.Fixed(0, 0)})
	b.watch(a)
	p, err := a.AddPeer(PeerConfig{Name: "b.test:7853"})
	if err != nil {
		t.Fatal(err)
	}
	w.run(2 * time.Second)
	mine := p.record().session.mine
	a.log = nil
	w.Cut(b.host, a.host)
	tried := false
	for range 1000 {
		w.run(time.Millisecond)
		tried = tried || p.Addr().Addr() == nobody
	}
	if !tried || p.State() != Suspect {
		t.Fatalf("%v, and the other address was tried: %v", p, tried)
	}
	w.Heal(b.host, a.host)
	w.run(time.Second)
	a.want("silent, and heard again", "alive suspect silence", "suspect alive reachable-again")
	w.run(10 * time.Second)
	if p.State() != Alive || p.Addr() != b.host.Addr() || p.record().session.mine != mine || p.Stats().LostIn > 20 {
		t.Errorf("%v at %v", p, p.Addr())
	}
}

// A name that turns out to have the address of an admitted stranger: the stranger gives way, and nobody is
// accused. The peer is judged by its heartbeats, as any.
func TestNamedPeerAtTheAddressOfAStranger(t *testing.T) {
	w := newWorld(t, 1)
	b := w.start(Config{})
	names := &hosts{[]netip.Addr{b.host.Addr().Addr()}}
	a := w.start(Config{Accept: Accept{Anyone: true}, Resolver: names})
	q := b.watch(a)
	w.run(10 * time.Second)
	stranger := a.watched(b)
	a.log, b.log = nil, nil
	p, err := a.AddPeer(PeerConfig{Name: "b.test:7853"})
	if err != nil {
		t.Fatal(err)
	}
	w.run(10 * time.Second)
	a.want("a name is added", "alive removed forgotten", "connecting alive first-contact")
	b.want("a name is added")
	if stranger.State() != Removed || p.State() != Alive || q.State() != Alive || a.Stats().Peers.Watched != 1 || p.Stats().Granted > 500*time.Millisecond {
		t.Errorf("%v, then %+v; the other side is %v", stranger, p.Stats(), q)
	}
	if s := q.Stats(); s.Mistakes+s.LostIn+s.LostOut > 0 {
		t.Errorf("the other side: %+v", s)
	}
}
