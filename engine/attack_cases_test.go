package engine

import (
	"testing"
	"time"

	"systole/engine/internal/sim"
	"systole/wire"
)

// The attacks that once got in, each as it was found.

// No datagram moves a node's incarnation: not one whose echo names the last that there can be. A
// node that starts anew with its id is taken back.
func TestAttackExhaustsNoIncarnation(t *testing.T) {
	s := emptyScene(t, nil)
	s.a, s.b = s.start(Config{}), s.start(Config{ID: 42, Accept: Accept{Anyone: true}})
	x := s.stranger("10.9.0.1:7853", s.b, 777)
	for _, incarnation := range []uint64{1<<63 - 1, 1 << 63} {
		x.h.EchoIncarnation, x.h.EchoSequence = incarnation, 1
		x.beat()
		s.run(10 * time.Millisecond)
	}
	before := s.b.Incarnation()
	if len(x.got) == 0 || x.got[0].Incarnation != before || before >= 1<<62 {
		t.Fatalf("incarnation %d, told as %+v", before, x.got)
	}
	s.ab = s.a.watch(s.b)
	s.run(2 * time.Second)
	s.boot(s.b, Config{ID: 42, Accept: Accept{Anyone: true}})
	s.run(2 * time.Second)
	if got := s.ab.Stats(); got.State != Alive || got.Incarnation != s.b.Incarnation() {
		t.Errorf("after a restart: %+v", got)
	}
}

// Nothing is amplified: who has not shown that it reads at its address gets at most a datagram for
// each of its own, whatever it has learned at another address.
func TestAttackReflectsNothing(t *testing.T) {
	for _, keys := range []*wire.KeyRing{nil, sharedKeys(t)} {
		s := emptyScene(t, keys)
		s.a = s.start(Config{Keys: keys, Accept: Accept{Anyone: true}, Period: 10 * time.Millisecond})
		victim := s.listen("10.9.0.77:7699")
		m := s.stranger("10.9.0.9:7853", s.a, 0xA77ACC)
		if !m.meet() {
			t.Fatal("the attacker is not admitted at its own address")
		}
		h := m.h
		h.MyDiscriminator, h.Sender = 0xBAD<<wire.SlotBits|1, 0xBAD
		for i, period := range []uint32{10_000, 10_000, wire.MaxPeriod, 1} {
			h.Sequence, h.Period = uint64(i+1), period
			if s.keys != nil {
				s.sign(victim.addr(), s.a.addr(), h)
			} else {
				s.forge(victim.addr(), s.a.addr(), h)
			}
			s.run(150 * time.Millisecond)
		}
		s.run(time.Minute)
		s.paid("a forged address", victim.addr())
	}
}

// A returned heartbeat counts only if it is one that was sent, and nothing was heard since.
func TestAttackByForgedRefusals(t *testing.T) {
	for _, keys := range []*wire.KeyRing{nil, sharedKeys(t)} {
		s := newScene(t, Config{Keys: keys})
		refuse := func(h wire.Header) {
			if keys == nil {
				h.KeyID = 0
			}
			data := encode(t, &h)
			s.Post(&sim.Datagram{At: s.now(), From: s.b.addr(), To: s.a.addr(), Data: data, Refused: true})
		}
		sniffed := decode(t, s.recorded(s.a, s.b)[0].Data)
		sent := s.ab.Stats().Sent
		for range 3 {
			for g := range uint64(6) {
				h := sniffed
				h.Sequence, h.EchoIncarnation, h.EchoSequence = sent-2+g, s.b.Incarnation(), 1
				for _, instant := range []int64{1<<62 - 1, int64(s.now()), int64(s.ab.Stats().MaySeemDeadSince)} {
					h.SendInstant = instant
					refuse(h)
					h.MyDiscriminator ^= 1 << 40
					refuse(h)
					h.MyDiscriminator ^= 1 << 40
				}
				s.run(2 * time.Millisecond)
			}
			s.run(50 * time.Millisecond)
		}
		if s.keys != nil {
			s.calm("forged refusals")
		}
		failed := func(what string) {
			t.Helper()
			for _, ev := range s.a.log {
				if ev.To == Failed {
					t.Errorf("%s: a live peer failed: %+v", what, ev)
				}
			}
		}
		failed("forged refusals")
		// Every recording in turn, and each new heartbeat at once: the peer is heard between them.
		for _, d := range s.recorded(s.a, s.b) {
			s.Post(&sim.Datagram{At: s.now(), From: s.b.addr(), To: s.a.addr(), Data: d.Data, Refused: true})
			s.run(time.Millisecond)
		}
		for range 100 {
			tape := s.recorded(s.a, s.b)
			s.Post(&sim.Datagram{At: s.now(), From: s.b.addr(), To: s.a.addr(), Data: tape[len(tape)-1].Data, Refused: true})
			s.run(37 * time.Millisecond)
		}
		failed("recorded refusals")
		s.run(time.Second)
		if s.ab.State() != Alive {
			t.Errorf("after all: %v", s.ab)
		}
	}
}

// One datagram from anywhere with all that is no secret buries nobody.
func TestAttackBuriesNobody(t *testing.T) {
	for _, keys := range []*wire.KeyRing{nil, sharedKeys(t)} {
		s := newScene(t, Config{Keys: keys, Final: true, Accept: Accept{Anyone: true}})
		h := s.public(s.a, s.b, s.ba)
		for _, change := range []func(*wire.Header){
			func(h *wire.Header) { h.Sequence = 1 << 62 },
			func(h *wire.Header) { h.Sequence, h.EchoSequence = 1<<63, 1<<63 },
			func(h *wire.Header) { h.Flags = wire.FlagLeaving },
			func(h *wire.Header) { h.Incarnation++ },
			func(h *wire.Header) { h.Incarnation = 1 << 63 },
			func(h *wire.Header) { h.Incarnation-- },
			func(h *wire.Header) { h.EchoVerdict = wire.VerdictFailed },
		} {
			for _, your := range []uint64{0, 1, 1 << wire.SlotBits, 99<<wire.SlotBits | 1, 1<<64 - 1, 5<<wire.SlotBits | 2} {
				h := h
				change(&h)
				h.YourDiscriminator = your
				s.forge(s.a.addr(), s.b.addr(), h)
				s.forge(madeUp(1), s.b.addr(), h)
				s.run(20 * time.Millisecond)
			}
		}
		before := s.ba.Stats()
		s.run(8 * time.Second)
		s.calm("forged heartbeats")
		if st := s.ba.Stats(); st.Duplicated > 0 || st.LostIn > 0 || st.LostOut > 0 || st.Received-before.Received < 75 || st.Addr != s.a.host.Addr() {
			t.Errorf("%+v", st)
		}
		s.a.balanced("forged heartbeats")
		s.b.balanced("forged heartbeats")
	}
}

// No datagram with all that is no secret keeps a dead peer alive, whatever period it announces.
func TestAttackKeepsNobodyAlive(t *testing.T) {
	failed := func(attack bool) time.Duration {
		s := newScene(t, Config{})
		s.a.host.Crash()
		died := s.now()
		for range 90 {
			if attack {
				h := s.public(s.a, s.b, s.ba)
				h.Sequence, h.Period = 1<<40, wire.MaxPeriod
				s.forge(s.a.addr(), s.b.addr(), h)
				s.forge(madeUp(9), s.b.addr(), h)
			}
			s.run(100 * time.Millisecond)
		}
		if s.ba.State() != Failed {
			t.Fatalf("killed 9 s ago: %v", s.ba)
		}
		return s.ba.Stats().Since.Sub(died)
	}
	if calm, attacked := failed(false), failed(true); attacked > calm+10*time.Millisecond {
		t.Errorf("failed after %v, under attack %v", calm, attacked)
	}
}

// What was recorded between two nodes is worth nothing at a third.
func TestAttackPlaysRecordingsAtAnother(t *testing.T) {
	keys := sharedKeys(t)
	s := newScene(t, Config{Keys: keys})
	hole := s.listen("10.9.0.10:7853")
	if _, err := s.a.AddPeer(PeerConfig{Addr: hole.host.Addr()}); err != nil {
		t.Fatal(err)
	}
	s.run(9 * time.Second) // a introduces itself there, for as long as it likes
	s.a.log = nil
	for _, d := range s.tape {
		if d.From == s.a.addr() && d.To == hole.addr() {
			s.inject(s.a.addr(), s.b.addr(), d.Data)
			s.inject(madeUp(50), s.b.addr(), d.Data)
			s.run(5 * time.Millisecond)
		}
	}
	s.run(4 * time.Second)
	s.calm("recordings of introductions to another")
	s.paid("recordings of introductions to another", madeUp(50))
	s.a.host.Crash()
	died := s.now()
	s.b.log = nil
	for _, d := range s.tape {
		if d.From == s.a.addr() && d.To == hole.addr() {
			s.inject(s.a.addr(), s.b.addr(), d.Data)
			s.run(100 * time.Millisecond)
		}
	}
	s.run(3 * time.Second)
	revived := 0
	for _, ev := range s.b.log {
		if ev.From == Failed && ev.At.Sub(died) > time.Second {
			revived++
		}
	}
	// A return of b's own answer that was kept on its way to the third is as good as a first one, once.
	if s.ba.State() != Failed || revived > 1 {
		t.Errorf("dead, revived %d times by its introductions to another, and %v", revived, s.ba)
	}
}

// Heartbeats that are held back are no life: a proxy that plays at a share of the speed does not
// keep a dead peer alive.
func TestAttackHoldsHeartbeatsBack(t *testing.T) {
	for _, speed := range []float64{0.3, 0.6, 0.9, 0.98} {
		s := newScene(t, Config{Keys: sharedKeys(t)})
		var queue []*sim.Datagram
		s.lose = func(d *sim.Datagram) bool {
			held := d.From == s.b.addr()
			if held {
				queue = append(queue, d)
			}
			return held
		}
		play, step := s.now(), time.Duration(float64(100*time.Millisecond)/speed)
		var died, kept, granted time.Duration
		for start := s.now(); s.now().Sub(start) < time.Minute; s.run(10 * time.Millisecond) {
			if s.now() >= play && len(queue) > 0 {
				s.inject(s.b.addr(), s.a.addr(), queue[0].Data)
				queue = queue[1:]
				play = play.Add(step)
			}
			if died == 0 && s.now().Sub(start) > 20*time.Second {
				died, granted = s.Elapsed(), s.ab.Stats().Granted
				s.b.host.Crash()
			}
			if died != 0 && s.ab.State() == Alive {
				kept = s.Elapsed() - died
			}
		}
		// What is behind by less than is granted is within the promise, and then the silence is granted.
		if kept > 2*granted+leastLag {
			t.Errorf("played at %v of the speed: alive for %v after it died, with %v granted", speed, kept, granted)
		}
		if s.ab.State() != Failed {
			t.Errorf("played at %v of the speed: %v in the end", speed, s.ab)
		}
	}
}

// What strangers show makes the detection of nobody else slower.
func TestAttackPoisonsNoMargins(t *testing.T) {
	s := newScene(t, Config{Period: 20 * time.Millisecond, Accept: Accept{Anyone: true}})
	before := s.ab.Stats().Granted
	for i := range 4 {
		x := s.stranger("10.9.0."+string(rune('1'+i))+":7853", s.a, uint64(0xbad+i))
		x.h.Period = 20_000
		if !x.meet() {
			t.Fatal("the stranger is not admitted")
		}
		x.live(2 * time.Second)
		for range 3 {
			s.run(1900 * time.Millisecond)
			x.live(2 * time.Second)
		}
	}
	c := s.start(Config{Period: 20 * time.Millisecond, Accept: Accept{Anyone: true}})
	fresh := s.a.watch(c)
	s.run(700 * time.Millisecond)
	for _, p := range []Peer{s.ab, fresh} {
		if after := p.Stats().Granted; after > 4*before || after < time.Millisecond {
			t.Errorf("granted %v, before strangers paused %v", after, before)
		}
	}
}
