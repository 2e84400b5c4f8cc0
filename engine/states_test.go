package engine

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/detect"
	"systole/engine/internal/network"
	"systole/engine/internal/sim"
	"systole/engine/internal/udp"
	"systole/wire"
)

// pair returns two nodes that watch each other and are in touch.
func pair(t *testing.T, cfg Config) (*world, *node, *node, Peer) {
	t.Helper()
	w := newWorld(t, 1)
	a, b := w.start(cfg), w.start(cfg)
	p := a.watch(b)
	b.watch(a)
	w.run(2 * time.Second)
	if p.State() != Alive {
		t.Fatalf("state %v after 2 s, log %v", p.State(), a.log)
	}
	return w, a, b, p
}

func TestFirstContactTakesRoundTripsNotPeriods(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{Period: time.Second}), w.start(Config{Period: time.Second})
	p := a.watch(b)
	b.watch(a)
	start := w.now()
	for p.State() != Alive && w.now().Sub(start) < 3*time.Second {
		w.run(time.Millisecond)
	}
	first := p.Stats().LastArrival
	if first == 0 {
		t.Fatal("never heard")
	}
	w.run(3 * time.Second)
	a.want("first contact", "connecting alive first-contact")
	b.want("first contact", "connecting alive first-contact")
	s := p.Stats()
	if s.LostIn != 0 || s.LostOut != 0 || s.Missed != 0 {
		t.Errorf("lost %d in, %d out, missed %d on a perfect network", s.LostIn, s.LostOut, s.Missed)
	}
	if s.RoundTrip < 200*time.Microsecond || s.RoundTrip > 400*time.Microsecond {
		t.Errorf("round trip %v on a path of 100 to 200 µs each way", s.RoundTrip)
	}
}

func TestSilence(t *testing.T) {
	w, a, b, p := pair(t, Config{Period: 10 * time.Millisecond, Detector: &detect.Chen{}})
	a.log = nil
	b.host.Crash()
	gone := w.now()
	w.run(time.Second)
	a.want("a machine that is gone", "alive suspect silence", "suspect failed silence")
	ev := a.last(Silence)
	if ev.To != Failed {
		t.Errorf("last event %+v", ev)
	}
	suspected := a.log[0]
	if d := suspected.At.Sub(gone); d > 40*time.Millisecond {
		t.Errorf("suspected %v after the crash at 10 ms × 3", d)
	}
	if suspected.Suspicion < 1 || suspected.Silence == 0 {
		t.Errorf("event without evidence: %+v", suspected)
	}
	if p.Suspicion() < 1 {
		t.Errorf("suspicion %v of a failed peer", p.Suspicion())
	}
}

func TestProcessKilled(t *testing.T) {
	w, a, b, _ := pair(t, Config{})
	a.log = nil
	b.host.Kill()
	died := w.now()
	w.run(time.Second)
	a.want("a process that is gone", "alive suspect port-unreachable", "suspect failed port-unreachable")
	if d := a.last(PortUnreachable).At.Sub(died); d > 110*time.Millisecond {
		t.Errorf("failed %v after its death, with a period of 100 ms", d)
	}
}

// Only the peer's own port refuses on its behalf. Who replays what the peer sent in an earlier
// life is answered, and can return that answer: from a closed port of his own, or with the
// peer's address in it. Neither is evidence.
func TestRefusedElsewhere(t *testing.T) {
	w, a, b, p := pair(t, Config{ID: 0})
	other := w.start(Config{})
	other.host.Kill()
	var old, answer *sim.Datagram
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		switch {
		case d.From == b.addr() && old == nil:
			old = d
		case d.To == other.addr():
			answer = d
		}
		return []*sim.Datagram{d}
	}
	w.run(200 * time.Millisecond)
	w.boot(b, Config{ID: b.ID()})
	b.watch(a)
	w.run(2 * time.Second)
	a.log = nil
	for range 5 {
		w.Post(&sim.Datagram{At: w.now(), From: other.addr(), To: a.addr(), Data: old.Data})
		w.run(2 * time.Second)
	}
	if answer == nil || a.Stats().Foreign < 4 {
		t.Errorf("answered %v, %d refusals are nobody's", answer != nil, a.Stats().Foreign)
	}
	w.Post(&sim.Datagram{At: w.now(), From: other.addr(), To: a.addr(), Data: old.Data})
	answer = nil
	for range 100 {
		if answer == nil {
			w.run(100 * time.Microsecond)
		}
	}
	a.shards[0].refused(&network.Returned{PortUnreachable: true, Peer: b.addr(), Quoted: answer.Data})
	w.run(time.Second)
	a.want("a refusal from elsewhere")
	if p.State() != Alive {
		t.Errorf("state %v", p.State())
	}
}

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

// Incarnations of another process start anew, from 1 if it counts its starts: whatever the life was
// that it follows, it proves itself, is told nothing of the other's heartbeats, and that one stays over.
func TestFirstIncarnationFollows(t *testing.T) {
	for _, before := range []uint64{0, 1} {
		w, a, b, p := pair(t, Config{Incarnation: before})
		failed, life := b.ID(), b.Incarnation()
		b.host.Kill()
		w.run(time.Second)
		heartbeat := wire.Header{Kind: wire.KindHeartbeat, Sender: 77, Incarnation: 1, Sequence: 1000, Period: 100_000}
		b.post(heartbeat, a) // a recording: it proves nothing
		w.run(2 * time.Millisecond)
		heartbeat.Sender, heartbeat.Incarnation = failed, life
		heartbeat.EchoIncarnation, heartbeat.EchoSequence = a.Incarnation(), p.Stats().Sent
		b.post(heartbeat, a) // of the life that had failed, and late
		w.run(2 * time.Millisecond)
		if p.State() != Failed || p.ID() != 77 {
			t.Errorf("after %d: %v, with id %d", before, p.State(), p.ID())
		}
		w.boot(b, Config{Incarnation: 1})
		sent, heard := b.watch(a), w.now().Add(500*time.Millisecond)
		w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
			if d.From == b.addr() && w.now() < heard {
				return nil
			}
			var h wire.Header
			if _, fault := wire.Decode(d.Data, &h); fault != wire.OK {
				t.Error(fault)
			}
			if n := sent.Stats().Sent; d.To == b.addr() && h.EchoSequence > n {
				t.Errorf("after %d: told that %d was heard, of %d sent", before, h.EchoSequence, n)
			}
			return []*sim.Datagram{d}
		}
		w.run(2 * time.Second)
		a.want("a process that counts its starts", "connecting alive first-contact", "alive suspect port-unreachable",
			"suspect failed port-unreachable", "failed alive restarted")
		if s := p.Stats(); s.ID != b.ID() || s.Incarnation != 1 || s.Received < 30 {
			t.Errorf("after %d: %+v", before, s)
		}
	}
}

// The same at a node that admits strangers, before it has noticed the end of the old process:
// the new one is then a stranger of its own, and is written to by that peer alone. Found by
// seed 888 of enginetest.
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
	b.want("the new process", "connecting alive first-contact")
	if p.State() != Failed || q.State() != Alive || a.Stats().Peers != 2 {
		t.Errorf("the old process is %v, for the new one %v; %d peers", p.State(), q.State(), a.Stats().Peers)
	}
	if s := q.Stats(); s.LostIn+s.LostOut > 0 || s.Duplicated+s.Reordered > 0 {
		t.Errorf("two peers write to one process: %+v", s)
	}
}

// W19: goodbye is told three times, and nothing of that life counts after it.
func TestGoodbye(t *testing.T) {
	w, a, b, _ := pair(t, Config{})
	a.log = nil
	b.shards[0].post(command{kind: commandLeave})
	w.run(100 * time.Millisecond)
	b.host.Kill()
	w.run(2 * time.Second)
	a.want("goodbye", "alive left goodbye")
}

// W19: a node that said goodbye to a peer and watches it again, in the same life, is taken
// back within round trips of its first heartbeat: no probe is waited for. Nothing is counted
// as lost in between, and its death is found out as anybody's.
func TestWatchedAgainAfterGoodbye(t *testing.T) {
	for seed, pauses := range []time.Duration{time.Millisecond, time.Second, time.Minute} {
		w, a, b, p := pair(t, Config{Period: 200 * time.Millisecond})
		w.run(time.Duration(seed) * 17 * time.Millisecond)
		lost := p.Stats().LostIn
		a.log = nil
		if err := b.RemovePeer(b.watched(a)); err != nil {
			t.Fatal(err)
		}
		w.run(pauses)
		q := b.watch(a)
		for q.Stats().Sent == 0 {
			w.run(time.Millisecond)
		}
		w.run(4 * a.shards[0].grid) // each reads once per step
		if p.State() != Alive || q.State() != Alive {
			t.Errorf("four grid steps after the first heartbeat, %v after the goodbye: %v, and the other side is %v", pauses, p, q)
		}
		w.run(10 * time.Second)
		a.want("watched again", "alive left goodbye", "left alive reachable-again")
		if s, r := p.Stats(), q.Stats(); s.LostIn != lost || s.Mistakes > 0 || r.LostOut+r.LostIn > 0 || s.PeerPeriod != 200*time.Millisecond {
			t.Errorf("after %v: %+v, and the other side %+v", pauses, s, r)
		}
		b.host.Crash()
		w.run(10 * time.Second)
		a.want("dead", "alive left goodbye", "left alive reachable-again", "alive suspect silence", "suspect failed silence")
	}
}

// watched returns n's handle on m.
func (n *node) watched(m *node) Peer {
	n.world.t.Helper()
	slot := n.shards[0].index.lookup(m.ID())
	if slot == noSlot {
		n.world.t.Fatalf("%s does not know %s", n.host.Name, m.host.Name)
	}
	return Peer{n.Engine, slot, n.table.peer(slot).generation}
}

// W19: what was sent before a goodbye, and comes after it or comes again, brings nobody back.
func TestLateHeartbeatsAfterGoodbye(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	var held, tape []*sim.Datagram
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if d.From != b.addr() {
			return []*sim.Datagram{d}
		}
		tape = append(tape, d)
		if len(tape)%2 == 0 {
			held = append(held, d)
			return nil
		}
		return []*sim.Datagram{d}
	}
	w.run(time.Second)
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if d.From == b.addr() {
			tape = append(tape, d)
		}
		return []*sim.Datagram{d}
	}
	a.log = nil
	if err := b.RemovePeer(b.watched(a)); err != nil {
		t.Fatal(err)
	}
	w.run(10 * time.Millisecond)
	for _, d := range append(held, tape...) {
		again := *d
		again.At = w.now()
		w.Post(&again)
	}
	w.run(10 * time.Second)
	a.want("goodbye", "alive left goodbye")
	if s := p.State(); s != Left || len(held) < 3 {
		t.Errorf("%v, %d held back", s, len(held))
	}
}

// An admitted stranger that says goodbye and comes back is the peer that it was, and is not
// forgotten.
func TestAdmittedStrangerComesBackAfterGoodbye(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{Accept: Accept{Anyone: true, Forget: 5 * time.Second}}), w.start(Config{})
	p := b.watch(a)
	w.run(2 * time.Second)
	back := a.watched(b)
	if err := b.RemovePeer(p); err != nil {
		t.Fatal(err)
	}
	w.run(2 * time.Second)
	if s := back.State(); s != Left {
		t.Fatalf("%v after a goodbye", s)
	}
	p = b.watch(a)
	w.run(20 * time.Second)
	if p.State() != Alive || back.State() != Alive || a.Stats().Peers != 1 {
		t.Errorf("%v, and the other side is %v; it has %d peers", p, back, a.Stats().Peers)
	}
}

// An admitted stranger at whose address a peer is added, by address or by name, gives way: two
// peers would send to one process, each with sequences of its own.
func TestAdmittedStrangerGivesWay(t *testing.T) {
	for _, named := range []bool{false, true} {
		w := newWorld(t, 1)
		b := w.start(Config{})
		a := w.start(Config{Accept: Accept{Anyone: true}, Resolver: &book{b.host.Addr().Addr()}})
		q := b.watch(a)
		w.run(10 * time.Second)
		stranger := a.watched(b)
		a.log, b.log = nil, nil
		c := PeerConfig{Addr: b.host.Addr()}
		if named {
			c = PeerConfig{Name: "b.test:7946"}
		}
		p, err := a.AddPeer(c)
		if err != nil {
			t.Fatal(err)
		}
		w.run(10 * time.Second)
		a.want("another one is added", "alive removed replaced", "connecting alive first-contact")
		b.accusedNobody()
		if s := q.Stats(); stranger.State() != Removed || p.State() != Alive || q.State() != Alive || a.Stats().Peers != 1 ||
			s.Duplicated+s.Reordered != 0 || s.LostIn > 2 {
			t.Errorf("named %v: %v, then %v; the other side: %+v", named, stranger, p, s)
		}
	}
}

// linkFaults are how a host loses its way out, and gets it back.
var linkFaults = map[string]func(h *sim.Host, on bool){
	"no route": func(h *sim.Host, on bool) {
		h.Refuse = 0
		if on {
			h.Refuse = unix.ENETUNREACH
		}
	},
	"no carrier": func(h *sim.Host, on bool) { h.Unplugged = on },
}

// A peer that never heard us and dies is found out as soon as any other, whatever our own side
// went through before, and whatever its silence is taken for holds up no verdict on others.
func TestDeathOfTheDeaf(t *testing.T) {
	for name, trouble := range map[string]func(a *node, on bool){
		"none":       func(*node, bool) {},
		"no route":   func(a *node, on bool) { linkFaults["no route"](a.host, on) },
		"no carrier": func(a *node, on bool) { linkFaults["no carrier"](a.host, on) },
		"pauses": func(a *node, on bool) {
			for range 50 {
				a.host.Stop()
				a.world.run(900 * time.Millisecond)
				a.host.Continue()
				a.world.run(2 * time.Second)
			}
		},
	} {
		w := newWorld(t, 1)
		a, other := w.start(Config{Detector: &detect.Fixed{}}), w.start(Config{})
		p := a.watch(other)
		var deaf []*node
		var peers []Peer
		for range 3 {
			b := w.start(Config{Resurrect: true})
			w.Cut(a.host, b.host)
			b.watch(a)
			deaf, peers = append(deaf, b), append(peers, a.watch(b))
		}
		w.run(time.Minute)
		for i, b := range deaf {
			trouble(a, true)
			b.host.Crash()
			w.run(4 * time.Second)
			trouble(a, false)
			w.run(10 * time.Second)
			if s := peers[i].State(); s != Failed {
				t.Errorf("%s: %v ten seconds after", name, s)
			}
		}
		w.run(time.Minute)
		other.host.Crash()
		w.run(5 * time.Second)
		if s := p.State(); s != Failed {
			t.Errorf("%s: another peer that died is %v; we suspect ourselves for %v more", name, s, a.shards[0].silences.suspect.Sub(w.now()))
		}
	}
}

// Before our side has a way out nobody is failed for not having answered.
func TestNobodyAnswersWithoutAWayOut(t *testing.T) {
	for name, cut := range linkFaults {
		w := newWorld(t, 1)
		a, b, dead := w.start(Config{}), w.start(Config{}), w.start(Config{})
		dead.host.Crash()
		cut(a.host, true)
		a.watch(b)
		p := a.watch(dead)
		w.run(30 * time.Second)
		a.want(name)
		cut(a.host, false)
		b.watch(a)
		w.run(7 * time.Second)
		a.want(name, "connecting alive first-contact", "connecting failed never-heard")
		if p.State() != Failed {
			t.Errorf("%s: the one that is not there is %v", name, p.State())
		}
	}
}

// An AddPeer that fails for want of room leaves an admitted stranger at that address as it was: it
// stays watched, and gives way to the AddPeer that succeeds. Room for one command is enough.
func TestAdmittedStrangerStaysIfTheRingIsFull(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{Accept: Accept{Anyone: true}}), w.start(Config{})
	b.watch(a)
	w.run(2 * time.Second)
	stranger := a.watched(b)
	a.log, b.log = nil, nil
	ring := a.shards[0].ring
	fill := func() {
		for ring.TryPush(command{kind: commandRead}) {
		}
	}
	fill()
	if _, err := a.AddPeer(PeerConfig{Addr: b.host.Addr()}); !errors.Is(err, ErrBusy) {
		t.Fatal(err)
	}
	w.run(time.Second)
	a.want("no room")
	fill()
	var one [1]command
	ring.PopBatch(one[:])
	p := a.watch(b)
	w.run(20 * time.Second)
	a.want("added", "alive removed replaced", "connecting alive first-contact")
	b.accusedNobody()
	if stranger.State() != Removed || p.State() != Alive || a.Stats().Peers != 1 {
		t.Errorf("%v, then %v; %d peers", stranger, p, a.Stats().Peers)
	}
}

// Who is awaited is not admitted as a stranger beside that peer, although the register of addresses
// said, when it was asked, that nobody is awaited: the peer is added at that moment.
func TestAwaitedIsNotAdmitted(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{Accept: Accept{Anyone: true}}), w.start(Config{})
	w.run(100 * time.Millisecond) // for a stock of slots
	p := a.watch(b)
	b.watch(a)
	n := a.awaited.count.Swap(0) // as it was when it was asked
	for end := w.now().Add(5 * time.Second); a.Stats().Unproven == 0 && w.now() < end; {
		w.run(100 * time.Microsecond)
	}
	a.awaited.count.Store(n)
	w.run(10 * time.Second)
	if s := a.Stats(); p.State() != Alive || s.Peers != 1 || a.shards[0].admitted != 0 {
		t.Errorf("%v, of %d peers", p, s.Peers)
	}
}

// Nobody is taken for a stranger while the register of addresses is locked.
func TestNoStrangerWhileTheRegisterIsLocked(t *testing.T) {
	w := newWorld(t, 1)
	a := w.start(Config{Accept: Accept{Anyone: true}})
	at := udp.AddrFrom(netip.MustParseAddrPort("10.9.9.9:1"))
	if _, err := a.AddPeer(PeerConfig{Addr: netip.MustParseAddrPort("10.9.9.9:1")}); err != nil {
		t.Fatal(err)
	}
	w.run(100 * time.Millisecond) // for a stock of slots
	s, h := a.shards[0], wire.Header{Kind: wire.KindHeartbeat, Sender: 4711}
	a.awaited.mu.Lock()
	slot := s.stranger(&h, &at, 0)
	a.awaited.mu.Unlock()
	if slot != noSlot || a.Stats().Unproven != 1 {
		t.Errorf("slot %d, %d counted", slot, a.Stats().Unproven)
	}
	if slot := s.stranger(&h, &at, 0); slot == noSlot || s.table.peer(slot).known.Get() != 4711 {
		t.Errorf("slot %d with its next heartbeat", slot)
	}
}

// A process that was failed stays so, although another one answered at its address before its
// last heartbeats came. Found by seed 127007 of enginetest.
func TestFailedStaysSoBehindItsSuccessor(t *testing.T) {
	w, a, b, p := pair(t, Config{Detector: &detect.Fixed{}})
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
		if ev.From == Failed && ev.Incarnation == first {
			t.Errorf("%v → %v, %v, of the life that had failed", ev.From, ev.To, ev.Cause)
		}
	}
	if p.State() != Alive || p.ID() != b.ID() {
		t.Errorf("in the end %v with id %#x, not %#x", p.State(), p.ID(), b.ID())
	}
}

func TestOneWay(t *testing.T) {
	w, a, b, _ := pair(t, Config{})
	a.log, b.log = nil, nil
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if d.From == a.addr() {
			return nil
		}
		return []*sim.Datagram{d}
	}
	w.run(5 * time.Second)
	a.want("heard but not hearing", "alive one-way deaf")
	b.want("silent", "alive suspect silence", "suspect failed silence")
}

func TestOneWayComesBack(t *testing.T) {
	w, a, b, _ := pair(t, Config{})
	a.log, b.log = nil, nil
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if d.From == a.addr() {
			return nil
		}
		return []*sim.Datagram{d}
	}
	w.run(time.Second)
	w.Mangle = nil
	w.run(time.Second)
	a.want("both ways again", "alive one-way deaf", "one-way alive reachable-again")
	b.want("heard again", "alive suspect silence", "suspect alive reachable-again")
}

func TestFailedIsFinalForTheIncarnation(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	a.log, b.log = nil, nil
	cut := func(d *sim.Datagram) []*sim.Datagram { return nil }
	w.Mangle = cut
	w.run(10 * time.Second)
	w.Mangle = nil
	w.run(5 * time.Second)
	if p.State() != Failed {
		t.Errorf("state %v of a failed peer that is heard again", p.State())
	}
	id := p.ID()
	w.boot(b, Config{ID: id})
	b.watch(a)
	w.run(2 * time.Second)
	if p.State() != Alive {
		t.Errorf("state %v of a new incarnation", p.State())
	}
}

func TestResurrect(t *testing.T) {
	w, a, _, p := pair(t, Config{Resurrect: true})
	a.log = nil
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram { return nil }
	w.run(10 * time.Second)
	w.Mangle = nil
	w.run(5 * time.Second)
	if p.State() != Alive {
		t.Errorf("state %v with Resurrect", p.State())
	}
}

// A peer that is back from the dead is sent to by its period again, and not by that of
// probes, which it would take for silence.
func TestResurrectedIsSentToAtOnce(t *testing.T) {
	const period = 20 * time.Millisecond
	for seed := range uint64(20) {
		w := newWorld(t, seed)
		cfg := Config{Period: period, Resurrect: true, Detector: &detect.Fixed{}}
		a, b := w.start(cfg), w.start(cfg)
		a.watch(b)
		p := b.watch(a)
		w.run(time.Second + time.Duration(seed)*7*time.Millisecond)
		a.host.Pause(true)
		w.run(2 * time.Second)
		a.host.Resume()
		for p.State() == Failed {
			w.run(time.Millisecond)
		}
		a.log = nil
		before := p.Stats().Sent
		w.run(10 * period)
		if n := p.Stats().Sent - before; n < 10 {
			t.Errorf("seed %d: %d heartbeats in ten periods", seed, n)
		}
		a.accusedNobody()
	}
}

// A failed peer that is heard again and does not hear us is judged like any other.
func TestResurrectedOneWayIsJudged(t *testing.T) {
	w, a, b, p := pair(t, Config{Resurrect: true, Detector: &detect.Fixed{}})
	w.Cut(a.host, b.host)
	w.Cut(b.host, a.host)
	w.run(10 * time.Second)
	a.log = a.log[len(a.log)-1:]
	w.Heal(b.host, a.host)
	for p.State() == Failed && w.now().Sub(a.last(Silence).At) < time.Minute {
		w.run(time.Millisecond)
	}
	b.host.Crash() // that heartbeat was its last
	w.run(10 * time.Second)
	a.want("one way, then gone", "suspect failed silence", "failed one-way buried", "one-way suspect silence", "suspect failed silence")
}

func TestNeverHeard(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{}), w.start(Config{})
	b.host.Crash()
	a.watch(b)
	start := w.now()
	w.run(5 * time.Second)
	a.want("nobody there", "connecting failed never-heard")
	if d := a.last(NeverHeard).At.Sub(start); d < 3*time.Second || d > 3200*time.Millisecond {
		t.Errorf("failed after %v, want 3 s from the first heartbeat", d)
	}
}

// Our own stop accuses nobody: the kernel went on receiving, and what is in the socket
// is read before anybody is judged.
func TestOwnStop(t *testing.T) {
	w, a, _, _ := pair(t, Config{})
	a.log = nil
	a.host.Stop()
	w.run(5 * time.Second)
	a.host.Continue()
	w.run(5 * time.Second)
	a.accusedNobody()
	if a.last(LocalPause).Pause < 4*time.Second {
		t.Errorf("pause of %v published", a.last(LocalPause).Pause)
	}
}

// A whole host that stood still has nothing in its sockets; deadlines are moved once.
func TestHostPause(t *testing.T) {
	w, a, _, _ := pair(t, Config{})
	a.log = nil
	a.host.Pause(false)
	w.run(5 * time.Second)
	a.host.Resume()
	w.run(5 * time.Second)
	a.accusedNobody()
}

// A socket that overflowed proves nothing against those who were not read.
func TestOverflow(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	a.log = nil
	a.host.Room = 0
	w.run(350 * time.Millisecond)
	if p.State() != Alive {
		t.Fatalf("state %v while the socket overflows", p.State())
	}
	if a.Stats().Extended == 0 {
		t.Error("no verdict was put off")
	}
	a.host.Room = 100
	w.run(time.Second)
	a.want("an overflow")
	a.host.Room = 0
	b.host.Crash()
	w.run(10 * time.Second)
	_ = p
	if p.State() == Alive {
		t.Error("an overflowing socket keeps the dead alive")
	}
}

func TestCorrelatedSilence(t *testing.T) {
	w := newWorld(t, 3)
	a := w.start(Config{})
	var peers []Peer
	for range 10 {
		b := w.start(Config{})
		peers = append(peers, a.watch(b))
		b.watch(a)
	}
	w.run(2 * time.Second)
	a.log = nil
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if d.To == a.addr() || d.From == a.addr() {
			return nil
		}
		return []*sim.Datagram{d}
	}
	w.run(time.Second)
	a.last(LocalSuspect)
	for _, p := range peers {
		if p.State() != Suspect {
			t.Errorf("%v after all fell silent together", p.State())
		}
	}
	w.Mangle = nil
	w.run(time.Second)
	for _, p := range peers {
		if p.State() != Alive {
			t.Errorf("%v after all came back", p.State())
		}
	}
}

func TestLocalLink(t *testing.T) {
	w, a, _, p := pair(t, Config{Resurrect: true})
	a.log = nil
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram { return nil }
	a.host.Refuse = unix.ENETUNREACH
	w.run(10 * time.Second)
	a.want("no way out", "alive suspect local-link")
	before := p.Stats().MaySeemDeadSince
	if w.now().Sub(before) < 9*time.Second {
		t.Errorf("may seem dead since %v ago", w.now().Sub(before))
	}
	a.host.Refuse, w.Mangle = 0, nil
	w.run(time.Second)
	a.want("way back", "alive suspect local-link", "suspect alive reachable-again")
}

// A peer that is heard while our side has no way to it is one-way for as long, and changes its
// state no more often than the way does; silent, it is suspect, and not for its own silence.
func TestHeardWithoutAWayOut(t *testing.T) {
	w, a, b, p := pair(t, Config{Resurrect: true, Detector: &detect.Fixed{}})
	a.log = nil
	a.host.Refuse = unix.ENETUNREACH
	w.run(10 * time.Second)
	heard := []string{"alive suspect local-link", "suspect one-way local-link"}
	a.want("no way out", heard...)
	w.Cut(b.host, a.host)
	w.run(10 * time.Second)
	a.want("silent as well", append(heard, "one-way suspect local-link")...)
	w.Heal(b.host, a.host)
	w.run(time.Second)
	a.host.Refuse = 0
	w.run(2 * time.Second)
	a.want("back", append(heard, "one-way suspect local-link", "suspect one-way local-link", "one-way alive reachable-again")...)
	if n := p.Stats().Mistakes; n != 0 {
		t.Errorf("%d mistakes", n)
	}
}

// W15: heartbeats recorded in an earlier life, or sent twice, keep nobody alive.
func TestReplay(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	var tape []*sim.Datagram
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if d.From == b.addr() {
			tape = append(tape, d)
		}
		return []*sim.Datagram{d}
	}
	w.run(time.Second)
	w.Mangle = nil
	b.host.Crash()
	a.log = nil
	for i := range 400 {
		d := *tape[i%len(tape)]
		d.At = w.now().Add(time.Duration(i) * 10 * time.Millisecond)
		w.Post(&d)
	}
	w.run(4 * time.Second)
	a.want("replay", "alive suspect silence", "suspect failed silence")
	if n := p.Stats().Duplicated; n < 390 {
		t.Errorf("%d of 400 replayed heartbeats refused as duplicates", n)
	}
	// And to our own next life.
	id := b.ID()
	w.boot(a, Config{})
	q := a.watch(b, func(c *PeerConfig) { c.ID = id })
	for i := range 400 {
		d := *tape[i%len(tape)]
		d.At = w.now().Add(time.Duration(i) * 10 * time.Millisecond)
		w.Post(&d)
	}
	w.run(5 * time.Second)
	if q.State() == Alive || q.Stats().Received != 0 {
		t.Errorf("a recording brought a peer to life: %v, %d heartbeats", q.State(), q.Stats().Received)
	}
}

func TestLossDuplicationReordering(t *testing.T) {
	w := newWorld(t, 7)
	a, b := w.start(Config{}), w.start(Config{})
	p := a.watch(b)
	b.watch(a)
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		var out []*sim.Datagram
		for range 1 + w.Random().IntN(2) {
			if w.Random().IntN(5) == 0 {
				continue
			}
			e := *d
			e.At = d.At.Add(time.Duration(w.Random().IntN(150)) * time.Millisecond)
			out = append(out, &e)
		}
		return out
	}
	w.run(60 * time.Second)
	s := p.Stats()
	if s.State != Alive || s.Duplicated == 0 || s.Reordered == 0 || s.LostIn == 0 {
		t.Errorf("stats %+v", s)
	}
	if total := s.Received + s.LostIn; total < 590 {
		t.Errorf("%d received and %d lost of 600", s.Received, s.LostIn)
	}
	for _, ev := range a.log {
		if ev.To == Failed {
			t.Errorf("failed under loss: %+v", ev)
		}
	}
}

// The wall clock steps by an hour: stamps are converted or refused, nobody is accused.
func TestWallClockStep(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		w, a, _, _ := pair(t, Config{})
		a.log = nil
		a.host.StepWall(step)
		w.run(5 * time.Second)
		a.want("clock step")
		if d := a.Stats(); d.StampsRefused > 2 {
			t.Errorf("%d stamps refused", d.StampsRefused)
		}
	}
}

// W16: of two processes with one id, the one that is refused learns why.
func TestIDCollision(t *testing.T) {
	w := newWorld(t, 5)
	a := w.start(Config{Accept: Accept{Anyone: true}})
	b := w.start(Config{ID: 77})
	b.watch(a)
	w.run(time.Second)
	c := w.start(Config{ID: 77})
	c.watch(a)
	w.run(2 * time.Second)
	b.last(IDCollision)
}

// W16: the clock went back between two lives; the new life moves ahead of the old.
func TestIncarnationHeals(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	id := p.ID()
	b.host.StepWall(-time.Hour)
	w.boot(b, Config{ID: id})
	b.watch(a)
	a.log = nil
	w.run(3 * time.Second)
	if p.State() != Alive || p.Stats().Incarnation != b.Incarnation() {
		t.Errorf("state %v, log %v", p.State(), a.log)
	}
}

// W18: the longer period wins, by agreement.
func TestPeriodsAreNegotiated(t *testing.T) {
	w := newWorld(t, 1)
	a := w.start(Config{Period: 10 * time.Millisecond})
	b := w.start(Config{Period: 10 * time.Millisecond, MinReceivePeriod: 200 * time.Millisecond})
	p := a.watch(b)
	b.watch(a)
	w.run(2 * time.Second)
	a.log, b.log = nil, nil
	before := p.Stats().Sent
	w.run(10 * time.Second)
	if n := p.Stats().Sent - before; n < 45 || n > 55 {
		t.Errorf("%d heartbeats in 10 s to a peer that takes one per 200 ms", n)
	}
	b.want("slow by agreement")
}

// W18: whatever a peer asks, it is sent to at least once in maxPeriod, and told that period.
func TestAskedPeriodIsBounded(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	b.minReceive = 1<<32 - 1 // as no Config would have it
	w.run(5 * time.Minute)
	before := p.Stats().Sent
	w.run(10 * time.Minute)
	if n := p.Stats().Sent - before; n < 9 || n > 20 {
		t.Errorf("%d heartbeats in 10 min", n)
	}
	if period := p.Stats().Period; period < maxPeriod || period > maxPeriod+a.shards[0].grid {
		t.Errorf("period %v", period)
	}
	a.accusedNobody()
	b.accusedNobody()
}

// A longer period is not used before the peer has acknowledged it, whichever heartbeat comes
// first after it was asked for.
func TestSlowerPeriodWaitsForItsAcknowledgement(t *testing.T) {
	for offset := time.Duration(0); offset < 20*time.Millisecond; offset += 2 * time.Millisecond {
		w, a, _, p := pair(t, Config{Period: 20 * time.Millisecond})
		w.run(offset)
		w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
			if d.From == a.addr() {
				return nil
			}
			return []*sim.Datagram{d}
		}
		a.shards[0].post(command{kind: commandPeriod, slot: p.slot, generation: p.generation, arg: uint64(200 * time.Millisecond)})
		w.run(400 * time.Millisecond)
		if period := p.Stats().Period; period != 20*time.Millisecond {
			t.Errorf("%v: period %v, while nothing arrives to tell of it", offset, period)
		}
		w.Mangle = nil
		w.run(time.Second)
		before := p.Stats().Sent
		w.run(2 * time.Second)
		if n := p.Stats().Sent - before; n > 11 {
			t.Errorf("%v: %d heartbeats in 2 s of 200 ms", offset, n)
		}
	}
}

// A thousand peers added at once are sent to at different times.
func TestSendsAreSpread(t *testing.T) {
	w := newWorld(t, 1)
	a := w.start(Config{})
	b := w.start(Config{})
	b.host.Crash()
	for i := range 1000 {
		a.watch(b, func(c *PeerConfig) { c.ID = uint64(i) + 1000 })
	}
	w.run(200 * time.Millisecond)
	most, last := uint64(0), a.host.Socket().Sends
	for range 100 {
		w.run(time.Millisecond)
		most = max(most, a.host.Socket().Sends-last)
		last = a.host.Socket().Sends
	}
	if most > 90 {
		t.Errorf("%d of 1000 heartbeats of a 100 ms period within one millisecond", most)
	}
}

// post sends a datagram with header h from n's address.
func (n *node) post(h wire.Header, to *node) {
	n.world.t.Helper()
	b, f := wire.Append(nil, &h, nil)
	if f != wire.OK {
		n.world.t.Fatal(f)
	}
	n.world.Post(&sim.Datagram{At: n.world.now(), From: n.addr(), To: to.addr(), Data: b})
}

// A link without a carrier takes what is sent and loses it. Nobody is failed for that,
// and a peer that died meanwhile is found out once the link is back.
func TestCarrierLost(t *testing.T) {
	w, a, b, p := pair(t, Config{Resurrect: true, Detector: &detect.Chen{}})
	a.log = nil
	a.host.Unplugged = true
	w.run(20 * time.Second)
	a.want("a lost carrier", "alive suspect local-link")
	a.host.Unplugged = false
	w.run(time.Second)
	a.want("a lost carrier", "alive suspect local-link",
		"suspect one-way buried", // it has taken us for dead meanwhile
		"one-way alive reachable-again")
	a.log = nil
	a.host.Unplugged = true
	w.run(time.Second)
	b.host.Crash()
	w.run(time.Second)
	a.host.Unplugged = false
	w.run(3 * time.Second)
	a.want("a death behind a lost carrier", "alive suspect local-link", "suspect failed silence")
	if p.State() != Failed {
		t.Errorf("state %v", p.State())
	}
}

// What was granted for a silence of our own making ends with it: a peer that was heard since
// and then dies is found out as soon as any other. Found by seeds 201 and 216 of enginetest.
func TestGraceEndsWithTheSilence(t *testing.T) {
	for name, breakLink := range linkFaults {
		w, a, b, p := pair(t, Config{Detector: &detect.Fixed{}})
		w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
			if d.From == a.addr() {
				return nil // so that b buries a, and a comes back to one-way, not to alive
			}
			return []*sim.Datagram{d}
		}
		breakLink(a.host, true)
		w.run(3 * time.Second)
		breakLink(a.host, false)
		w.run(500 * time.Millisecond)
		if s := p.State(); s != OneWay {
			t.Fatalf("%s: %v after the link came back", name, s)
		}
		b.host.Crash()
		heard := p.Stats().LastArrival
		a.log = nil
		w.run(5 * time.Second)
		a.want(name, "one-way suspect silence", "suspect failed silence")
		for i, granted := range []time.Duration{300 * time.Millisecond, 7 * 300 * time.Millisecond} {
			if d := a.log[i].At.Sub(heard); d < granted || d > granted+time.Millisecond {
				t.Errorf("%s: %v after %v, with %v granted", name, a.log[i].To, d, granted)
			}
		}
	}
}

// A judge timer may remove the very peer whose send timer is served after it.
func TestTimersOfRemovedPeer(t *testing.T) {
	for _, judgeFirst := range []bool{true, false} {
		w := newWorld(t, 1)
		a, b := w.start(Config{}), w.start(Config{Accept: Accept{Anyone: true}})
		a.watch(b)
		w.run(time.Second)
		s, slot := b.shards[0], b.shards[0].index.lookup(a.ID())
		if slot == noSlot || b.Stats().Peers != 1 {
			t.Fatal("not admitted")
		}
		a.host.Crash()
		p := s.table.peer(slot)
		s.transition(p, slot, Failed, Silence, s.now)
		p.checkAt, p.timerAt = w.now(), w.now()
		s.wheel.Cancel(sendTimer(slot))
		timers := []uint32{sendTimer(slot), judgeTimer(slot)}
		if judgeFirst {
			slices.Reverse(timers)
		}
		for _, id := range timers {
			s.wheel.Set(id, w.now())
		}
		b.host.Socket().Wake()
		w.run(time.Second)
		if n := s.wheel.Len(); n != 0 || b.Stats().Peers != 0 {
			t.Errorf("judge first %v: %d timers run for %d peers", judgeFirst, n, b.Stats().Peers)
		}
	}
}

// Heartbeats from before the first that came were never waited for: they are no losses,
// and a late one takes none back. A new life starts its count anew.
func TestLossesCountFromTheFirstHeard(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	q := Peer{b.Engine, b.shards[0].index.lookup(a.ID()), 0}
	q.generation = q.record().generation
	record := p.record()
	record.replay, record.firstSeq = wire.ReplayWindow{}, 0 // as if nothing had come yet
	var held *sim.Datagram
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if d.To == a.addr() && held == nil {
			held = d
			return nil
		}
		return []*sim.Datagram{d}
	}
	w.run(250 * time.Millisecond)
	w.Mangle = nil
	held.At = w.now()
	w.Post(held)
	w.run(300 * time.Millisecond)
	if s := p.Stats(); s.LostIn != 0 || s.Reordered != 1 {
		t.Errorf("lost %d, reordered %d after the first heartbeat came late", s.LostIn, s.Reordered)
	}
	if s := q.Stats(); s.LostOut != 0 {
		t.Errorf("the peer was told of %d losses", s.LostOut)
	}
	record.lostIn.Set(5)
	w.boot(b, Config{ID: b.ID()})
	back := b.watch(a)
	w.run(time.Second)
	if s := back.Stats(); s.State != Alive || s.LostOut != 0 {
		t.Errorf("%v, a new life was told of %d losses of the old one", s.State, s.LostOut)
	}
}

// W14: a stranger is not answered; one that may be admitted gets no more datagrams than
// it sends until it has proved that it hears us, and is then forgotten.
func TestStrangers(t *testing.T) {
	w := newWorld(t, 1)
	closed := w.start(Config{})
	open := w.start(Config{Accept: Accept{Anyone: true, PerSecond: 10, Max: 5}})
	forger := w.start(Config{})
	forger.host.Crash() // whatever is sent back reaches nobody
	for i := range uint64(100) {
		for _, to := range []*node{closed, open} {
			forger.post(wire.Header{
				Kind: wire.KindHeartbeat, Sender: 100 + i%20, Incarnation: 1, Sequence: i + 1, Period: 100_000,
			}, to)
		}
		w.run(100 * time.Millisecond)
	}
	if closed.host.Socket().Sends != 0 || closed.Stats().Strangers != 100 || closed.Stats().Peers != 0 {
		t.Errorf("%d answers to a stranger; %+v", closed.host.Socket().Sends, closed.Stats())
	}
	if open.host.Socket().Sends > 100 || open.host.Socket().Sends == 0 {
		t.Errorf("%d answers to 100 forged heartbeats", open.host.Socket().Sends)
	}
	if n := open.shards[0].admitted; n > 5 {
		t.Errorf("%d strangers admitted, at most 5 allowed", n)
	}
	w.run(5 * time.Second)
	if s := open.Stats(); s.Peers != 0 {
		t.Errorf("%d strangers that never proved themselves are still watched", s.Peers)
	}
}

// A stranger that was cut off until it was forgotten is admitted again, and so is this node
// by it: sequences go on where they were. Found by seed 849 of enginetest.
func TestForgottenStrangerComesBack(t *testing.T) {
	w := newWorld(t, 1)
	a := w.start(Config{Detector: &detect.Fixed{}, Accept: Accept{Anyone: true, Forget: time.Second}})
	b := w.start(Config{Detector: &detect.Fixed{}, Resurrect: true})
	p := b.watch(a)
	for round := range 3 {
		w.run(5 * time.Second)
		before := p.Stats()
		w.Mangle = func(d *sim.Datagram) []*sim.Datagram { return nil }
		w.run(20 * time.Second)
		if n := a.Stats().Peers; n != 0 || p.State() != Failed {
			t.Fatalf("round %d: %d peers, %v", round, n, p.State())
		}
		w.Mangle = nil
		w.run(5 * time.Second)
		all := a.Snapshot(nil)
		if len(all) != 1 || all[0].State != Alive || all[0].Sent > 60 || p.State() != Alive {
			t.Fatalf("round %d: %+v, and the other side is %v", round, all, p.State())
		}
		if s := p.Stats(); s.LostIn > before.LostIn+30 || all[0].RoundTrip > time.Millisecond {
			t.Errorf("round %d: %d lost, round trip %v", round, s.LostIn-before.LostIn, all[0].RoundTrip)
		}
	}
}

// So is one whose period is longer than ConnectTimeout: it proves itself with its next heartbeat.
// Found by seed 905300 of enginetest.
func TestRareStrangerProvesItself(t *testing.T) {
	w := newWorld(t, 1)
	a := w.start(Config{
		Detector: &detect.Fixed{}, ConnectTimeout: 300 * time.Millisecond, Accept: Accept{Anyone: true, Forget: 100 * time.Millisecond},
	})
	b := w.start(Config{Detector: &detect.Fixed{Multiplier: 100}, Period: 400 * time.Millisecond})
	p := b.watch(a)
	w.run(2 * time.Second)
	w.Cut(b.host, a.host)
	w.run(30 * time.Second)
	if n := a.Stats().Peers; n != 0 || p.State() != OneWay && p.State() != Alive {
		t.Fatalf("%d peers, and the other side is %v", n, p.State())
	}
	w.Heal(b.host, a.host)
	w.run(2 * time.Second)
	if all := a.Snapshot(nil); len(all) != 1 || all[0].State != Alive || p.State() != Alive {
		t.Errorf("%+v, and the other side is %v", all, p.State())
	}
}

// An admitted stranger that left or failed is forgotten after Accept.Forget, no earlier: neither what
// is learned of it later nor what it sends in the same life counts.
func TestForgottenNoEarlierThanAsked(t *testing.T) {
	const forget = 30 * time.Second
	for i := range 20 { // of which some end while the detector has something to fit
		w := newWorld(t, 1)
		a, b := w.start(Config{Accept: Accept{Anyone: true, Forget: forget}}), w.start(Config{})
		p := b.watch(a)
		w.run(2*time.Second + time.Duration(i)*100*time.Millisecond)
		if err := b.RemovePeer(p); err != nil {
			t.Fatal(err)
		}
		w.run(forget + time.Second)
		if d := a.last(Forgotten).At.Sub(a.last(Goodbye).At); d < forget {
			t.Fatalf("%d: forgotten %v after its goodbye", i, d)
		}
	}
	w := newWorld(t, 1)
	a, b := w.start(Config{Accept: Accept{Anyone: true, Forget: forget}}), w.start(Config{Resurrect: true})
	b.watch(a)
	w.run(10 * time.Second)
	w.Cut(a.host, b.host)
	w.Cut(b.host, a.host)
	w.run(20 * time.Second)
	w.Heal(a.host, b.host)
	w.Heal(b.host, a.host)
	w.run(3 * time.Second)
	w.Cut(b.host, a.host)
	w.run(forget + time.Second)
	if d := a.last(Forgotten).At.Sub(a.last(Silence).At); d < forget {
		t.Errorf("forgotten %v after it failed", d)
	}
}

// Of a gap in the sequences, no more is lost than can have been sent.
func TestBelievableLosses(t *testing.T) {
	const period = 100_000 // µs
	for _, c := range []struct {
		missing uint64
		silence time.Duration
		want    bool
	}{{1000, 100 * time.Second, true}, {1000, time.Second, false}, {200, time.Second, true}, {1 << 60, time.Hour, false}} {
		if got := believable(c.missing, c.silence, period); got != c.want {
			t.Errorf("%d missing after %v: %v, want %v", c.missing, c.silence, got, c.want)
		}
	}
}

// What of such a gap comes after all was not counted as lost, so it is not counted back.
func TestNothingIsFoundThatWasNotLost(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	b.host.Crash()
	before, next := p.Stats(), a.table.peer(p.slot).replay.Highest()+1_000_000
	for _, sequence := range []uint64{next, next - 1, next - 5, next + 3, next + 2} {
		b.post(wire.Header{
			Kind: wire.KindHeartbeat, Sender: b.ID(), Destination: a.ID(), Incarnation: b.Incarnation(), Sequence: sequence,
			Period: 100_000, SendInstant: int64(w.now()), EchoIncarnation: a.Incarnation(), EchoSequence: 1, EchoVerdict: wire.VerdictAlive,
		}, a)
		w.run(2 * time.Millisecond)
	}
	s := p.Stats()
	if s.Received-before.Received != 5 || s.LostIn-before.LostIn != 1 { // next + 1
		t.Errorf("%d received, %d lost", s.Received-before.Received, s.LostIn-before.LostIn)
	}
}

// A peer that is heard and never heard us is one-way for as long as that lasts, and no longer:
// then it is suspected and failed as any other. Heard again in time, it is one-way again.
func TestDeafFromTheStart(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{}), w.start(Config{})
	w.Cut(a.host, b.host)
	p := a.watch(b)
	b.watch(a)
	w.run(time.Minute)
	a.want("the way there is cut", "connecting one-way deaf")
	w.Cut(b.host, a.host)
	w.run(4 * time.Second)
	if p.State() != Suspect {
		t.Errorf("silent for 4 s it is %v", p.State())
	}
	w.Heal(b.host, a.host)
	w.run(time.Minute)
	w.Cut(b.host, a.host)
	w.run(10 * time.Second)
	w.Heal(b.host, a.host)
	w.run(time.Minute)
	w.Heal(a.host, b.host)
	w.run(time.Second)
	a.want("cut and healed", "connecting one-way deaf", "one-way suspect silence", "suspect one-way deaf",
		"one-way suspect silence", "suspect failed silence", "failed alive first-contact")
}

// W17: whatever a peer asks, answers outside the schedule keep their distance.
func TestSolicitationsAreBounded(t *testing.T) {
	w, a, b, _ := pair(t, Config{})
	b.host.Stop()
	before := a.host.Socket().Sends
	for i := range uint64(1000) {
		b.post(wire.Header{
			Kind: wire.KindHeartbeat, Flags: wire.FlagSolicit, Sender: b.ID(), Destination: a.ID(),
			Incarnation: b.Incarnation(), Sequence: 1000 + i, Period: 100_000, SendInstant: int64(w.now()),
			EchoIncarnation: a.Incarnation(), EchoSequence: 1, EchoVerdict: wire.VerdictAlive,
		}, a)
		w.run(time.Millisecond)
	}
	// Ten by schedule, and one per eighth of the period.
	if n := a.host.Socket().Sends - before; n > 10+100 || n < 20 {
		t.Errorf("%d heartbeats in a second that brought 1000 solicitations", n)
	}
}

// W20: a peer whose scheduled heartbeats are lost is asked, and its answer saves it.
func TestSolicit(t *testing.T) {
	w, a, b, _ := pair(t, Config{})
	a.log = nil
	answered := a.Stats().Solicited
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if d.From == b.addr() {
			if asked := a.Stats().Solicited; asked != answered {
				answered = asked
			} else {
				return nil // all is lost but one answer to each question
			}
		}
		return []*sim.Datagram{d}
	}
	w.run(10 * time.Second)
	a.accusedNobody()
	if a.Stats().Solicited < 10 {
		t.Errorf("asked %d times", a.Stats().Solicited)
	}
}

// The peer table gives slots back, and a handle of a removed peer stays removed.
func TestRemovePeer(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	b.log = nil
	for i := range 50 {
		if err := a.RemovePeer(p); err != nil {
			t.Fatal(err)
		}
		w.run(time.Second)
		if p.State() != Removed || p.Stats().State != Removed || p.Suspicion() != 0 {
			t.Fatalf("round %d: a removed peer is %v", i, p.State())
		}
		if err := a.RemovePeer(p); !errors.Is(err, ErrNoPeer) {
			t.Fatalf("removed twice: %v", err)
		}
		p = a.watch(b)
		w.run(time.Second)
	}
	if n := a.slots.Load(); n > 1 {
		t.Errorf("%d slots for one peer at a time", n)
	}
	if n := len(b.log); n == 0 || b.log[0].Cause != Goodbye {
		t.Errorf("the removed peer was not told: %v", b.log)
	}
}

func TestDuplicatesAreRefused(t *testing.T) {
	_, a, b, p := pair(t, Config{})
	other := b.host.Addr()
	if _, err := a.AddPeer(PeerConfig{Addr: other, ID: 5}); err != nil {
		t.Error(err)
	}
	if _, err := a.AddPeer(PeerConfig{Addr: other, ID: 5}); !errors.Is(err, ErrDuplicate) {
		t.Errorf("an id twice: %v", err)
	}
	if _, err := a.AddPeer(PeerConfig{Addr: b.host.Addr(), ID: a.ID()}); err == nil {
		t.Error("the own id was accepted")
	}
	_ = p
}

// A peer's address changes, and it stays the same peer.
func TestPeerMoves(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	a.log = nil
	id := p.ID()
	b.host.Move(netip.MustParseAddrPort("10.9.9.9:1"))
	w.run(5 * time.Second)
	a.want("a new address")
	if p.ID() != id || p.State() != Alive || a.Stats().Moved != 1 {
		t.Errorf("peer %x is %v, %d moves", p.ID(), p.State(), a.Stats().Moved)
	}
}

// An address at which a peer is watched is not watched twice, whatever the peer's state: the second
// peer would fail, never heard. It is free when the peer moves or RemovePeer is called.
func TestAddressIsWatchedOnce(t *testing.T) {
	w, a, b, p := pair(t, Config{Detector: &detect.Fixed{}})
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
	if p.State() != Alive || a.Stats().Peers != 1 {
		t.Fatalf("%v, of %d peers", p, a.Stats().Peers)
	}
	b.host.Move(netip.MustParseAddrPort("10.9.9.9:1"))
	w.run(5 * time.Second)
	add("moved", nil)
	at = b.host.Addr()
	add("where it has moved to", ErrDuplicate)
	if n := len(a.awaited.peers); n != 2 {
		t.Errorf("%d addresses for two peers", n)
	}
}

// The address that a silent peer has moved from is nobody's: another process that gets it does
// not take the place of the peer, which lives on elsewhere, and it may be watched there.
func TestOldAddressOfAPeerThatMovedWhileSilent(t *testing.T) {
	w, a, b, p := pair(t, Config{Resurrect: true, Detector: &detect.Fixed{}})
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
	if p.State() != Alive || a.Stats().Moved != 1 {
		t.Fatalf("%v after %d moves", p, a.Stats().Moved)
	}
	a.log = nil
	c := w.startAt(old, Config{})
	c.watch(a)
	w.run(30 * time.Second)
	a.want("another process at the old address")
	if p.ID() != id || p.State() != Alive {
		t.Errorf("%v, which was %x, and %x is another one", p, id, c.ID())
	}
	q := a.watch(c)
	w.run(10 * time.Second)
	if p.State() != Alive || q.State() != Alive || q.ID() != c.ID() {
		t.Errorf("%v, and there %v", p, q)
	}
}

// A peer that is heard from another address while it is failed is awaited there, and no longer
// where it was.
func TestFailedPeerThatMovesIsAwaitedThere(t *testing.T) {
	w, a, b, p := pair(t, Config{Detector: &detect.Fixed{}})
	old := b.host.Addr()
	w.Cut(b.host, a.host)
	w.run(20 * time.Second)
	b.host.Move(netip.MustParseAddrPort("10.9.9.9:1"))
	w.Heal(b.host, a.host)
	w.run(5 * time.Second)
	if p.State() != Failed || a.Stats().Moved != 1 {
		t.Fatalf("%v after %d moves", p, a.Stats().Moved)
	}
	a.watch(w.startAt(old, Config{}))
	b.host.Kill()
	w.boot(b, Config{})
	b.watch(a)
	w.run(5 * time.Second)
	if p.State() != Alive || p.ID() != b.ID() {
		t.Errorf("%v, and %x is at its address", p, b.ID())
	}
}

// A subscription that nobody reads costs nothing and loses no latest state.
func TestEventsConflate(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{Resurrect: true}), w.start(Config{Resurrect: true})
	p := a.watch(b)
	b.watch(a)
	w.run(time.Second)
	late := a.Subscribe()
	first, ok := late.TryNext()
	if !ok || first.To != Alive || first.From != Alive || first.Cause != NoCause {
		t.Fatalf("the current state comes first, not %+v", first)
	}
	for range subscriptionRing { // two transitions each: more than the ring holds
		a.shards[0].transition(a.table.peer(p.slot), p.slot, Suspect, Silence, w.now())
		a.shards[0].transition(a.table.peer(p.slot), p.slot, Alive, ReachableAgain, w.now())
	}
	a.shards[0].transition(a.table.peer(p.slot), p.slot, Suspect, Silence, w.now())
	delivered, merged := 0, 0
	var last Event
	for {
		ev, ok := late.TryNext()
		if !ok {
			break
		}
		delivered++
		merged += ev.Merged
		last = ev
	}
	if last.To != Suspect || last.Merged == 0 {
		t.Errorf("the last event is %+v", last)
	}
	if delivered+merged != 2*subscriptionRing+1 {
		t.Errorf("%d delivered and %d merged of %d", delivered, merged, 2*subscriptionRing+1)
	}
}

func TestSnapshot(t *testing.T) {
	_, a, _, p := pair(t, Config{})
	all := a.Snapshot(nil)
	if len(all) != 1 || all[0].ID != p.ID() || all[0].State != Alive {
		t.Errorf("snapshot %+v", all)
	}
}
