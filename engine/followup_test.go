package engine

import (
	"net/netip"
	"testing"
	"time"

	"systole/engine/enginetest/netmodel"
	"systole/engine/internal/network"
	"systole/engine/internal/sim"
	"systole/wire"
)

// stamping is a configuration that stamps one heartbeat in so many.
func stamping(every int) Config { return Config{StampSends: every, Period: 10 * time.Millisecond} }

// watching starts two nodes that watch each other, and returns b's peer a.
func watching(t *testing.T, a, b Config) (w *world, from, to *node, p Peer) {
	t.Helper()
	w = newWorld(t, 1)
	from, to = w.start(a), w.start(b)
	from.watch(to)
	p = to.watch(from)
	w.run(time.Second)
	if p.State() != Alive {
		t.Fatalf("%v", p.State())
	}
	return w, from, to, p
}

// tapped calls f with the header of each datagram that a node sends.
func (w *world) tapped(n *node, f func(h *wire.Header)) {
	w.Tap = func(d *sim.Datagram) {
		var h wire.Header
		if _, fault := wire.Decode(d.Data, &h); fault == wire.OK && d.From == n.addr() && !d.Refused {
			f(&h)
		}
	}
}

// W25: a wait in the sender's host is known as the host's, and not as the network's.
func TestWaitInTheSendersHost(t *testing.T) {
	const wait = 25 * time.Millisecond
	w, from, _, p := watching(t, stamping(1), Config{})
	if s := p.Stats(); s.SendWait == 0 || s.SendWait > time.Microsecond || s.WireDelay > time.Millisecond {
		t.Errorf("without a queue: %v at the host, %v on the way", s.SendWait, s.WireDelay)
	}
	seen, most := time.Duration(0), time.Duration(0)
	for range 20 {
		from.host.HoldSends(wait)
		for range 10 {
			w.run(5 * time.Millisecond)
			s := p.Stats()
			seen, most = max(seen, s.SendWait), max(most, s.WireDelay)
		}
	}
	if seen < wait*3/4 || seen > wait || most > time.Millisecond {
		t.Errorf("waits of up to %v: %v at the host, %v on the way", wait, seen, most)
	}
	w.SetLink(from.host, w.nodes[1].host, netmodel.Link{Delay: netmodel.Distribution{Kind: "uniform", Base: wait}})
	w.run(time.Second)
	if s := p.Stats(); s.SendWait > time.Millisecond || s.WireDelay < wait/2 {
		t.Errorf("on a slow network: %v at the host, %v on the way", s.SendWait, s.WireDelay)
	}
}

// Each peer is told of one heartbeat in StampSends, once, in the next heartbeat, and never in a datagram
// that is no heartbeat of its schedule.
func TestFollowUps(t *testing.T) {
	for _, every := range []int{0, 1, 3, 16, 100} {
		w := newWorld(t, 7)
		a := w.start(stamping(every))
		var b []*node
		for range 16 { // as many as one in 16 has turns
			n := w.start(Config{Period: 10 * time.Millisecond})
			a.watch(n)
			n.watch(a)
			b = append(b, n)
		}
		last := make(map[uint64]uint64)
		sent, told, turns := 0, 0, make(map[uint64]bool)
		w.tapped(a, func(h *wire.Header) {
			if wire.Slot(h.MyDiscriminator) != 0 {
				sent++
			}
			if h.Flags&wire.FlagFollowUp == 0 {
				return
			}
			told++
			turns[h.FollowUpSequence%uint64(every)] = true
			if wire.Slot(h.YourDiscriminator) == 0 || wire.Slot(h.MyDiscriminator) == 0 {
				t.Errorf("one in %d: a follow-up in an introduction, or an answer", every)
			}
			if h.FollowUpSequence != h.Sequence-1 || h.FollowUpSequence <= last[h.MyDiscriminator] || h.FollowUpWait == 0 {
				t.Errorf("one in %d: heartbeat %d follows up %d after %d, %d ns",
					every, h.Sequence, h.FollowUpSequence, last[h.MyDiscriminator], h.FollowUpWait)
			}
			last[h.MyDiscriminator] = h.FollowUpSequence
		})
		w.run(5 * time.Second)
		s := a.Stats()
		want := 0
		if every > 0 {
			want = sent / every
		}
		if told < want*9/10 || told > want+16 || s.Stamps.SendsStamped+16 < s.Stamps.SendsSampled || s.Stamps.SendsRefused+s.Sockets.Returned > 0 {
			t.Errorf("one in %d: %d of %d told, %+v", every, told, sent, s)
		}
		if every == 1 && s.Stamps.SendsSampled != uint64(sent) || every == 16 && len(turns) < 8 {
			t.Errorf("one in %d: %d of %d heartbeats sampled; peers have %d turns", every, s.Stamps.SendsSampled, sent, len(turns))
		}
		for _, n := range b {
			s := n.Stats()
			known := n.Snapshot(nil)[0].SendWait
			if got := int(s.Stamps.FollowUps); every > 0 && got < 500/every-6 || s.Stamps.FollowUpsRefused > 0 || (known != 0) != (every > 0) {
				t.Errorf("one in %d: %s has read %d, refused %d; %v", every, n.host.Name, got, s.Stamps.FollowUpsRefused, known)
			}
		}
	}
}

// Without stamps there are no follow-ups, and nothing waits for them.
func TestNoTransmitStamps(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(stamping(1)), w.start(stamping(1))
	a.host.NoStamps = true
	a.watch(b)
	p := b.watch(a)
	w.run(5 * time.Second)
	if s := a.Stats(); s.Stamps.SendsSampled < 400 || s.Stamps.SendsStamped > 0 || p.State() != Alive || p.Stats().SendWait != 0 {
		t.Errorf("%v, %v of %+v", p.State(), p.Stats().SendWait, s)
	}
}

// What the kernel says of a heartbeat is not told to another process, or another peer, or by an implausible
// clock.
func TestStampsThatAreNotTold(t *testing.T) {
	_, a, _, _ := watching(t, stamping(1), Config{})
	s := a.shards[0]
	slot := uint32(1)
	p := s.table.peer(slot)
	c, i := s.table.at(slot)
	stamp := func(change func(h *wire.Header), wait time.Duration) bool {
		h := wire.Header{
			Sender: a.id, Incarnation: s.incarnated, Sequence: p.sends.sequence.Get(), Period: 1000,
			SendInstant: int64(s.now.Add(-time.Second)), MyDiscriminator: p.session.mine, YourDiscriminator: p.session.theirs.Get(),
		}
		if change != nil {
			change(&h)
		}
		b, fault := wire.Append(nil, &h, nil)
		if fault != wire.OK {
			t.Fatal(fault)
		}
		c.handOffs[i] = 0
		at := s.reading.Wall - int64(time.Second) + int64(wait)
		s.sendStamped(&network.Returned{Stamp: at, Quoted: b})
		if got := time.Duration(uint32(c.handOffs[i])); got != 0 && got != wait {
			t.Errorf("%v instead of %v", got, wait)
		}
		return c.handOffs[i] != 0
	}
	refused := s.counters.sendStampsRefused.Get
	for _, test := range []struct {
		name    string
		change  func(h *wire.Header)
		wait    time.Duration
		told    bool
		refused uint64
	}{
		{"its own", nil, 300 * time.Millisecond, true, 0},
		{"another session's", func(h *wire.Header) { h.YourDiscriminator++ }, time.Millisecond, false, 0},
		{"another peer's", func(h *wire.Header) { h.MyDiscriminator += 1 << wire.SlotBits }, time.Millisecond, false, 0},
		{"an empty slot's", func(h *wire.Header) { h.MyDiscriminator++ }, time.Millisecond, false, 0},
		{"an answer's", func(h *wire.Header) { h.MyDiscriminator &^= 1<<wire.SlotBits - 1 }, time.Millisecond, false, 0},
		{"before it was written", nil, -100 * time.Millisecond, false, 1},
		{"not yet", nil, 1100 * time.Millisecond, false, 1},
	} {
		before := refused()
		if told := stamp(test.change, test.wait); told != test.told || refused()-before != test.refused {
			t.Errorf("%s: told %v, %d refused", test.name, told, refused()-before)
		}
	}
	before := refused()
	s.sendStamped(&network.Returned{Stamp: s.reading.Wall, Quoted: []byte("something else")})
	if refused() != before+1 {
		t.Error("a stamp of something else is not refused")
	}
}

// W25: a follow-up is believed of a heartbeat that came, for a wait that fits its delay, and else changes
// nothing.
func TestFollowUpsThatAreNotBelieved(t *testing.T) {
	w, a, b, p := watching(t, Config{Period: 10 * time.Millisecond}, Config{})
	for _, test := range []struct {
		name string
		ago  uint64
		wait time.Duration
		ok   bool
	}{
		{"none of it", 1, 0, true},
		{"as long as its delay allows", 2, time.Millisecond, true},
		{"longer than its delay", 1, 3 * time.Millisecond, false},
		{"nonsense", 1, 4 * time.Second, false},
		{"one that is not remembered", 30, time.Microsecond, false},
		{"one that never was", 1 << 40, time.Microsecond, false},
	} {
		before := b.Stats()
		stats, done := p.Stats(), false
		w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
			var h wire.Header
			if _, fault := wire.Decode(d.Data, &h); fault == wire.OK && d.From == a.addr() && !done {
				done = true
				h.Sequence += 1 << 41
				h.Flags |= wire.FlagFollowUp
				h.FollowUpSequence, h.FollowUpWait = h.Sequence-test.ago, uint32(test.wait)
				if test.ago < 1<<40 {
					h.Sequence -= 1 << 41
					h.FollowUpSequence -= 1 << 41
				}
				d.Data, _ = wire.Append(nil, &h, nil)
			}
			return []*sim.Datagram{d}
		}
		w.run(15 * time.Millisecond)
		w.Mangle = nil
		after := b.Stats()
		if after.Stamps.FollowUps-before.Stamps.FollowUps != count(test.ok) || after.Stamps.FollowUpsRefused-before.Stamps.FollowUpsRefused != count(!test.ok) {
			t.Errorf("%s: %d read, %d refused", test.name, after.Stamps.FollowUps-before.Stamps.FollowUps, after.Stamps.FollowUpsRefused-before.Stamps.FollowUpsRefused)
		}
		now := p.Stats()
		want := max(test.wait, 1)
		if !test.ok {
			want = stats.SendWait
		}
		if now.SendWait != want || !test.ok && now.WireDelay != stats.WireDelay || p.State() != Alive {
			t.Errorf("%s: %v, wait %v, on the way %v; before %v, %v", test.name, p.State(), now.SendWait, now.WireDelay, stats.SendWait, stats.WireDelay)
		}
	}
	b.accusedNobody()
}

// count is 1 for true.
func count(is bool) uint64 {
	if is {
		return 1
	}
	return 0
}

// W25: a new process of the peer has told nothing, and neither have we to it.
func TestFollowUpsEndWithTheSession(t *testing.T) {
	w, a, b, p := watching(t, stamping(1), stamping(1))
	if p.Stats().SendWait == 0 {
		t.Fatal("the first process tells nothing")
	}
	w.boot(a, Config{Period: 10 * time.Millisecond})
	a.watch(b)
	told, first := uint64(0), uint64(0)
	w.tapped(b, func(h *wire.Header) {
		if h.EchoIncarnation != a.Incarnation() || wire.Slot(h.MyDiscriminator) == 0 {
			return // to the former process, or an answer
		}
		if first == 0 {
			first = h.Sequence
		}
		if h.Flags&wire.FlagFollowUp != 0 && told == 0 {
			told = h.FollowUpSequence
		}
	})
	w.run(time.Second)
	if s := p.Stats(); s.State != Alive || s.SendWait != 0 || s.WireDelay != 0 {
		t.Errorf("%v; a process that tells nothing has waits of %v, %v", s.State, s.SendWait, s.WireDelay)
	}
	if told < first || told == 0 {
		t.Errorf("the new process was told of heartbeat %d, and the first to it was %d", told, first)
	}
}

// W25: who has not proved to hear us is told nothing.
func TestNoFollowUpsInIntroductions(t *testing.T) {
	w := newWorld(t, 1)
	a := w.start(stamping(1))
	if _, err := a.AddPeer(PeerConfig{Addr: netip.MustParseAddrPort("192.0.2.1:7853")}); err != nil {
		t.Fatal(err)
	}
	told := 0
	w.tapped(a, func(h *wire.Header) {
		if h.Flags&wire.FlagFollowUp != 0 {
			told++
		}
	})
	w.run(time.Second)
	if s := a.Stats(); s.Stamps.SendsStamped < 50 || told > 0 {
		t.Errorf("%d follow-ups in %d introductions, %d of them stamped", told, s.Heartbeats.Sent, s.Stamps.SendsStamped)
	}
}
