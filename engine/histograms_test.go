package engine

import (
	"math"
	"testing"
	"time"
	"unsafe"

	"systole/engine/histogram"
	"systole/engine/internal/sim"
)

// all returns the histograms of h.
func (h *Histograms) all() []*histogram.Histogram {
	return []*histogram.Histogram{&h.RoundTrip, &h.Late, &h.Network, &h.Host, &h.Read, &h.SendWait}
}

// lossy drops one datagram in so many.
func lossy(w *world, in int) {
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if w.Random().IntN(in) == 0 {
			return nil
		}
		return []*sim.Datagram{d}
	}
}

// mustHistograms returns the histograms of a peer.
func mustHistograms(t *testing.T, p Peer, recent bool) Histograms {
	t.Helper()
	h, ok := p.Histograms(recent)
	if !ok {
		t.Fatalf("%v has no histograms", p)
	}
	return h
}

// The documentation of Config.PeerHistograms says what they take.
func TestMemoryOfHistograms(t *testing.T) {
	if n := unsafe.Sizeof(figures{}); n > 12_400 {
		t.Errorf("%d bytes", n)
	}
}

// Each accepted heartbeat is counted once in what was measured of it; the histograms of all peers are the sum of
// those of each.
func TestHistogramsAddUp(t *testing.T) {
	w := newWorld(t, 3)
	cfg := Config{PeerHistograms: true, Window: 4096, StampSends: 1}
	a, b, c := w.start(cfg), w.start(cfg), w.start(cfg)
	peers := []Peer{a.watch(b), a.watch(c)}
	b.watch(a)
	c.watch(a)
	w.run(45 * time.Second)
	var sum Histograms
	for _, p := range peers {
		h, samples := mustHistograms(t, p, false), make([]Sample, 4096)
		n, total := p.Samples(samples)
		if uint64(n) != total || n < 400 {
			t.Fatalf("%d of %d heartbeats", n, total)
		}
		var want Histograms
		for i := range n {
			s := &samples[i]
			want.Late.Record(s.Late)
			want.Network.Record(s.Network + s.SendWait)
			for q, d := range map[*histogram.Histogram]time.Duration{
				&want.RoundTrip: s.RoundTrip, &want.Read: s.Read, &want.Host: s.Host, &want.SendWait: s.SendWait,
			} {
				if d > 0 {
					q.Record(d)
				}
			}
		}
		for i, q := range h.all() {
			// What is told of a wait is believed once, and the window infers others.
			if wanted := want.all()[i]; *q != *wanted && q != &h.SendWait && q != &h.Network {
				t.Errorf("%v, distribution %d: %v instead of %v", p, i, q, wanted)
			}
			sum.all()[i].Add(q)
		}
		if h.Network.Count() != uint64(n) || h.RoundTrip.Count() < uint64(n)*9/10 || h.LossIn.Lost+h.LossOut.Lost > 0 {
			t.Errorf("%v: %+v", p, h)
		}
		sum.LossIn.add(h.LossIn.Lost, h.LossIn.Of)
		sum.LossOut.add(h.LossOut.Lost, h.LossOut.Of)
	}
	if n := sum.SendWait.Count(); n < 500 || n != a.Stats().Stamps.FollowUps {
		t.Errorf("%d waits were told, %d counted", a.Stats().Stamps.FollowUps, n)
	}
	if all := a.Histograms(false); all != sum {
		t.Errorf("of all peers %+v, not %+v", all, sum)
	}
}

// Losses each way are those that the network made, since AddPeer and over the last minute, and none is counted of
// what nobody told about.
func TestLossesEachWay(t *testing.T) {
	w := newWorld(t, 4)
	cfg := Config{PeerHistograms: true}
	a, b := w.start(cfg), w.start(cfg)
	p := a.watch(b)
	w.run(3 * time.Second) // nobody answers yet
	q := b.watch(a)
	w.run(2 * time.Second)
	if h := mustHistograms(t, p, false); h.LossIn.Lost+h.LossOut.Lost > 0 || h.LossIn.Of < 15 || h.LossOut.Of > 25 {
		t.Errorf("losses before there was any: %+v, %+v", h.LossIn, h.LossOut)
	}
	lossy(w, 5)
	w.run(2 * time.Minute)
	w.Mangle = nil
	w.run(time.Second)
	h, s, other := mustHistograms(t, p, false), p.Stats(), mustHistograms(t, q, false)
	if h.LossIn.Lost != s.LostIn || h.LossIn.Of > s.Received+s.LostIn || h.LossIn.Of+20 < s.Received+s.LostIn {
		t.Errorf("in %+v of %+v", h.LossIn, s)
	}
	if h.LossOut.Lost != other.LossIn.Lost || h.LossOut.Lost != s.LostOut || h.LossOut.Of > s.Sent {
		t.Errorf("out %+v, the peer says %+v", h.LossOut, other.LossIn)
	}
	for _, l := range []Loss{h.LossIn, h.LossOut} {
		if share := float64(l.Lost) / float64(l.Of); math.Abs(share-0.2) > 0.04 {
			t.Errorf("%+v is a share of %.3f", l, share)
		}
	}
	w.run(90 * time.Second)
	for _, h := range []Histograms{mustHistograms(t, p, true), a.Histograms(true)} {
		if h.LossIn.Lost+h.LossOut.Lost > 0 || h.LossIn.Of < 590 || h.LossIn.Of > 910 || h.LossOut.Of < 590 {
			t.Errorf("losses of the last minute: %+v, %+v", h.LossIn, h.LossOut)
		}
	}
}

// A peer that falls silent has no figures of the last minute after 90 s, and its old ones since AddPeer. A new
// incarnation adds to them. A peer in a slot that was another's begins with none.
func TestHistogramsOfSilentPeers(t *testing.T) {
	w := newWorld(t, 5)
	cfg := Config{PeerHistograms: true}
	a, b, c := w.start(cfg), w.start(cfg), w.start(cfg)
	p := a.watch(b)
	b.watch(a)
	w.run(2 * time.Minute)
	if h := mustHistograms(t, p, true); h.Late.Count() < 590 || h.Late.Count() > 910 {
		t.Errorf("%v in the last minute", h.Late)
	}
	before := mustHistograms(t, p, false)
	b.host.Crash()
	w.run(59 * time.Second)
	if h := mustHistograms(t, p, true); h.Late.Count() == 0 {
		t.Error("forgotten after 59 s")
	}
	w.run(32 * time.Second)
	if h := mustHistograms(t, p, true); h != (Histograms{}) {
		t.Errorf("silent for 90 s: %+v", h)
	}
	if h := mustHistograms(t, p, false); h != before {
		t.Errorf("since AddPeer %+v, not %+v", h, before)
	}
	w.boot(b, Config{ID: b.ID()})
	b.watch(a)
	w.run(5 * time.Second)
	h := mustHistograms(t, p, false)
	if n := h.Late.Count() - before.Late.Count(); n < 30 || n > 60 || h.LossOut.Of > before.LossOut.Of+60 || h.LossOut.Lost > 0 {
		t.Errorf("a new incarnation: %d heartbeats, %+v", n, h.LossOut)
	}
	all := a.Histograms(false)
	if err := a.RemovePeer(p); err != nil {
		t.Fatal(err)
	}
	w.run(time.Second)
	if _, ok := p.Histograms(false); ok {
		t.Error("a removed peer has histograms")
	}
	next := a.watch(c)
	w.run(time.Second)
	if h := mustHistograms(t, next, false); next.slot != p.slot || h != (Histograms{}) {
		t.Errorf("the next peer, in slot %d of %d, has %+v", next.slot, p.slot, h)
	}
	if got := a.Histograms(false); got != all {
		t.Errorf("of all peers %+v, not %+v", got, all)
	}
}

// By default peers have no histograms, and strangers are in none.
func TestHistogramsLeaveStrangersOut(t *testing.T) {
	w := newWorld(t, 6)
	a, b := w.start(Config{Accept: Accept{Anyone: true}}), w.start(Config{})
	p := b.watch(a)
	w.run(10 * time.Second)
	if _, ok := p.Histograms(false); ok {
		t.Error("there are histograms of a peer")
	}
	if s := a.Stats(); s.Peers.Watched != 1 || s.Heartbeats.Accepted < 50 {
		t.Fatalf("%+v", s)
	}
	if h := a.Histograms(false); h != (Histograms{}) {
		t.Errorf("of a stranger: %+v", h)
	}
	if h := b.Histograms(false); h.RoundTrip.Count() < 50 {
		t.Errorf("of a peer: %+v", h)
	}
	if _, ok := (Peer{}).Histograms(true); ok {
		t.Error("no peer has histograms")
	}
}
