package engine

import (
	"net/netip"
	"testing"
	"time"

	"systole/engine/clock"
	"systole/engine/enginetest/netmodel"
	"systole/engine/internal/network"
	"systole/wire"
)

// below is an Arrivals whose datagrams and stamps a test writes.
type below struct {
	theirs  map[uint64]uint64
	waiting []belowDatagram
	stamp   func(sequence uint64) (clock.Stamp, bool)
	left    func(sequence uint64) (clock.Instant, bool)
}

type belowDatagram struct {
	data    []byte
	from    netip.AddrPort
	arrival clock.Stamp
}

func (b *below) Watch(ours, theirs uint64) {
	if b.theirs == nil {
		b.theirs = make(map[uint64]uint64)
	}
	if delete(b.theirs, ours); theirs != 0 {
		b.theirs[ours] = theirs
	}
}

func (b *below) Next(_ uint64, _ clock.Instant, buf []byte) (n int, from netip.AddrPort, arrival clock.Stamp) {
	if len(b.waiting) == 0 {
		return 0, from, arrival
	}
	d := b.waiting[0]
	b.waiting = b.waiting[1:]
	copy(buf, d.data)
	return len(d.data), d.from, d.arrival
}

func (b *below) Arrived(_, sequence uint64) (clock.Stamp, bool) {
	if b.stamp == nil {
		return clock.Stamp{}, false
	}
	return b.stamp(sequence)
}

func (b *below) HandedOff(_, sequence uint64) (clock.Instant, bool) {
	if b.left == nil {
		return 0, false
	}
	return b.left(sequence)
}

// pairBelow returns two nodes that watch each other. The arrivals of a are below.
func pairBelow(t *testing.T) (w *world, a, b *node, p Peer, source *below) {
	source = new(below)
	w = newWorld(t, 1)
	a, b = w.start(Config{ID: 1, Arrivals: source}), w.start(Config{ID: 2})
	p = a.watch(b)
	b.watch(a)
	w.run(time.Second)
	if len(source.theirs) != 1 || source.theirs[a.peerAt(p.slot).session.mine] != a.peerAt(p.slot).session.theirs.Get() {
		t.Fatalf("watched %x", source.theirs)
	}
	return w, a, b, p, source
}

// A taken datagram is checked like any other. Whatever is wrong with it is counted, and the peer is not heard.
func TestTakenDatagramsAreChecked(t *testing.T) {
	w, a, b, p, source := pairBelow(t)
	now := w.now()
	good := heartbeatOf(p)
	encode := func(change func(h *wire.Header)) []byte {
		h := good
		change(&h)
		data, fault := wire.Append(nil, &h, nil)
		if fault != wire.OK {
			t.Fatal(fault)
		}
		return data
	}
	before, heard := a.Stats(), p.Stats().Received
	for _, data := range [][]byte{
		[]byte("garbage"),
		make([]byte, 9000),
		encode(func(h *wire.Header) { h.YourDiscriminator++ }),
		encode(func(h *wire.Header) { h.MyDiscriminator++ }),
		encode(func(h *wire.Header) { h.Incarnation++ }),
	} {
		source.waiting = append(source.waiting, belowDatagram{data, b.host.Addr(), clock.Stamp{At: now, Source: clock.NIC}})
	}
	n := uint64(len(source.waiting))
	b.host.Unplugged = true
	w.run(150 * time.Millisecond) // until the next heartbeat is sent
	after := a.Stats()
	refused := after.Refused.Stale - before.Refused.Stale
	for i := range after.Refused.Faults {
		refused += after.Refused.Faults[i] - before.Refused.Faults[i]
	}
	if len(source.waiting) > 0 || refused != n || after.Sockets.Received-before.Sockets.Received != n || after.Stamps.Taken != before.Stamps.Taken || p.Stats().Received != heard {
		t.Errorf("%d left, %d refused, heard %d more; %+v", len(source.waiting), refused, p.Stats().Received-heard, after)
	}
}

// A stamp of below counts only within the session and until the present turn.
func TestStampsFromBelow(t *testing.T) {
	w, a, _, p, source := pairBelow(t)
	var last [1]Sample
	newest := func() Sample {
		w.run(200 * time.Millisecond)
		if n, _ := p.Samples(last[:]); n != 1 {
			t.Fatal("no sample")
		}
		return last[0]
	}
	source.stamp = func(uint64) (clock.Stamp, bool) {
		return clock.Stamp{At: a.host.Now().Now - 6e6, Source: clock.NIC}, true
	}
	if s := newest(); s.Source != clock.NIC || s.Host+s.Read != 6*time.Millisecond || s.Host == 0 || s.Read == 0 {
		t.Errorf("a plausible stamp: %+v", s)
	}
	refused := a.Stats().Stamps.Refused
	for name, at := range map[string]func() clock.Instant{
		"zero":               func() clock.Instant { return 0 },
		"in the future":      func() clock.Instant { return a.host.Now().Now.Add(time.Second) },
		"before the session": func() clock.Instant { return a.host.Now().Now.Add(-time.Minute) },
	} {
		source.stamp = func(uint64) (clock.Stamp, bool) { return clock.Stamp{At: at(), Source: clock.BPF}, true }
		if s := newest(); s.Source != clock.Kernel || a.Stats().Stamps.Refused == refused {
			t.Errorf("%s: %+v, %d refused", name, s, a.Stats().Stamps.Refused-refused)
		}
		refused = a.Stats().Stamps.Refused
	}
	a.accusedNobody()
}

// The source learns each session, and its end.
func TestArrivalsLearnSessions(t *testing.T) {
	w, a, b, p, source := pairBelow(t)
	mine := a.peerAt(p.slot).session.mine
	theirs := source.theirs[mine]
	w.boot(b, Config{ID: 2}) // a restart
	b.watch(a)
	w.run(time.Second)
	if now := source.theirs[mine]; len(source.theirs) != 1 || now == theirs || now == 0 {
		t.Errorf("after a restart: %x, was %x", source.theirs, theirs)
	}
	b.host.Crash()
	w.run(10 * time.Second)
	if p.State() != Failed || len(source.theirs) != 0 {
		t.Errorf("%v, watched %x", p.State(), source.theirs)
	}
	w.boot(b, Config{ID: 2})
	b.watch(a)
	w.run(time.Second)
	if p.State() != Alive || len(source.theirs) != 1 {
		t.Errorf("%v, watched %x", p.State(), source.theirs)
	}
	if err := a.RemovePeer(p); err != nil {
		t.Fatal(err)
	}
	w.run(time.Second)
	if len(source.theirs) != 0 {
		t.Errorf("watched after RemovePeer: %x", source.theirs)
	}
}

// What is read from below before an introduction leaves the introduction its own source.
func TestIntroductionKeepsItsSource(t *testing.T) {
	w, a, b, p, source := pairBelow(t)
	b.host.Unplugged = true
	w.run(20 * time.Millisecond)
	now := a.host.Now().Now
	earlier, later := heartbeatOf(p), heartbeatOf(p)
	later.Sequence++
	data, fault := wire.Append(nil, &earlier, nil)
	if fault != wire.OK {
		t.Fatal(fault)
	}
	s := a.shards[0]
	source.waiting = []belowDatagram{{data, b.host.Addr(), clock.Stamp{At: s.now, Source: clock.NIC}}}
	s.read(&letter{
		kind: letterProven, slot: p.slot, generation: p.generation,
		introduction: introduction{h: later, from: b.addr(), arrival: now, stampedBy: clock.Kernel},
	})
	var last [2]Sample
	if n, _ := p.Samples(last[:]); n != 2 || last[0].Source != clock.NIC || last[1].Source != clock.Kernel {
		t.Errorf("%d samples: %+v", n, last)
	}
}

// A heartbeat that waited for longer than a period is told of, once, and so are those after it.
func TestHandOffsAfterPeriods(t *testing.T) {
	const period, wait = 10 * time.Millisecond, 25 * time.Millisecond
	source := new(below)
	cfg := Config{Period: period, Arrivals: source, Window: 16}
	w, from, to, p := watching(t, cfg, Config{Period: period, Window: 16})
	sent := make(map[uint64]clock.Instant)
	told := make(map[uint64]int)
	w.tapped(from, func(h *wire.Header) {
		sent[h.Sequence] = clock.Instant(h.SendInstant)
		if h.Flags&wire.FlagFollowUp != 0 {
			told[h.FollowUpSequence]++
			if d := time.Duration(h.FollowUpWait) - wait; d < 0 || d > 64 {
				t.Errorf("heartbeat %d waited %v too long", h.FollowUpSequence, d)
			}
		}
	})
	w.SetLink(from.host, to.host, netmodel.Link{Delay: netmodel.Distribution{Kind: "constant", Base: wait}})
	w.run(200 * time.Millisecond)
	source.left = func(sequence uint64) (clock.Instant, bool) {
		at, ok := sent[sequence]
		return at.Add(wait), ok && at.Add(wait) <= from.host.Now().Now
	}
	w.run(time.Second)
	for sequence, times := range told {
		if times != 1 {
			t.Errorf("heartbeat %d is told of %d times", sequence, times)
		}
	}
	if s := to.Stats(); len(told) < 90 || s.Stamps.FollowUps < 90 || s.Stamps.FollowUpsRefused > 0 || from.Stats().Stamps.SendsRefused > 0 {
		t.Errorf("%d told; %+v", len(told), s)
	}
	var last [16]Sample
	n, _ := p.Samples(last[:])
	for _, s := range last[:n-5] {
		if s.SendWait < wait || s.SendWait > wait+64 || s.Network > time.Millisecond {
			t.Errorf("%+v", s)
		}
	}
}

// A heartbeat that was taken while the kernel refused ours is no proof that the fault is over, also where
// the routes have changed.
func TestTakenWhileSendsAreRefused(t *testing.T) {
	w, a, b, p, source := pairBelow(t)
	b.host.Unplugged = true
	a.host.Refuse = network.NoRoute
	w.run(150 * time.Millisecond)
	if s := p.Stats(); s.State != Suspect || s.Cause != LocalNoRoute {
		t.Fatalf("%v, %v", s.State, s.Cause)
	}
	h := heartbeatOf(p)
	data, fault := wire.Append(nil, &h, nil)
	if fault != wire.OK {
		t.Fatal(fault)
	}
	source.waiting = []belowDatagram{{data, b.host.Addr(), clock.Stamp{At: a.host.Now().Now, Source: clock.NIC}}}
	a.host.Route(b.host.Addr(), a.host.Addr()) // a change of the routes, to what they were
	w.run(150 * time.Millisecond)
	for _, ev := range a.log {
		if ev.Cause == ReachableAgain {
			t.Errorf("%v → %v, %v", ev.From, ev.To, ev.Cause)
		}
	}
	if s := p.Stats(); len(source.waiting) > 0 || s.State != OneWay || s.Cause != LocalNoRoute {
		t.Errorf("%v, %v", s.State, s.Cause)
	}
}
