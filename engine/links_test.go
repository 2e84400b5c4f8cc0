package engine

import (
	"testing"
	"time"

	"systole/engine/detect/published"
	"systole/engine/internal/network"
)

// linksCounted fails the test unless the shard's count of peers with a fault of this host is
// the number of such peers, and want.
func (n *node) linksCounted(what string, want int) {
	n.world.t.Helper()
	flagged := 0
	for slot := range n.table.slots.Load() {
		if p := n.table.peer(slot); slot != 0 && p.session.mine != 0 && p.path.fault != NoCause {
			flagged++
		}
	}
	if got := n.shards[0].linksGone; got != flagged || got != want {
		n.world.t.Errorf("%s: %d counted, %d peers say so, want %d", what, got, flagged, want)
	}
}

// A peer that is removed during a fault of this host leaves no trace in the count, although its
// goodbye is the first datagram that the kernel takes again. The others are judged as before.
func TestRemovedWithoutALink(t *testing.T) {
	w := newWorld(t, 1)
	a, b, c := w.start(Config{}), w.start(Config{}), w.start(Config{})
	pb, pc := a.watch(b), a.watch(c)
	b.watch(a)
	c.watch(a)
	w.run(2 * time.Second)
	breakFor := func(d time.Duration) {
		a.host.Refuse = network.NoRoute
		w.run(d)
		a.host.Refuse = 0
	}
	breakFor(300 * time.Millisecond)
	a.linksCounted("no way out", 2)
	if err := a.RemovePeer(pb); err != nil {
		t.Fatal(err)
	}
	w.run(500 * time.Millisecond)
	a.linksCounted("removed", 0)
	breakFor(300 * time.Millisecond)
	w.run(2 * time.Second)
	a.linksCounted("back again", 0)
	c.host.Crash()
	w.run(10 * time.Second)
	if s := pc.State(); s != Failed {
		t.Errorf("a peer that died 10 s ago is %v", s)
	}
}

// A refused goodbye is counted, and does not touch the free slot.
func TestRefusedGoodbye(t *testing.T) {
	w, a, _, p := pair(t, Config{})
	before := a.Stats().Sockets.SendOurSide
	a.host.Refuse = network.NoRoute
	if err := a.RemovePeer(p); err != nil {
		t.Fatal(err)
	}
	w.run(10 * time.Millisecond)
	a.linksCounted("removed", 0)
	rec := p.record()
	missed := uint32(rec.counts.lostMissed.Get())
	if n := a.Stats().Sockets.SendOurSide - before; n != 1 || rec.path.fault != NoCause || missed != 0 {
		t.Errorf("%d refused, %v, %d missed in the free slot", n, rec.path.fault, missed)
	}
}

// A peer whose name gets another address counts as reachable until the kernel refuses that
// address as well. The peer's deadline restarts at the change.
func TestReaddressedWithoutALink(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	a.host.Refuse = network.NoRoute
	w.Cut(b.host, a.host)
	w.run(time.Minute)
	a.linksCounted("no way out", 1)
	other := network.AddrFrom(w.start(Config{}).host.Addr())
	a.shards[0].post(command{kind: commandAddress, slot: p.slot, generation: p.generation, watch: watch{addr: other}})
	a.host.Refuse = 0
	w.run(10 * time.Millisecond)
	a.linksCounted("another address", 0)
	if s := p.State(); s != Suspect {
		t.Errorf("%v, before the new address had its wait", s)
	}
	w.run(20 * time.Second)
	if s := p.State(); s != Failed {
		t.Errorf("%v, 20 s after nobody answered at the new address", s)
	}
}

// A peer's deadline restarts once, when the last fault has ended: also if the fault ended before the
// deadline, and whichever of carrier and route came back first. Found by seeds 50745 and 7000415 of
// enginetest.
func TestOneWaitAfterLinkFaults(t *testing.T) {
	const step = 100 * time.Millisecond
	type faults struct {
		unplugged bool
		refuse    network.Refusal
	}
	for name, steps := range map[string][]faults{
		"the carrier was gone for a while":          {{true, 0}},
		"first the carrier, then the route":         {{true, 0}, {true, 0}, {}, {false, network.NoRoute}},
		"the route is back before the carrier":      {{false, network.NoRoute}, {true, network.NoRoute}, {true, 0}, {true, 0}},
		"the carrier is back before the route":      {{true, 0}, {true, network.NoRoute}, {false, network.NoRoute}},
		"both are gone, and back, at the same time": {{true, network.NoRoute}, {true, network.NoRoute}},
	} {
		w, a, b, p := pair(t, Config{Period: 20 * time.Millisecond, Detector: published.Fixed(0, 0)})
		b.host.Crash()
		for _, f := range steps {
			a.host.Unplugged, a.host.Refuse = f.unplugged, f.refuse
			w.run(step)
		}
		a.host.Unplugged, a.host.Refuse = false, 0
		back := w.now()
		wait := p.Deadline(a.failLevel).Sub(p.Stats().LastArrival)
		w.run(3 * wait)
		if s := p.Stats(); s.State != Failed || s.Since.Sub(back) > wait+40*time.Millisecond {
			t.Errorf("%s: %v, %v after the way was back; %v are granted", name, s.State, s.Since.Sub(back), wait)
		}
	}
}

// After a change of routes, a refused peer is sent to through another socket, also if it is heard.
func TestOneWayIsReroutedAfterARefusal(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{}), w.start(Config{})
	p := a.watch(b)
	b.watch(a)
	w.run(time.Second)
	a.host.Refuse = network.Refused
	w.run(time.Second)
	if p.State() != OneWay {
		t.Fatalf("%v", p)
	}
	a.log = nil
	a.host.Route(b.host.Addr(), a.host.Addr())
	w.run(time.Second)
	s := a.shards[0]
	if got, want := s.table.peer(p.slot).path.epoch, uint16(s.net.Epoch()); got != want {
		t.Errorf("the socket was chosen at epoch %d of %d", got, want)
	}
	a.want("refused all the while")
}
