package engine

import (
	"testing"
	"time"

	"systole/wire"
)

// Attackers that say to be somebody else.

// Who says to be the node itself, and has read nothing that is sent here, is no collision and changes nothing.
func TestAttackPretendsOurOwnID(t *testing.T) {
	for _, keys := range []*wire.KeyRing{nil, sharedKeys(t)} {
		s := newScene(t, Config{Keys: keys, Accept: Accept{Anyone: true}})
		victim := s.listen("10.9.0.77:7853")
		for i := range 500 {
			h := s.public(s.a, s.a, s.ab)
			h.MyDiscriminator = uint64(i+1) << 7
			switch i % 4 {
			case 0:
				h.Incarnation = 1 << 63
			case 1:
				h.Incarnation++
			case 2:
				h.Flags = wire.FlagLeaving
			}
			from := victim.addr()
			if i%3 == 0 {
				from = s.b.addr()
			}
			if keys != nil {
				s.sign(from, s.a.addr(), h)
			} else {
				s.forge(from, s.a.addr(), h)
			}
			s.run(10 * time.Millisecond)
		}
		s.run(time.Second)
		s.calm("our own id")
		s.paid("our own id", victim.addr())
		collisions := 0
		for _, ev := range s.a.nodes {
			if ev.Cause == IDCollision {
				collisions++
			}
		}
		if collisions > 0 || s.a.Stats().Peers.Watched != 1 {
			t.Errorf("%d collisions told in 6 s, %d peers", collisions, s.a.Stats().Peers.Watched)
		}
		s.a.balanced("our own id")
	}
}

// Who holds pairwise keys speaks as itself alone.
func TestAttackByAHolderOfPairwiseKeys(t *testing.T) {
	master := wire.Key{9}
	ring, err := wire.MasterKeyRing(1, master)
	if err != nil {
		t.Fatal(err)
	}
	s := emptyScene(t, ring)
	s.a, s.b = s.start(Config{Keys: ring, ID: 41, Accept: Accept{Anyone: true}}), s.start(Config{Keys: ring, ID: 42})
	s.ab = s.a.watch(s.b, func(c *PeerConfig) { c.ID = 42 })
	s.ba = s.b.watch(s.a, func(c *PeerConfig) { c.ID = 41 })
	s.run(2 * time.Second)
	s.a.log, s.b.log = nil, nil
	own, err := wire.SharedKeyRing(1, wire.PairKey(&master, 0xbad, 41)) // the bytes of its own pair's
	if err != nil {
		t.Fatal(err)
	}
	x := s.stranger("10.9.0.1:7853", s.a, 0xbad)
	s.keys = own
	if !x.meet() {
		t.Fatal("the holder is not admitted as itself")
	}
	before := s.a.Stats().Refused.Faults[wire.BadTag]
	for _, id := range []uint64{42, 41, 7} {
		h := s.public(s.b, s.a, s.ab)
		h.Sender, h.MyDiscriminator = id, 77<<wire.SlotBits|1
		for _, your := range []uint64{0, x.h.YourDiscriminator, 1<<wire.SlotBits | 1} {
			h.YourDiscriminator = your
			s.sign(s.b.addr(), s.a.addr(), h)
			s.sign(x.addr(), s.a.addr(), h)
			s.run(5 * time.Millisecond)
		}
	}
	s.run(time.Second)
	s.calm("a holder of another pair's key")
	if n := s.a.Stats().Refused.Faults[wire.BadTag] - before; n < 12 || s.a.Stats().Peers.Watched != 2 {
		t.Errorf("%d refused, %d peers", n, s.a.Stats().Peers.Watched)
	}
	s.a.balanced("a holder of another pair's key")
}

// A cookie is good for one id, one discriminator, one address and a time.
func TestAttackUsesACookieElsewhere(t *testing.T) {
	for name, change := range map[string]func(s *scene, x *stranger, h *wire.Header){
		"another id":            func(_ *scene, _ *stranger, h *wire.Header) { h.Sender++ },
		"another discriminator": func(_ *scene, _ *stranger, h *wire.Header) { h.MyDiscriminator += 1 << 40 },
		"later":                 func(s *scene, _ *stranger, _ *wire.Header) { s.run(2*cookieTime + time.Second) },
		"another incarnation": func(s *scene, _ *stranger, h *wire.Header) {
			s.boot(s.a, Config{Accept: Accept{Anyone: true}})
			h.EchoIncarnation = s.a.Incarnation()
		},
		"a goodbye":        func(_ *scene, _ *stranger, h *wire.Header) { h.Flags = wire.FlagLeaving },
		"another's cookie": func(_ *scene, _ *stranger, h *wire.Header) { h.YourDiscriminator ^= 1 << 63 },
	} {
		s := emptyScene(t, nil)
		s.a = s.start(Config{Accept: Accept{Anyone: true}})
		x := s.stranger("10.9.0.1:7853", s.a, 0xbad)
		x.beat()
		s.run(5 * time.Millisecond)
		x.hear()
		h := x.h
		h.Sequence++
		change(s, x, &h)
		s.forge(x.addr(), s.a.addr(), h)
		s.run(50 * time.Millisecond)
		if n := s.a.Stats().Peers.Watched; n != 0 {
			t.Errorf("%s: admitted", name)
		}
		s.forge(madeUp(3), s.a.addr(), x.h)
		s.run(50 * time.Millisecond)
		if n := s.a.Stats().Peers.Watched; n != 0 {
			t.Errorf("%s: admitted at another address", name)
		}
		if name != "later" && name != "another incarnation" {
			x.beat()
			s.run(50 * time.Millisecond)
			if n := s.a.Stats().Peers.Watched; n != 1 {
				t.Errorf("%s: not admitted after all", name)
			}
		}
	}
}

// A stranger with the id of a peer that is watched at another address is no more than another peer.
func TestAttackTakesAnID(t *testing.T) {
	for _, pinned := range []bool{false, true} {
		s := emptyScene(t, nil)
		s.a, s.b = s.start(Config{Accept: Accept{Anyone: true}}), s.start(Config{ID: 42})
		s.ab = s.a.watch(s.b, func(c *PeerConfig) {
			if pinned {
				c.ID = 42
			}
		})
		s.ba = s.b.watch(s.a)
		s.run(time.Second)
		s.a.log, s.b.log = nil, nil
		x := s.stranger("10.9.0.1:7853", s.a, 42)
		x.h.Incarnation = 1 << 63
		if !x.meet() {
			t.Fatal("not admitted")
		}
		x.live(3 * time.Second)
		s.calm("a stranger with the id")
		if st := s.ab.Stats(); st.Addr != s.b.host.Addr() || st.Incarnation != s.b.Incarnation() {
			t.Errorf("%+v", st)
		}
		s.b.host.Crash()
		x.live(8 * time.Second)
		if s.ab.State() != Failed {
			t.Errorf("pinned %v: dead, and a stranger with its id keeps it %v", pinned, s.ab)
		}
	}
}

// A restart is heard of in time under a flood of introductions of either process, and a peer that is
// buried is told of once, whatever is played.
func TestAttackOnARestart(t *testing.T) {
	s := newScene(t, Config{Keys: sharedKeys(t), ID: 41, Final: true}, func(c *Config) { c.ID = 42 })
	early := s.recorded(s.b, s.a)
	s.Cut(s.b.host, s.a.host)
	s.run(10 * time.Second)
	if s.ab.State() != Failed {
		t.Fatal(s.ab)
	}
	s.Heal(s.b.host, s.a.host)
	for i := range 300 {
		d := early[i%len(early)]
		s.inject(s.b.addr(), s.a.addr(), d.Data)
		s.run(10 * time.Millisecond)
	}
	told := 0
	for _, ev := range s.a.log {
		if ev.Cause == BuriedHeard {
			told++
		}
	}
	if s.ab.State() != Failed || told != 1 {
		t.Errorf("buried: %v, told %d times", s.ab, told)
	}
	s.a.balanced("buried")
	s.b.balanced("buried")
	s.boot(s.b, Config{Keys: s.keys, ID: 42})
	s.ba = s.b.watch(s.a)
	start := s.now()
	for i := 0; s.ab.State() != Alive && i < 3000; i++ {
		d := early[i%len(early)]
		s.inject(s.b.addr(), s.a.addr(), d.Data)
		h := s.public(s.b, s.a, s.ab)
		h.MyDiscriminator += uint64(i) << 30
		s.forge(s.b.addr(), s.a.addr(), h)
		s.run(time.Millisecond)
	}
	if d := s.now().Sub(start); d > 300*time.Millisecond {
		t.Errorf("a restart was heard of after %v", d)
	}
}
