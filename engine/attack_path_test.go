package engine

import (
	"fmt"
	"testing"
	"time"

	"systole/engine/clock"
	"systole/engine/internal/sim"
	"systole/wire"
)

// Attackers on the path: they have recorded all that went by, write it again where and when they like,
// and keep back what they like. They hold no key.

// A heartbeat of ours that is thrown back at us does not make the peer ourselves.
func TestAttackReflectsOwnHeartbeats(t *testing.T) {
	for _, keys := range []*wire.KeyRing{nil, sharedKeys(t)} {
		s := newScene(t, Config{Keys: keys})
		for _, d := range s.recorded(s.a, s.b) {
			s.inject(s.b.addr(), s.a.addr(), d.Data)
			s.inject(s.a.addr(), s.a.addr(), d.Data)
			s.run(3 * time.Millisecond)
		}
		for range 20 { // and each at once
			tape := s.recorded(s.a, s.b)
			s.inject(s.b.addr(), s.a.addr(), tape[len(tape)-1].Data)
			s.run(37 * time.Millisecond)
		}
		s.calm("own heartbeats")
		s.a.balanced("own heartbeats")
		s.b.host.Crash()
		for range 200 {
			tape := s.recorded(s.a, s.b)
			s.inject(s.b.addr(), s.a.addr(), tape[len(tape)-1].Data)
			s.run(50 * time.Millisecond)
		}
		if s.ab.State() != Failed {
			t.Errorf("dead, and our own heartbeats keep it %v", s.ab)
		}
	}
}

// A peer that is connecting is told to be ourselves by our heartbeats, and is alive all the same when it is
// heard.
func TestOwnNodeHeals(t *testing.T) {
	s := emptyScene(t, nil)
	s.a, s.b = s.start(Config{}), s.start(Config{})
	s.ab = s.a.watch(s.b)
	s.lose = func(d *sim.Datagram) bool { return true }
	s.run(500 * time.Millisecond)
	tape := s.recorded(s.a, s.b)
	s.inject(s.b.addr(), s.a.addr(), tape[len(tape)-1].Data)
	s.run(10 * time.Millisecond)
	if ev := s.a.last(OwnNode); ev.To != Connecting {
		t.Errorf("%+v", ev)
	}
	s.ba = s.b.watch(s.a)
	s.lose = nil
	s.run(time.Second)
	if s.ab.State() != Alive || s.ba.State() != Alive {
		t.Errorf("%v and %v", s.ab, s.ba)
	}
}

// Recordings, in any order, from any address and to anybody, change nothing: nobody is accused, nobody
// moves, no third is written to for more than was written in its name.
func TestAttackPlaysRecordings(t *testing.T) {
	for _, keys := range []*wire.KeyRing{nil, sharedKeys(t)} {
		for _, anyone := range []bool{false, true} {
			s := newScene(t, Config{Keys: keys, Accept: Accept{Anyone: anyone}})
			third := s.start(Config{Keys: keys, Accept: Accept{Anyone: anyone}})
			bystander := s.listen("10.9.0.77:7853")
			ta, at := third.watch(s.a), s.a.watch(third)
			s.run(time.Second)
			third.log, third.nodes = nil, nil
			before, gotBefore := s.ab.Stats(), s.got[bystander.addr()]
			tape := s.tape
			random := s.Random()
			for range 3000 {
				d := tape[random.IntN(len(tape))]
				from := d.From
				switch random.IntN(4) {
				case 0:
					from = bystander.addr()
				case 1:
					from = third.addr()
				}
				to := []*node{s.a, s.b, third}[random.IntN(3)]
				s.inject(from, to.addr(), d.Data)
				s.run(time.Duration(random.Int64N(int64(5 * time.Millisecond))))
			}
			s.run(2 * time.Second)
			what := fmt.Sprintf("keys %v, anyone %v", keys != nil, anyone)
			s.calm(what)
			if ta.State() != Alive || at.State() != Alive || len(third.log) > 0 || len(third.nodes) > 0 {
				t.Errorf("%s: third: %v, %v, %+v, %+v", what, ta, at, third.log, third.nodes)
			}
			after := s.ab.Stats()
			if after.LostIn != before.LostIn || after.LostOut != before.LostOut || after.Mistakes != before.Mistakes ||
				after.ID != s.b.ID() || after.Addr != s.b.host.Addr() || after.Progress != before.Progress {
				t.Errorf("%s: before %+v, after %+v", what, before, after)
			}
			if got := s.got[bystander.addr()] - gotBefore; got > s.forged[bystander.addr()] {
				t.Errorf("%s: a bystander got %d bytes for %d", what, got, s.forged[bystander.addr()])
			}
			for _, n := range []*node{s.a, s.b, third} {
				n.balanced(what)
				if n.Stats().Heartbeats.Moved > 0 {
					t.Errorf("%s: %v moved a peer", what, n.host.Name)
				}
			}
		}
	}
}

// Nor do recordings of an earlier incarnation of either side, nor after either has died.
func TestAttackPlaysRecordingsOfEarlierLives(t *testing.T) {
	keys := sharedKeys(t)
	for _, who := range []string{"sender", "receiver", "both"} {
		s := newScene(t, Config{Keys: keys, ID: 41}, func(c *Config) { c.ID = 42 })
		early := s.tape
		if who != "receiver" {
			s.boot(s.b, Config{Keys: keys, ID: 42})
			s.ba = s.b.watch(s.a)
		}
		if who != "sender" {
			s.boot(s.a, Config{Keys: keys, ID: 41})
			s.ab = s.a.watch(s.b)
		}
		s.run(2 * time.Second)
		s.a.log, s.b.log = nil, nil
		for _, d := range early {
			s.inject(d.From, d.To, d.Data)
			s.run(5 * time.Millisecond)
		}
		s.calm("restart of the " + who)
		s.b.host.Crash()
		died := s.now()
		for _, d := range s.tape {
			if d.To == s.a.addr() {
				s.inject(d.From, d.To, d.Data)
				s.run(100 * time.Millisecond)
			}
		}
		if s.now().Sub(died) < 4*time.Second {
			t.Fatal("too short a recording")
		}
		if s.ab.State() != Failed {
			t.Errorf("restart of the %s: dead, and recordings keep it %v", who, s.ab)
		}
		for _, ev := range s.a.log {
			if ev.To == Alive || ev.To == OneWay {
				t.Errorf("restart of the %s: %+v", who, ev)
			}
		}
	}
}

// A cookie that a stranger returned is good once in each session, within its time and after it.
func TestAttackPlaysReturnedCookies(t *testing.T) {
	for _, after := range []time.Duration{10 * time.Millisecond, 10 * time.Second, 40 * time.Second} {
		for _, keys := range []*wire.KeyRing{nil, sharedKeys(t)} {
			s := emptyScene(t, keys)
			s.a = s.start(Config{Keys: keys, Accept: Accept{Anyone: true, Forget: time.Second}})
			s.b = s.start(Config{Keys: keys})
			s.ba = s.b.watch(s.a)
			s.run(time.Second)
			hello := s.recorded(s.b, s.a)[:3]
			s.b.host.Crash()
			if after > time.Second { // failed and forgotten
				s.run(8 * time.Second)
				if n := s.a.Stats().Peers.Watched; n != 0 {
					t.Fatalf("%d peers", n)
				}
			}
			s.run(after)
			sent, paid := s.got[s.b.addr()], s.forged[s.b.addr()]
			s.a.log = nil
			for range 10 {
				for _, d := range hello {
					s.inject(s.b.addr(), s.a.addr(), d.Data)
					s.run(20 * time.Millisecond)
				}
			}
			s.run(20 * time.Second)
			alive := 0
			for _, ev := range s.a.log {
				if ev.To == Alive {
					alive++
				}
			}
			if n := s.a.Stats().Peers.Watched; n > 0 || after > cookieTime*2 && alive > 0 || alive > 1 {
				t.Errorf("after %v: %d peers, %d times alive: %+v", after, n, alive, s.a.log)
			}
			if got, in := s.got[s.b.addr()]-sent, s.forged[s.b.addr()]-paid; got > in {
				t.Errorf("after %v: the dead one's address got %d bytes for %d", after, got, in)
			}
		}
	}
}

// A process at a peer's home replaces one that is heard elsewhere by an answer that it returns. A recording
// of that return does the same once at most: if it was kept back, and the answer was written after the peer
// had moved away. The dead process then fails, and the other one is alive as a stranger.
func TestAttackPlaysAnswersReturnedAtHome(t *testing.T) {
	for name, c := range map[string]struct {
		early, keep bool // the answers were written before the peer moved away; the returns are kept back
		sessions    int  // that the recording begins
	}{
		"known":     {false, false, 0},
		"kept back": {false, true, 1},
		"too early": {true, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			keys := sharedKeys(t)
			s := emptyScene(t, keys)
			s.a, s.b = s.start(Config{Keys: keys, Period: 5 * time.Millisecond, Accept: Accept{Anyone: true}}), s.start(Config{Keys: keys})
			s.ab, s.ba = s.a.watch(s.b), s.b.watch(s.a)
			s.run(time.Second)
			rival := s.start(Config{Keys: keys})
			watch := rival.watch(s.a)
			s.run(time.Second)
			var returned []*sim.Datagram
			s.lose = func(d *sim.Datagram) bool {
				h := decode(t, d.Data)
				if d.From != s.b.addr() || h.YourDiscriminator == 0 {
					return false
				}
				if wire.Slot(h.YourDiscriminator) == 0 {
					returned = append(returned, d)
				}
				return c.keep && (c.early || wire.Slot(h.YourDiscriminator) == 0)
			}
			if c.early {
				s.boot(s.b, Config{Keys: keys})
				s.b.watch(s.a)
				s.run(50 * time.Millisecond)
				s.b.host.Crash()
			}
			s.a.rival(s.ab, s.b, rival)
			s.run(time.Second)
			if now := s.ab.Stats().Incarnation; len(returned) == 0 || now == rival.Incarnation() != c.keep {
				t.Fatalf("%d answers returned, %v of incarnation %d", len(returned), s.ab, now)
			}
			s.b.host.Crash()
			if !c.keep {
				s.a.rival(s.ab, s.b, rival)
			}
			s.a.log = nil
			for range 10 {
				for _, d := range returned {
					s.inject(d.From, d.To, d.Data)
					s.run(20 * time.Millisecond)
				}
			}
			s.run(10 * time.Second)
			sessions := 0
			for _, ev := range s.a.log {
				if ev.Cause == Restarted && ev.Incarnation == s.b.Incarnation() {
					sessions++
				}
			}
			if want := rival.ID(); sessions != c.sessions || c.sessions == 0 && (s.ab.ID() != want || s.ab.State() != Alive) ||
				c.sessions == 1 && (s.ab.State() != Failed || s.a.byID(want).State() != Alive) {
				t.Errorf("%d sessions of a dead process: %v; the other one is %x", sessions, s.ab, want)
			}
			if watch.State() != Alive {
				t.Errorf("the other one sees %v", watch)
			}
		})
	}
}

// Heartbeats that are all held back by the same time prove no life either: not by a time at which a
// clock of 32 bits shows the same again.
func TestAttackHoldsBackByTheSameTime(t *testing.T) {
	wrap := time.Duration(1) << (32 + sentUnit)
	for _, hold := range []time.Duration{2 * time.Second, 30 * time.Second, wrap, wrap + 50*time.Millisecond} {
		s := newScene(t, Config{Keys: sharedKeys(t)})
		s.lose = func(d *sim.Datagram) bool {
			held := d.From == s.b.addr()
			if held {
				late := *d
				late.At = d.At.Add(hold)
				s.Post(&late)
			}
			return held
		}
		s.run(hold + 2*time.Minute)
		s.b.host.Crash()
		died := s.now()
		kept := time.Duration(0)
		for range int(hold/time.Second)*2 + 20 {
			s.run(500 * time.Millisecond)
			if s.ab.State() == Alive {
				kept = s.now().Sub(died)
			}
		}
		if kept > 5*time.Second {
			t.Errorf("held back by %v: alive for %v after it died", hold, kept)
		}
		s.run(10 * time.Second)
		if s.ab.State() != Failed {
			t.Errorf("held back by %v: %v in the end", hold, s.ab)
		}
	}
}

// Who cuts our way to a peer, so that its echoes name what is long past, cannot hold its heartbeats back
// for that.
func TestAttackHoldsBackWhatIsDeaf(t *testing.T) {
	s := newScene(t, Config{Keys: sharedKeys(t)})
	hold := 3 * time.Second
	var tell []clock.Instant
	s.lose = func(d *sim.Datagram) bool {
		if d.From == s.a.addr() {
			return true
		}
		late := *d
		late.At = d.At.Add(hold)
		tell = append(tell, late.At)
		s.Post(&late)
		return true
	}
	s.run(10 * time.Second)
	s.b.host.Crash()
	died := s.now()
	for s.now().Sub(died) < 20*time.Second && s.ab.State() != Failed {
		s.run(100 * time.Millisecond)
		if s.ab.State() == Alive {
			t.Fatalf("alive %v after it died", s.now().Sub(died))
		}
	}
	if took := s.now().Sub(died); took > hold+8*time.Second {
		t.Errorf("failed %v after it died", took)
	}
}
