package engine

import (
	"testing"
	"time"

	"systole/engine/internal/sim"
	"systole/wire"
)

// W19: goodbye is told three times, and nothing of that incarnation counts after it.
func TestGoodbye(t *testing.T) {
	w, a, b, _ := pair(t, Config{})
	a.log = nil
	b.shards[0].post(command{kind: commandLeave})
	w.run(100 * time.Millisecond)
	b.host.Kill()
	w.run(2 * time.Second)
	a.want("goodbye", "alive left goodbye")
}

// W19: a node that said goodbye to a peer and watches it again, in the same incarnation, is taken
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

// An answer that a process wrote before its goodbye, and that arrives after it, begins no session: the
// process has left. Found by seed 9005834 of enginetest.
func TestLateAnswerAfterGoodbye(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{}), w.start(Config{})
	var answers []*sim.Datagram
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		var h wire.Header
		if _, fault := wire.Decode(d.Data, &h); fault == wire.OK && d.From == b.addr() && wire.Slot(h.MyDiscriminator) == 0 {
			answers = append(answers, d)
			return nil
		}
		return []*sim.Datagram{d}
	}
	p, q := a.watch(b), b.watch(a)
	for range 2000 {
		if p.State() == Alive {
			break
		}
		w.run(time.Millisecond)
	}
	if err := b.RemovePeer(q); err != nil {
		t.Fatal(err)
	}
	w.run(50 * time.Millisecond)
	for _, d := range answers {
		again := *d
		again.At = w.now()
		w.Post(&again)
	}
	w.run(10 * time.Second)
	a.want("an answer after the goodbye", "connecting alive first-contact", "alive left goodbye")
	if len(answers) == 0 {
		t.Error("no answer was held back")
	}
}

// A process that said goodbye and starts anew is alive.
func TestRestartAfterGoodbye(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	a.log = nil
	b.shards[0].post(command{kind: commandLeave})
	w.run(100 * time.Millisecond)
	b.host.Kill()
	w.run(5 * time.Second)
	w.boot(b, Config{ID: p.ID()})
	b.watch(a)
	w.run(2 * time.Second)
	a.want("left and back", "alive left goodbye", "left alive restarted")
}

// W19: a new watch of the same incarnation has another discriminator. What is recorded of the watch before names a
// discriminator that has ended.
func TestNewWatchHasAnotherDiscriminator(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	q := b.watched(a)
	before, theirs := q.record().session.mine, p.record().session.theirs.Get()
	if theirs != before {
		t.Fatalf("%x is known as %x", before, theirs)
	}
	var tape []*sim.Datagram
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if d.From == b.addr() {
			tape = append(tape, d)
		}
		return []*sim.Datagram{d}
	}
	w.run(time.Second)
	b.remove(q)
	w.Mangle = nil
	q = b.watch(a)
	w.run(time.Second)
	after := q.record().session.mine
	if after == before || wire.Slot(after) != q.slot || p.record().session.theirs.Get() != after || b.Stats().Peers.Slots != 1 {
		t.Errorf("%x, then %x", before, after)
	}
	a.log = nil
	was := p.Stats()
	for _, d := range tape {
		w.Post(&sim.Datagram{At: w.now(), From: d.From, To: d.To, Data: d.Data})
	}
	w.run(time.Second)
	a.want("the watch before, played again")
	if s := p.Stats(); s.State != Alive || s.Duplicated != was.Duplicated || s.Received-was.Received > 11 || s.LostIn != 0 {
		t.Errorf("%+v", s)
	}
}

// When an engine ends, every peer's state says that nobody is watched any more, and so do its events.
func TestEndOfAnEngine(t *testing.T) {
	for name, end := range map[string]func(w *world, a *node){
		"close": func(w *world, a *node) {
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		},
		"shutdown": func(w *world, a *node) {
			if err := a.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			w.run(time.Second)
		},
	} {
		w := newWorld(t, 1)
		a, b, dead, silent := w.start(Config{}), w.start(Config{}), w.start(Config{}), w.start(Config{})
		dead.watch(a)
		peers := []Peer{a.watch(b), a.watch(dead), a.watch(silent)}
		b.watch(a)
		w.run(5 * time.Second)
		dead.host.Crash()
		w.run(5 * time.Second)
		for i, want := range []State{Alive, Failed, Failed} {
			if s := peers[i].State(); s != want {
				t.Fatalf("%s: %v", name, s)
			}
		}
		late := Peer{}
		if name == "close" {
			late = a.watch(w.start(Config{})) // which its shard will never see
		}
		a.log, b.log = nil, nil
		before := []PeerStats{peers[0].Stats(), peers[1].Stats(), peers[2].Stats()}
		end(w, a)
		a.collect()
		a.want(name, "alive removed closed", "failed removed closed", "failed removed closed")
		for i, p := range peers {
			who := PeerStats{Peer: p, Addr: before[i].Addr, ID: before[i].ID, State: Removed} // and nothing else
			if s := p.Stats(); p.State() != Removed || s != who || p.Suspicion() != 0 || p.Degraded() || p.Addr() != who.Addr || p.ID() != who.ID {
				t.Errorf("%s: %v, %+v", name, p, s)
			}
		}
		if !late.IsZero() && late.State() != Removed {
			t.Errorf("%s: one that was just added is %v", name, late)
		}
		w.run(5 * time.Second)
		if name == "shutdown" {
			b.want("shutdown", "alive left goodbye")
		}
	}
}

// W19: a server that is shut down at any instant after it admitted a client says goodbye to it. The handshake
// has spent the client's credit, so the goodbye waits for the client's next heartbeat. The path takes 20 ms
// each way.
func TestGoodbyeRightAfterAdmission(t *testing.T) {
	const delay = 20 * time.Millisecond
	for after := time.Duration(0); after < 250*time.Millisecond; after += after/8 + time.Millisecond {
		w := newWorld(t, 1)
		server, client := w.start(Config{Accept: Accept{Anyone: true}}), w.start(Config{})
		w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
			d.At = d.At.Add(delay)
			return []*sim.Datagram{d}
		}
		p := client.watch(server)
		for server.Stats().Peers.Watched == 0 {
			w.run(100 * time.Microsecond)
		}
		w.run(after)
		server.shards[0].post(command{kind: commandLeave})
		leaves := w.now()
		for server.departures.Load() == 0 {
			w.run(100 * time.Microsecond)
		}
		server.host.Kill()
		took := w.now().Sub(leaves)
		w.run(2 * delay)
		if p.State() != Left || took > 3*delay {
			t.Errorf("%v after the admission: %v, goodbyes took %v", after, p, took)
		}
	}
}

// A client that is silent does not keep a server from ending.
func TestGoodbyeWaitIsBounded(t *testing.T) {
	w := newWorld(t, 1)
	server, client := w.start(Config{Accept: Accept{Anyone: true}}), w.start(Config{})
	client.watch(server)
	for server.Stats().Peers.Watched == 0 {
		w.run(50 * time.Microsecond)
	}
	client.host.Kill()
	server.shards[0].post(command{kind: commandLeave})
	w.run(goodbyeWait + 20*time.Millisecond)
	if server.departures.Load() != 1 {
		t.Errorf("%d shards have said goodbye after %v", server.departures.Load(), goodbyeWait)
	}
}
