package engine

import (
	"net/netip"
	"testing"
	"time"

	"systole/engine/detect/published"
	"systole/engine/internal/network"
	"systole/engine/internal/sim"
	"systole/wire"
)

func TestRestart(t *testing.T) {
	w, a, b, p := pair(t, Config{ID: 0})
	id := p.ID()
	a.log = nil
	w.boot(b, Config{ID: id})
	b.watch(a)
	w.run(time.Second)
	a.want("a restart within a period", "alive alive restarted")
	if s := p.Stats(); s.Incarnation != b.Incarnation() {
		t.Errorf("incarnation %d, want %d", s.Incarnation, b.Incarnation())
	}
}

// A process without an id of its own starts anew under another one at its address.
func TestRestartWithNewID(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	a.log = nil
	b.host.Kill()
	w.run(time.Second)
	w.boot(b, Config{Accept: Accept{Anyone: true}})
	w.run(2 * time.Second)
	a.want("a new process", "alive suspect port-unreachable", "suspect failed port-unreachable",
		"failed alive restarted")
	if p.ID() != b.ID() {
		t.Errorf("peer has id %x, the process %x", p.ID(), b.ID())
	}
}

// The same at a node that admits strangers: the peer of that address is the new process as soon as the
// old one is silent, and no stranger beside it.
func TestRestartWithNewIDWhereStrangersAreAdmitted(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{Accept: Accept{Anyone: true}}), w.start(Config{})
	p := a.watch(b)
	b.watch(a)
	w.run(2 * time.Second)
	w.boot(b, Config{})
	q := b.watch(a)
	a.log, b.log = nil, nil
	w.run(20 * time.Second)
	a.want("the old process, then the new one", "alive alive restarted")
	b.want("the new process", "connecting alive first-contact")
	if p.ID() != b.ID() || q.State() != Alive || a.Stats().Peers.Watched != 1 {
		t.Errorf("%v, which is %x; the other side is %v; %d peers", p, b.ID(), q.State(), a.Stats().Peers.Watched)
	}
	if s := q.Stats(); s.LostIn+s.LostOut > 0 || s.Duplicated+s.Reordered > 0 {
		t.Errorf("two peers write to one process: %+v", s)
	}
}

// With Final, a process that was failed stays so, although another one answered at its address before
// its last heartbeats came.
func TestFailedStaysSoBehindItsSuccessor(t *testing.T) {
	w, a, b, p := pair(t, Config{Detector: published.Fixed(0, 0), Final: true})
	first := b.Incarnation()
	var held []*sim.Datagram
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if d.From == b.addr() {
			held = append(held, d)
			return nil
		}
		return []*sim.Datagram{d}
	}
	w.run(10 * time.Second)
	if p.State() != Failed {
		t.Fatalf("%v", p.State())
	}
	w.Mangle = nil
	w.boot(b, Config{}) // with another id
	b.watch(a)
	for b.host.Socket().Sends == 0 {
		w.run(100 * time.Microsecond)
	}
	w.run(200 * time.Microsecond)
	for _, d := range held {
		w.Post(&sim.Datagram{At: w.now(), From: d.From, To: d.To, Data: d.Data})
	}
	w.run(5 * time.Second)
	for _, ev := range a.log {
		if ev.From == Failed && ev.To != Failed && ev.Incarnation == first {
			t.Errorf("%v → %v, %v, of the life that had failed", ev.From, ev.To, ev.Cause)
		}
	}
	if p.State() != Alive || p.ID() != b.ID() {
		t.Errorf("in the end %v with id %#x, not %#x", p.State(), p.ID(), b.ID())
	}
}

// W12, W15: heartbeats recorded in an earlier incarnation, of this peer or of another pair, or sent twice, keep
// nobody alive and bring nobody to life.
func TestReplay(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	c := w.start(Config{})
	b.watch(c)
	c.watch(b)
	w.run(time.Second)
	var tape, others []*sim.Datagram
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if d.From == b.addr() && d.To == a.addr() {
			tape = append(tape, d)
		} else {
			others = append(others, d)
		}
		return []*sim.Datagram{d}
	}
	w.run(time.Second)
	w.Mangle = nil
	b.host.Crash()
	play := func(tape []*sim.Datagram) {
		for i := range 400 {
			d := tape[i%len(tape)]
			w.Post(&sim.Datagram{At: w.now().Add(time.Duration(i) * 10 * time.Millisecond), From: b.addr(), To: a.addr(), Data: d.Data})
		}
	}
	a.log = nil
	play(tape)
	play(others)
	w.run(4 * time.Second)
	a.want("replay", "alive suspect silence", "suspect failed silence")
	if n := p.Stats().Duplicated; n < 390 || n > 400 {
		t.Errorf("%d of 400 replayed heartbeats refused as duplicates", n)
	}
	// And to our own next life.
	id := b.ID()
	w.boot(a, Config{})
	q := a.watch(b, func(c *PeerConfig) { c.ID = id })
	play(tape)
	play(others)
	w.run(5 * time.Second)
	if q.State() == Alive || q.Stats().Received != 0 {
		t.Errorf("a recording brought a peer to life: %v, %d heartbeats", q.State(), q.Stats().Received)
	}
}

// W16: whoever watches two processes with one id says so, once, with both peers.
func TestIDCollision(t *testing.T) {
	w := newWorld(t, 5)
	a := w.start(Config{Accept: Accept{Anyone: true}})
	b := w.start(Config{ID: 77})
	p := a.watch(b)
	b.watch(a)
	w.run(5 * time.Second)
	for _, ev := range a.nodes {
		if ev.Cause == IDCollision {
			t.Fatalf("of one process: %+v", ev)
		}
	}
	c := w.start(Config{ID: 77})
	q := c.watch(a)
	w.run(10 * time.Second)
	ev, n := a.lastNode(IDCollision), 0
	for _, o := range a.nodes {
		if o.Cause == IDCollision {
			n++
		}
	}
	both := map[Peer]bool{ev.Others[0]: true, ev.Others[1]: true}
	if n != 1 || len(both) != 2 || !both[p] || ev.Others[0].ID() != 77 || ev.Others[1].ID() != 77 {
		t.Errorf("told %d times: %+v", n, ev)
	}
	if p.State() != Alive || q.State() != Alive || a.Stats().Peers.Watched != 2 {
		t.Errorf("%v, and the other one sees %v; %d peers", p, q, a.Stats().Peers.Watched)
	}
}

// W16: who is answered by a process with its own id is told so. What bears our id and proves nothing is
// anybody's.
func TestOwnIDElsewhere(t *testing.T) {
	w := newWorld(t, 5)
	a := w.start(Config{ID: 77, Accept: Accept{Anyone: true}})
	w.run(time.Second)
	b := w.start(Config{ID: 77})
	b.watch(a)
	w.run(2 * time.Second)
	if ev := b.lastNode(IDCollision); ev.ID != 77 || ev.Incarnation != a.Incarnation() || !ev.Others[0].IsZero() {
		t.Errorf("told %+v", ev)
	}
	if len(a.log) > 0 || len(a.nodes) > 0 {
		t.Errorf("what proves nothing is told: %+v, %+v", a.log, a.nodes)
	}
	if a.Stats().Peers.Watched != 0 {
		t.Errorf("%d peers", a.Stats().Peers.Watched)
	}
}

// W16: the clock went back between two lives. The lesser incarnation is taken once the greater one
// has been silent for two periods, and not before: two processes may answer at one address.
func TestLesserIncarnation(t *testing.T) {
	w, a, b, p := pair(t, Config{Detector: published.Fixed(0, 0)})
	before := b.Incarnation()
	heard := p.Stats().LastArrival
	b.host.StepWall(-time.Hour)
	w.boot(b, Config{ID: b.ID()})
	q := b.watch(a)
	a.log = nil
	w.run(3 * time.Second)
	a.want("a clock that went back", "alive alive restarted")
	if s := p.Stats(); s.Incarnation != b.Incarnation() || s.Incarnation >= before || q.State() != Alive {
		t.Errorf("%v with incarnation %d; the other side is %v", p, s.Incarnation, q)
	}
	if d := a.log[0].At.Sub(heard); d < 200*time.Millisecond || d > 310*time.Millisecond {
		t.Errorf("silent after %v", d)
	}
	if d := a.last(Restarted).At.Sub(a.log[0].At); d > 200*time.Millisecond {
		t.Errorf("taken %v after the earlier one fell silent", d)
	}
}

// W15: a changed incarnation, discriminator or id is taken only from who has read our newest heartbeats
// to the peer. Whatever else names the peer's slot changes nothing of it.
func TestNewLifeMustProveItself(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	w.run(time.Second)
	other := a.watch(w.start(Config{}))
	b.host.Stop() // so nothing else comes
	for r := p.record(); r.sends.sequence.Get() == r.session.echoed; {
		w.run(10 * time.Millisecond)
	}
	next := func() wire.Header {
		h := heartbeatOf(p)
		h.Incarnation, h.MyDiscriminator, h.Sequence = h.Incarnation+1, h.MyDiscriminator^1<<40, 7
		return h
	}
	for name, change := range map[string]func(h *wire.Header){
		"no discriminator":            func(h *wire.Header) { h.YourDiscriminator = 0 },
		"a guess":                     func(h *wire.Header) { h.YourDiscriminator ^= 1 << 63 },
		"another peer's":              func(h *wire.Header) { h.YourDiscriminator = other.record().session.mine },
		"our last life":               func(h *wire.Header) { h.EchoIncarnation-- },
		"none of ours":                func(h *wire.Header) { h.EchoIncarnation, h.EchoSequence = 0, 0 },
		"what was named before":       func(h *wire.Header) { h.EchoSequence = p.record().session.echoed },
		"not yet sent":                func(h *wire.Header) { h.EchoSequence += 1000 },
		"a goodbye":                   func(h *wire.Header) { h.Flags = wire.FlagLeaving },
		"a lesser incarnation":        func(h *wire.Header) { h.Incarnation -= 2 },
		"another process":             func(h *wire.Header) { h.Sender++ },
		"another watch, while in use": func(h *wire.Header) { h.Incarnation-- },
	} {
		before, theirs := p.Stats(), p.record().session.theirs.Get()
		h := next()
		change(&h)
		b.post(h, a)
		w.run(time.Millisecond)
		after := p.Stats()
		if after.Received != before.Received || after.Incarnation != before.Incarnation || after.LastArrival != before.LastArrival ||
			after.ID != before.ID || after.Duplicated != before.Duplicated || p.record().session.theirs.Get() != theirs {
			t.Errorf("%s: %+v, before %+v", name, after, before)
		}
	}
	b.post(next(), a)
	w.run(time.Millisecond)
	a.last(Restarted)
	if got := p.Stats().Incarnation; got != b.Incarnation()+1 {
		t.Errorf("incarnation %d after %d has proved itself", got, b.Incarnation()+1)
	}
}

// W14: a forged introduction touches nothing of a peer, whatever it says and wherever it claims to come
// from. It is answered by one datagram at most, as long as it, and the answer by none.
func TestForgedIntroductions(t *testing.T) {
	w, a, b, p := pair(t, Config{Period: 100 * time.Millisecond})
	nobody := w.start(Config{})
	nobody.host.Crash()
	forge := func(i int) wire.Header {
		r := w.Random()
		h := wire.Header{
			Sender: []uint64{b.ID(), r.Uint64() | 1}[r.IntN(2)], Incarnation: r.Uint64()>>1 | 1,
			MyDiscriminator: r.Uint64() | 1, YourDiscriminator: []uint64{0, r.Uint64(), uint64(p.slot)}[r.IntN(3)],
			Sequence: r.Uint64()>>1 | 1, SendInstant: int64(r.Uint64() >> 3), Period: 1 + r.Uint32N(60_000_000), MinReceivePeriod: r.Uint32N(60_000_000),
			Flags:           []wire.Flags{0, wire.FlagSolicit, wire.FlagDegraded, wire.FlagLeaving}[r.IntN(4)],
			EchoIncarnation: a.Incarnation(), EchoSequence: p.Stats().Sent, EchoVerdict: wire.Verdict(r.IntN(6)), EchoLost: r.Uint32(),
		}
		if i%2 == 0 {
			h.Incarnation = b.Incarnation()
		}
		return h
	}
	a.log, b.log = nil, nil
	quiet := p.Stats()
	w.run(10 * time.Second)
	calm := p.Stats().Sent - quiet.Sent
	before, out := p.Stats(), a.host.Socket().Sends+b.host.Socket().Sends
	const forged = 10_000
	for i := range forged {
		from := []*node{b, nobody}[i%2]
		h := forge(i)
		from.post(h, a)
		w.run(time.Millisecond)
	}
	w.run(time.Millisecond)
	s := p.Stats()
	if s.Duplicated+s.Reordered != 0 || s.LostIn != before.LostIn || s.LostOut != before.LostOut || s.Incarnation != before.Incarnation ||
		s.Period != before.Period || s.PeerPeriod != before.PeerPeriod || s.Progress != before.Progress || s.Degraded || s.Mistakes != 0 {
		t.Errorf("forgeries count for the peer: %+v, before %+v", s, before)
	}
	if n := s.Received - before.Received; n < 98 || n > 102 {
		t.Errorf("%d heartbeats received in 100 periods", n)
	}
	if n := s.Sent - before.Sent; n > calm+2 {
		t.Errorf("%d heartbeats written to the peer, %d without forgeries", n, calm)
	}
	if n := a.host.Socket().Sends + b.host.Socket().Sends - out; n > forged+2*calm+4 {
		t.Errorf("%d datagrams for %d forged ones", n, forged)
	}
	a.want("forged introductions")
	b.want("answers to forged introductions")
}

// W14: an answer is good for the address, id and discriminator that it was made for, and for its time.
func TestAnswerIsGoodForItsSender(t *testing.T) {
	w := newWorld(t, 1)
	a := w.start(Config{Accept: Accept{Anyone: true}})
	b, elsewhere := w.start(Config{}), w.start(Config{})
	for _, n := range []*node{b, elsewhere} {
		n.host.Kill() // the test writes for them
	}
	w.run(time.Second) // for a stock of slots
	var answer wire.Header
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if _, fault := wire.Decode(d.Data, &answer); fault != wire.OK {
			t.Error(fault)
		}
		return nil
	}
	hello := wire.Header{Sender: 7, Incarnation: 5, MyDiscriminator: 3<<20 | 1, Sequence: 1, Period: 100_000}
	ask := func() wire.Header {
		answer = wire.Header{}
		b.post(hello, a)
		w.run(10 * time.Millisecond)
		if wire.Slot(answer.MyDiscriminator) != 0 || answer.MyDiscriminator == 0 || answer.YourDiscriminator != hello.MyDiscriminator {
			t.Fatalf("answered by %+v", answer)
		}
		h := hello
		h.YourDiscriminator, h.Sequence, h.EchoIncarnation, h.EchoSequence = answer.MyDiscriminator, 2, a.Incarnation(), answer.Sequence
		return h
	}
	for _, c := range []struct {
		name     string
		from     *node
		wait     time.Duration
		change   func(h *wire.Header)
		admitted bool
	}{
		{"another address", elsewhere, 0, nil, false},
		{"another id", b, 0, func(h *wire.Header) { h.Sender++ }, false},
		{"another discriminator", b, 0, func(h *wire.Header) { h.MyDiscriminator += 1 << 20 }, false},
		{"another answer", b, 0, func(h *wire.Header) { h.YourDiscriminator += 1 << 20 }, false},
		{"too late", b, 2 * cookieTime, nil, false},
		{"a goodbye", b, 0, func(h *wire.Header) { h.Flags = wire.FlagLeaving }, false},
		{"in time", b, cookieTime, nil, true},
	} {
		h := ask()
		w.run(c.wait)
		if c.change != nil {
			c.change(&h)
		}
		c.from.post(h, a)
		w.run(10 * time.Millisecond)
		if n := a.Stats().Peers.Watched; n != 0 != c.admitted {
			t.Errorf("%s: %d peers", c.name, n)
		}
	}
}

// Of one node over two paths each is a peer of its own, with its own verdict and counts.
func TestTwoPaths(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{Detector: published.Fixed(0, 0)}), w.start(Config{Detector: published.Fixed(0, 0)})
	var alias [2]network.Addr // of a and of b, on the other network
	for i, addr := range []string{"10.5.0.1:7853", "10.5.0.2:7853"} {
		h, err := w.AddHost(addr, netip.MustParseAddrPort(addr))
		if err != nil {
			t.Fatal(err)
		}
		alias[i] = network.AddrFrom(h.Addr())
	}
	cut := false
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		switch d.To {
		case alias[0]:
			d.To, d.From = a.addr(), alias[1]
		case alias[1]:
			d.To, d.From = b.addr(), alias[0]
		default:
			return []*sim.Datagram{d}
		}
		if cut {
			return nil
		}
		return []*sim.Datagram{d}
	}
	at := func(a network.Addr) func(*PeerConfig) { return func(c *PeerConfig) { c.Addr = a.AddrPort() } }
	p, p2 := a.watch(b), a.watch(b, at(alias[1]))
	q, q2 := b.watch(a), b.watch(a, at(alias[0]))
	w.run(5 * time.Second)
	for _, x := range []Peer{p, p2, q, q2} {
		if s := x.Stats(); s.State != Alive || s.Received < 45 || s.LostIn+s.LostOut > 0 || s.Duplicated+s.Reordered > 0 {
			t.Errorf("both ways are up: %+v", s)
		}
	}
	if p.ID() != b.ID() || p2.ID() != b.ID() || p.Addr() == p2.Addr() {
		t.Errorf("%v at %v and %v at %v", p, p.Addr(), p2, p2.Addr())
	}
	cut = true
	w.run(10 * time.Second)
	if p.State() != Alive || q.State() != Alive || p2.State() != Failed || q2.State() != Failed {
		t.Errorf("one way is cut: %v, %v; that way %v, %v", p, q, p2, q2)
	}
	cut = false
	w.boot(b, Config{ID: b.ID(), Detector: published.Fixed(0, 0)})
	q, q2 = b.watch(a), b.watch(a, at(alias[0]))
	w.run(10 * time.Second)
	for _, x := range []Peer{p, p2, q, q2} {
		if x.State() != Alive || x.Stats().Mistakes > 0 {
			t.Errorf("back in a new incarnation: %v, %+v", x, x.Stats())
		}
	}
	for _, ev := range a.nodes {
		if ev.Cause == IDCollision {
			t.Errorf("one node over two paths is taken for two: %+v", ev)
		}
	}
}

// W22: what is held back on its way is no life. A queue that adds more than is granted, and less than a failure
// takes, makes a peer one-way while it lasts; one that adds more leaves it failed.
func TestHeldBack(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	delay := 800 * time.Millisecond
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if d.From == b.addr() {
			d.At = d.At.Add(delay)
		}
		return []*sim.Datagram{d}
	}
	a.log = nil
	w.run(10 * time.Second)
	a.want("0.8 s late", "alive suspect silence", "suspect one-way held-back")
	delay = 0
	w.run(5 * time.Second)
	a.want("the queue is empty", "alive suspect silence", "suspect one-way held-back", "one-way alive reachable-again")
	a.log, delay = nil, 3*time.Second
	w.run(10 * time.Second)
	for _, ev := range a.log {
		if ev.To == Alive {
			t.Errorf("3 s late: %v → %v, %v", ev.From, ev.To, ev.Cause)
		}
	}
	if n := len(a.log); n > 4 || p.Stats().Failures != 1 {
		t.Errorf("3 s late: %d transitions, %d failures", n, p.Stats().Failures)
	}
	a.log, delay = nil, 0
	w.run(5 * time.Second)
	if n := len(a.log); n != 1 || p.State() != Alive {
		t.Errorf("the queue is empty again: %v after %d transitions", p, n)
	}
}

// A proxy that plays at half the speed keeps nobody alive, neither a peer that lives nor one that died.
func TestSlowProxy(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	w.run(30 * time.Second)
	began := w.now()
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if d.From == b.addr() {
			d.At = d.At.Add(w.now().Sub(began))
		}
		return []*sim.Datagram{d}
	}
	a.log = nil
	w.run(10 * time.Second)
	a.want("half the speed", "alive one-way held-back", "one-way suspect silence", "suspect failed silence")
	if d := a.last(Silence).At.Sub(began); d > 4*time.Second {
		t.Errorf("failed after %v", d)
	}
	a.log = nil
	b.host.Crash()
	w.run(20 * time.Second)
	a.want("and dead")
	if p.State() != Failed {
		t.Error(p)
	}
}

// W14: forged introductions make no two nodes that admit strangers watch each other, nor write to a third that
// asked for nothing more than was forged.
func TestForgedIntroductionsBetweenOpenNodes(t *testing.T) {
	w := newWorld(t, 1)
	open := Config{Accept: Accept{Anyone: true}}
	a, b, victim := w.start(open), w.start(open), w.start(open)
	const forged = 300
	for i := range uint64(forged) {
		for _, from := range []*node{b, victim} {
			from.post(wire.Header{
				Sender: []uint64{from.ID(), 1000 + i}[i%2], Incarnation: from.Incarnation(),
				MyDiscriminator: w.Random().Uint64() | 1, Sequence: 1 + i, Period: 1000, Flags: wire.FlagSolicit, EchoIncarnation: a.Incarnation(),
			}, a)
		}
		w.run(10 * time.Millisecond)
	}
	w.run(10 * time.Second)
	for _, n := range []*node{a, b, victim} {
		if s := n.Stats(); s.Peers.Watched != 0 {
			t.Errorf("%s watches %d peers", n.host.Name, s.Peers.Watched)
		}
	}
	if out := a.host.Socket().Sends; out > 2*forged || out == 0 {
		t.Errorf("%d datagrams for %d forged ones", out, 2*forged)
	}
	if out := b.host.Socket().Sends + victim.host.Socket().Sends; out != 0 {
		t.Errorf("answers to forged introductions were answered %d times", out)
	}
}

// A heartbeat of the life before, which comes after the first answer to the new one was written, costs the
// new one another answer and no more, also where it has to wait for what it is told.
func TestLateHeartbeatOfTheLifeBefore(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{Accept: Accept{Anyone: true}}), w.start(Config{ID: 7})
	b.watch(a)
	w.run(time.Second)
	var late *sim.Datagram
	answers := 0
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		var h wire.Header
		wire.Decode(d.Data, &h)
		switch answer := wire.Slot(h.MyDiscriminator) == 0; {
		case d.From == b.addr() && late == nil:
			late = d
			return nil
		case d.From == a.addr() && late != nil && !answer && answers < 2:
			return nil
		case d.From == a.addr() && answer:
			if answers++; answers == 1 {
				late.At = w.now().Add(time.Microsecond)
				return []*sim.Datagram{late, d}
			}
		}
		return []*sim.Datagram{d}
	}
	for range 1000 {
		if w.run(time.Millisecond); late != nil {
			break
		}
	}
	w.boot(b, Config{ID: 7})
	b.watch(a)
	w.run(time.Second)
	if s := a.Snapshot(nil); answers != 2 || len(s) != 1 || s[0].State != Alive || s[0].Incarnation != b.Incarnation() {
		t.Errorf("after %d answers: %+v", answers, s)
	}
}

// onceMade is a network whose stamps are all implausible and that counts the questions for sources.
type onceMade struct {
	network.World
	sources int
}

func (n *onceMade) Stamp(int) int64 { return 1 }

func (n *onceMade) Source(j int) uint8 {
	n.sources++
	return n.World.Source(j)
}

// A datagram of another session that is an introduction is made into one once.
func TestIntroductionIsMadeOnce(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	w.run(time.Second)
	s := a.shards[0]
	n := &onceMade{World: s.net.(network.World)}
	s.net = n
	before := a.Stats()
	h := heartbeatOf(p)
	h.MyDiscriminator ^= 1 << 40
	h.Incarnation--
	h.EchoSequence = 0
	b.post(h, a)
	w.run(300 * time.Millisecond)
	after := a.Stats()
	received, refused := after.Sockets.Received-before.Sockets.Received, after.Stamps.Refused-before.Stamps.Refused
	if after.Strangers.Introduced == before.Strangers.Introduced || n.sources != 1 || refused != received {
		t.Errorf("%d introduced, %d sources asked for, %d stamps refused of %d datagrams", after.Strangers.Introduced-before.Strangers.Introduced, n.sources, refused, received)
	}
}
