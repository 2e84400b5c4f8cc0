package engine

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"systole/engine/detect/published"
	"systole/engine/internal/network"
	"systole/engine/internal/sim"
)

// A peer's address changes, and it stays the same peer.
func TestPeerMoves(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	a.log = nil
	id := p.ID()
	b.host.Move(netip.MustParseAddrPort("10.9.9.9:1"))
	w.run(5 * time.Second)
	a.want("a new address")
	if p.ID() != id || p.State() != Alive || a.Stats().Heartbeats.Moved != 1 {
		t.Errorf("peer %x is %v, %d moves", p.ID(), p.State(), a.Stats().Heartbeats.Moved)
	}
}

// An address at which a peer is watched is not watched twice, whatever the peer's state: the second
// peer would fail, never heard. It is free when the peer moves or RemovePeer is called.
func TestAddressIsWatchedOnce(t *testing.T) {
	w, a, b, p := pair(t, Config{Detector: published.Fixed(0, 0)})
	at := b.host.Addr()
	add := func(what string, want error) (q Peer) {
		t.Helper()
		q, err := a.AddPeer(PeerConfig{Addr: at})
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", what, err)
		}
		return q
	}
	add("alive", ErrDuplicate)
	w.Cut(b.host, a.host)
	w.run(20 * time.Second)
	add("failed", ErrDuplicate)
	w.Heal(b.host, a.host)
	if err := a.RemovePeer(p); err != nil {
		t.Fatal(err)
	}
	p = add("removed just now", nil)
	add("just now added", ErrDuplicate)
	w.run(5 * time.Second)
	if p.State() != Alive || a.Stats().Peers.Watched != 1 {
		t.Fatalf("%v, of %d peers", p, a.Stats().Peers.Watched)
	}
	b.host.Move(netip.MustParseAddrPort("10.9.9.9:1"))
	w.run(5 * time.Second)
	add("moved", ErrDuplicate) // it is watched for there, and there only
	at = b.host.Addr()
	add("where it has moved to", nil)
	w.run(time.Second)
	if n := a.Stats().Peers.Watched; n != 2 {
		t.Errorf("%d peers at two addresses", n)
	}
}

// A peer given by address is at home there: another process that gets the address, and proves itself
// there, is the peer, though the one that has moved away lives on elsewhere.
func TestOldAddressOfAPeerThatMovedWhileSilent(t *testing.T) {
	w, a, b, p := pair(t, Config{Detector: published.Fixed(0, 0)})
	old, id := b.host.Addr(), p.ID()
	w.Cut(b.host, a.host)
	w.Cut(a.host, b.host)
	w.run(800 * time.Millisecond)
	if p.State() != Suspect {
		t.Fatalf("%v", p)
	}
	b.host.Move(netip.MustParseAddrPort("10.9.9.9:1"))
	w.Heal(b.host, a.host)
	w.Heal(a.host, b.host)
	w.run(time.Minute)
	if p.State() != Alive || a.Stats().Heartbeats.Moved != 1 {
		t.Fatalf("%v after %d moves", p, a.Stats().Heartbeats.Moved)
	}
	a.log = nil
	c := w.startAt(old, Config{})
	c.watch(a)
	w.run(30 * time.Second)
	if p.ID() != c.ID() || p.State() != Alive || p.Addr() != old {
		t.Errorf("%v at %v, which was %x, and %x is at its address", p, p.Addr(), id, c.ID())
	}
	q := a.watch(b)
	w.run(10 * time.Second)
	if p.State() != Alive || q.State() != Alive || q.ID() != b.ID() {
		t.Errorf("%v, and there %v", p, q)
	}
}

// A failed peer that is heard from another address is written to there, and when it has ended there, where
// it was added.
func TestFailedPeerThatMoves(t *testing.T) {
	w, a, b, p := pair(t, Config{Detector: published.Fixed(0, 0)})
	old := b.host.Addr()
	w.Cut(b.host, a.host)
	w.run(20 * time.Second)
	if p.State() != Failed {
		t.Fatalf("%v", p)
	}
	b.host.Move(netip.MustParseAddrPort("10.9.9.9:1"))
	w.Heal(b.host, a.host)
	w.run(5 * time.Second)
	if p.State() != Alive || a.Stats().Heartbeats.Moved != 1 || p.Addr() != b.host.Addr() {
		t.Fatalf("%v at %v after %d moves", p, p.Addr(), a.Stats().Heartbeats.Moved)
	}
	b.host.Kill()
	c := w.startAt(old, Config{Accept: Accept{Anyone: true}})
	w.run(20 * time.Second)
	if p.State() != Alive || p.ID() != c.ID() || p.Addr() != old {
		t.Errorf("%v at %v, and %x is where it was added", p, p.Addr(), c.ID())
	}
}

// W21: heartbeats that come from another address as well move nobody there, unless that address answers;
// what goes there is no more than what comes from it.
func TestMovesOnlyWhereItIsAnswered(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	mallory, victim := w.start(Config{}), w.start(Config{})
	mallory.host.Crash()
	at := b.host.Addr()
	copied := 0
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if d.From != b.addr() || d.To != a.addr() {
			return []*sim.Datagram{d}
		}
		copied++ // and comes first
		from := []network.Addr{mallory.addr(), victim.addr()}[copied%2]
		return []*sim.Datagram{{At: d.At.Add(-50 * time.Microsecond), From: from, To: d.To, Data: d.Data}, d}
	}
	a.log, b.log = nil, nil
	before := victim.host.Socket().Arrived
	w.run(30 * time.Second)
	a.want("copied heartbeats")
	b.want("copied heartbeats")
	if p.Addr() != at || a.Stats().Heartbeats.Moved != 0 || copied < 250 {
		t.Errorf("%v after %d copies, %d moves", p.Addr(), copied, a.Stats().Heartbeats.Moved)
	}
	if n := victim.host.Socket().Arrived - before; n > uint64(copied)/2+1 {
		t.Errorf("%d datagrams reached who had sent none, for %d that seemed to come from there", n, copied/2)
	}
	// Who answers there, as a translator of addresses does that has begun anew, is where the peer is.
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		switch {
		case d.From == b.addr() && d.To == a.addr():
			d.From = mallory.addr()
		case d.To == mallory.addr():
			d.To = b.addr()
		case d.To == b.addr():
			return nil
		}
		return []*sim.Datagram{d}
	}
	w.run(time.Second)
	if p.Addr() != mallory.host.Addr() || a.Stats().Heartbeats.Moved != 1 || p.State() != Alive {
		t.Errorf("%v, which answers at %v, is written to at %v; %d moves", p, mallory.host.Addr(), p.Addr(), a.Stats().Heartbeats.Moved)
	}
	a.want("moved")
}

// rival gives the address at which n watches p from one host to another until p is the process there, and
// back. That process answers what it read at the address from its own address, where p follows it. The other
// one is not heard meanwhile.
func (n *node) rival(p Peer, at, rival *node) {
	w := n.world
	w.t.Helper()
	home := at.host.Addr()
	until := func(what string, ok func() bool) {
		w.t.Helper()
		for i := 0; !ok(); i++ {
			if i == 5000 {
				w.t.Fatalf("%s: %v at %v", what, p, p.Addr())
			}
			w.run(time.Millisecond)
		}
	}
	rival.host.Take(home)
	until("the rival is the peer", func() bool { return p.Stats().Incarnation == rival.Incarnation() })
	rival.host.Pause(true)
	w.run(20 * time.Millisecond)
	rival.host.Resume()
	w.Cut(at.host, n.host)
	at.host.Take(home)
	until("the peer follows the rival", func() bool { return p.Addr() == rival.host.Addr() })
	w.Heal(at.host, n.host)
}

// W21: a process at the peer's configured address is the peer, although another process, which had that address
// for a while, is heard elsewhere more often than an answer takes to be returned. The other process is
// then a stranger, and does not become the peer again.
func TestProcessAtHomeReplacesOneThatMovedAway(t *testing.T) {
	for name, ids := range map[string][2]uint64{"two ids": {41, 42}, "one id": {41, 41}} {
		t.Run(name, func(t *testing.T) {
			const often = 5 * time.Millisecond
			w := newWorld(t, 1)
			a := w.start(Config{Period: often, Accept: Accept{Anyone: true}})
			b := w.start(Config{ID: ids[0], Period: 20 * time.Millisecond})
			p, q := a.watch(b), b.watch(a)
			w.run(time.Second)
			c := w.start(Config{ID: ids[1]}) // of a greater incarnation
			r := c.watch(a)
			w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
				if d.To == a.addr() {
					d.At = d.At.Add(2 * often)
				}
				return []*sim.Datagram{d}
			}
			w.run(2 * time.Second)
			a.rival(p, b, c)
			a.log = nil
			w.run(20 * time.Second)
			changes := 0
			for _, ev := range a.log {
				if ev.Peer == p {
					changes++
				}
			}
			if s := p.Stats(); s.State != Alive || s.Incarnation != b.Incarnation() || s.Addr != b.host.Addr() || changes != 1 {
				t.Errorf("after %d transitions %v of incarnation %d at %v, where incarnation %d is", changes, p, s.Incarnation, s.Addr, b.Incarnation())
			}
			if q.State() != Alive || r.State() != Alive || a.Stats().Peers.Watched != 2 {
				t.Errorf("%v and %v; %d peers", q, r, a.Stats().Peers.Watched)
			}
		})
	}
}

// A peer that moves twice and comes back to its configured address is not away any more.
func TestPeerComesBackHome(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	at := b.host.Addr()
	for _, to := range []netip.AddrPort{netip.MustParseAddrPort("10.9.9.9:1"), netip.MustParseAddrPort("10.9.9.9:2"), at} {
		b.host.Move(to)
		w.run(2 * time.Second)
		if home := a.shards[0].home(p.record(), p.slot); p.Addr() != to || home.AddrPort() != at {
			t.Fatalf("at %v and at home at %v, not at %v and at home at %v", p.Addr(), home, to, at)
		}
	}
	if n := len(a.shards[0].homes); n != 0 || p.record().path.moved {
		t.Errorf("at home, and %d peers are away", n)
	}
}
