package engine

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"systole/engine/internal/network"
	"systole/engine/internal/sim"
	"systole/wire"
)

// Attackers that are peers: a stranger that is let in, or a peer that was added and means harm. They have
// discriminators of their own, and no other's.

// newPeer returns a node, a true peer of it, and a hostile one that is in touch, added or admitted.
func newPeer(t *testing.T, cfg Config, admitted bool) (*scene, *stranger) {
	t.Helper()
	cfg.Accept.Anyone = true
	s := newScene(t, cfg)
	x := s.stranger("10.9.0.1:7853", s.a, 0xbad)
	if !admitted {
		if _, err := s.a.AddPeer(PeerConfig{Addr: x.host.Addr()}); err != nil {
			t.Fatal(err)
		}
	}
	if !x.meet() {
		t.Fatal("no contact")
	}
	x.live(time.Second)
	return s, x
}

// A peer that says that it is elsewhere is not written to there, if nobody there reads it: also if it
// guesses what was sent there.
func TestAttackMovesToNobody(t *testing.T) {
	for _, admitted := range []bool{false, true} {
		s, x := newPeer(t, Config{}, admitted)
		victim := s.listen("10.9.0.77:7853")
		hostile := s.a.byID(x.h.Sender)
		for range 200 {
			x.hear()
			sent := hostile.Stats().Sent
			for ahead := range uint64(3) {
				x.h.EchoSequence = sent + ahead
				x.beatFrom(victim.addr())
				s.run(time.Duration(s.Random().Int64N(int64(40 * time.Millisecond))))
			}
		}
		s.run(time.Minute)
		if at := hostile.Addr(); at == victim.host.Addr() || s.a.Stats().Heartbeats.Moved > 0 {
			t.Errorf("admitted %v: moved to %v, where nobody answered", admitted, at)
		}
		s.paid(fmt.Sprintf("admitted %v: where nobody answered", admitted), victim.addr())
	}
}

// A peer that is elsewhere and answers there is written to there.
func TestMovesToWhoAnswers(t *testing.T) {
	s, x := newPeer(t, Config{}, false)
	other := s.listen("10.9.0.2:7853")
	hostile := s.a.byID(x.h.Sender)
	for range 30 {
		if n := len(other.got); n > 0 {
			last := other.got[n-1]
			if last.MyDiscriminator == x.h.YourDiscriminator {
				x.h.EchoSequence = last.Sequence
			} else { // an answer is asked for: by one as long, with what was read
				h := x.h
				h.MyDiscriminator, h.YourDiscriminator, h.Sequence = 1<<wire.SlotBits, last.MyDiscriminator, uint64(s.now())
				h.EchoSequence = last.Sequence
				s.forge(other.addr(), s.a.addr(), h)
				s.run(time.Millisecond)
			}
		}
		x.beatFrom(other.addr())
		s.run(100 * time.Millisecond)
	}
	if at := hostile.Addr(); at != other.host.Addr() || hostile.State() == Failed {
		t.Errorf("%v at %v", hostile, at)
	}
}

// An engine that moves is followed by an engine, and heard all the while.
func TestEngineIsFollowed(t *testing.T) {
	for _, keys := range []*wire.KeyRing{nil, sharedKeys(t)} {
		s := newScene(t, Config{Keys: keys})
		s.b.host.Move(netip.MustParseAddrPort("10.0.7.7:7853"))
		s.run(2 * time.Second)
		if at := s.ab.Addr(); at != s.b.host.Addr() || s.a.Stats().Heartbeats.Moved != 1 {
			t.Errorf("followed to %v, moved %d", at, s.a.Stats().Heartbeats.Moved)
		}
		for _, ev := range s.a.log {
			t.Errorf("%v → %v, %v", ev.From, ev.To, ev.Cause)
		}
		if len(s.a.nodes) > 0 {
			t.Errorf("%+v", s.a.nodes)
		}
	}
}

// What goes to an admitted peer is never more than what came from it, whatever periods it announces.
func TestAttackByPeriodsGetsNoMore(t *testing.T) {
	for _, keys := range []*wire.KeyRing{nil, sharedKeys(t)} {
		s := emptyScene(t, keys)
		s.a = s.start(Config{Keys: keys, Period: 10 * time.Millisecond, MinReceivePeriod: time.Millisecond, Accept: Accept{Anyone: true, MinPeriod: time.Millisecond}})
		x := s.stranger("10.9.0.1:7853", s.a, 0xbad)
		record := s.Mangle
		s.Mangle = func(d *sim.Datagram) []*sim.Datagram {
			out := record(d)
			s.paid("an admitted peer", x.addr())
			return out
		}
		random := s.Random()
		periods := []uint32{1, 10, 1000, 5000, 10_000, 1_000_000, wire.MaxPeriod}
		for i := range 4000 {
			if random.IntN(4) > 0 {
				x.hear()
			}
			x.h.Period = periods[random.IntN(len(periods))]
			x.h.MinReceivePeriod = []uint32{0, 1, 1000, wire.MaxPeriod}[random.IntN(4)]
			x.h.Flags = []wire.Flags{0, 0, wire.FlagSolicit, wire.FlagDegraded, wire.FlagSolicit | wire.FlagDegraded}[random.IntN(5)]
			if random.IntN(40) == 0 {
				x.h.Flags |= wire.FlagLeaving
			}
			x.h.EchoVerdict = wire.Verdict(random.IntN(6))
			if random.IntN(50) == 0 {
				x.h.MyDiscriminator += 1 << wire.SlotBits
				x.h.Incarnation += uint64(random.IntN(2))
			}
			if random.IntN(30) == 0 {
				x.h.Sequence += random.Uint64() >> (4 + random.IntN(60)) & (1<<40 - 1)
			}
			x.beat()
			s.run(time.Duration(random.Int64N(int64(20 * time.Millisecond))))
			if i%500 == 499 {
				s.run(3 * time.Minute)
			}
			if t.Failed() {
				break
			}
		}
		s.a.balanced("periods")
	}
}

// What a hostile peer shows, at any rate and with any period, makes the detection of other peers
// neither slow nor rash: not of those of its class, not of newcomers.
func TestAttackWeighsNoMoreThanAPeer(t *testing.T) {
	for _, admitted := range []bool{false, true} {
		for name, act := range map[string]func(s *scene, x *stranger){
			"pause": func(s *scene, x *stranger) {
				for range 3 {
					x.live(2 * time.Second)
					s.run(1900 * time.Millisecond)
				}
			},
			"slow words": func(s *scene, x *stranger) { // says that it is slow, is fast, and then late
				x.h.Period = wire.MaxPeriod
				for range 5000 {
					x.hear()
					x.beat()
					s.run(time.Millisecond)
				}
				for range 4 {
					s.run(19 * time.Second)
					x.h.Period = 10_000_000
					x.beat()
					s.run(time.Millisecond)
					x.h.Period = wire.MaxPeriod
					for range 500 {
						x.hear()
						x.beat()
						s.run(time.Millisecond)
					}
				}
			},
			"gaps": func(s *scene, x *stranger) { // says that much was lost
				for range 5000 {
					x.hear()
					x.h.Sequence += 15
					x.beat()
					s.run(2 * time.Millisecond)
				}
			},
			"fast": func(s *scene, x *stranger) {
				x.h.Period = 1000
				for range 20000 {
					x.hear()
					x.beat()
					s.run(time.Millisecond)
				}
			},
		} {
			granted := func(attack bool) (old, fresh time.Duration, p Promised, mistakes uint64) {
				s, x := newPeer(t, Config{Period: 20 * time.Millisecond}, admitted)
				x.h.Period = 20_000
				if attack {
					act(s, x)
				} else {
					s.run(20 * time.Second)
				}
				c := s.start(Config{Period: 20 * time.Millisecond})
				var q Peer
				if admitted {
					c.watch(s.a)
				} else {
					c.watch(s.a)
					q = s.a.watch(c)
				}
				s.run(time.Second)
				if admitted {
					q = s.a.byID(c.ID())
				}
				p, err := s.a.Promised(0)
				if err != nil {
					t.Fatal(err)
				}
				old, fresh = s.ab.Stats().Granted, q.Stats().Granted
				s.run(20 * time.Second)
				return old, fresh, p, s.ab.Stats().Mistakes + q.Stats().Mistakes
			}
			oldBefore, freshBefore, before, _ := granted(false)
			old, fresh, after, mistakes := granted(true)
			what := fmt.Sprintf("%s, admitted %v", name, admitted)
			if old > 2*oldBefore || fresh > 3*freshBefore || old < oldBefore/3 || fresh < freshBefore/3 {
				t.Errorf("%s: granted %v and %v, to newcomers %v and %v", what, oldBefore, old, freshBefore, fresh)
			}
			if mistakes > 0 {
				t.Errorf("%s: %d mistakes", what, mistakes)
			}
			t.Logf("%s: %v → %v, fresh %v → %v; promise %+v, %v → %+v, %v", what, oldBefore, old, freshBefore, fresh, before.Plan, before.Err, after.Plan, after.Err)
			if admitted && after.Plan.Margin > 2*before.Plan.Margin {
				t.Errorf("%s: a promise of %+v became %+v", what, before.Plan, after.Plan)
			}
		}
	}
}

// Strangers that fall silent together, always new ones, do not keep a dead peer from failing.
func TestAttackSilencesTogether(t *testing.T) {
	failed := func(attack bool) time.Duration {
		s := newScene(t, Config{Accept: Accept{Anyone: true, PerSecond: 1000}})
		start := s.now()
		for i := range 20 {
			if i == 5 {
				s.b.host.Crash()
				start = s.now()
			}
			for k := range 3 {
				x := s.stranger(fmt.Sprintf("10.9.%d.%d:7853", i, k+1), s.a, uint64(0xbad+3*i+k))
				x.h.Period = 1_000_000
				if attack && !x.meet() {
					t.Fatal("not admitted")
				}
			}
			s.run(time.Second)
			if s.ab.State() == Failed {
				return s.ab.Stats().Since.Sub(start)
			}
		}
		return s.now().Sub(start)
	}
	if calm, attacked := failed(false), failed(true); attacked > calm+500*time.Millisecond {
		t.Errorf("failed after %v, under attack after %v", calm, attacked)
	}
}

// Who is admitted again and again does not keep others out.
func TestAttackUsesUpAdmissions(t *testing.T) {
	s := emptyScene(t, nil)
	s.a = s.start(Config{Accept: Accept{Anyone: true, PerSecond: 100, Max: 64}})
	host := s.listen("10.9.0.1:7853")
	random := s.Random()
	stop := false
	var flood func()
	known := make(map[uint64]wire.Header)
	flood = func() { // 2000 a second, all of one site, each a new node that returns its cookie
		for range 2 {
			from := host.addr()
			h := wire.Header{MyDiscriminator: random.Uint64() | 1, Sender: random.Uint64() | 1,
				Incarnation: 1, Sequence: 1, Period: 100_000}
			known[h.MyDiscriminator] = h
			s.forge(from, s.a.addr(), h)
		}
		for _, in := range host.got {
			if h, ok := known[in.YourDiscriminator]; ok && wire.Slot(in.MyDiscriminator) == 0 {
				h.YourDiscriminator, h.EchoIncarnation, h.EchoSequence, h.Sequence = in.MyDiscriminator, in.Incarnation, in.Sequence, 2
				s.forge(host.addr(), s.a.addr(), h)
				delete(known, in.YourDiscriminator)
			}
		}
		host.got = host.got[:0]
		if !stop {
			s.At(s.Elapsed()+time.Millisecond, flood)
		}
	}
	flood()
	s.run(3 * time.Second)
	for i := range 5 {
		n := s.startAt(netip.MustParseAddrPort(fmt.Sprintf("10.8.%d.1:7853", i)), Config{})
		start := s.now()
		p := n.watch(s.a)
		for s.now().Sub(start) < 5*time.Second && s.a.byID(n.ID()).State() != Alive {
			s.run(20 * time.Millisecond)
		}
		if d := s.now().Sub(start); d > time.Second {
			t.Errorf("stranger %d: admitted after %v: %v", i, d, p)
		}
		s.run(3 * time.Second)
		if s.a.byID(n.ID()).State() != Alive {
			t.Errorf("stranger %d has had to give way", i)
		}
	}
	stop = true
	if st := s.a.Stats(); st.Peers.Slots > 64+stashSize+64 || s.a.book.Strangers() > 64 {
		t.Errorf("%d strangers, %d slots", s.a.book.Strangers(), st.Peers.Slots)
	}
}

// lineCounter counts what is logged.
type lineCounter struct{ n *int }

func (c lineCounter) Enabled(context.Context, slog.Level) bool  { return true }
func (c lineCounter) Handle(context.Context, slog.Record) error { *c.n++; return nil }
func (c lineCounter) WithAttrs([]slog.Attr) slog.Handler        { return c }
func (c lineCounter) WithGroup(string) slog.Handler             { return c }

// A flood from addresses that are made up fills no log.
func TestAttackFillsNoLog(t *testing.T) {
	for _, keys := range []*wire.KeyRing{nil, sharedKeys(t)} {
		lines := 0
		s := emptyScene(t, keys)
		s.a = s.start(Config{Keys: keys, Logger: slog.New(lineCounter{&lines})})
		h := wire.Header{MyDiscriminator: 1<<30 | 1, Sender: 7, Incarnation: 1, Sequence: 1, Period: 100_000}
		const rounds = 20_000
		for i := range rounds {
			s.forge(madeUp(i<<8), s.a.addr(), h)
			s.run(60 * time.Millisecond)
		}
		if took := rounds * 60 * time.Millisecond; lines > maxLogged*int(took/logAgain+1) || lines == 0 {
			t.Errorf("%d lines in %v", lines, took)
		}
	}
}

// The first contact of two nodes that watch each other takes what it takes under a flood of introductions in
// the name of either.
func TestAttackDelaysNoContact(t *testing.T) {
	s := emptyScene(t, nil)
	s.a, s.b = s.start(Config{}), s.start(Config{})
	s.ab = s.a.watch(s.b)
	h := wire.Header{Incarnation: 1, Sequence: 1, Period: 100_000}
	random := s.Random()
	flood := func() {
		h.MyDiscriminator, h.Sender = random.Uint64()|1, random.Uint64()|1
		s.forge(s.b.addr(), s.a.addr(), h)
		h.Sender, h.Incarnation = s.b.ID(), random.Uint64()>>1|1
		s.forge(s.b.addr(), s.a.addr(), h)
		s.forge(s.a.addr(), s.b.addr(), h)
		s.run(time.Millisecond)
	}
	for range 500 {
		flood()
	}
	s.ba = s.b.watch(s.a)
	for range 300 {
		flood()
	}
	if s.ab.State() != Alive || s.ba.State() != Alive {
		t.Errorf("%v and %v", s.ab, s.ba)
	}
	s.a.balanced("a flood")
	s.b.balanced("a flood")
}

// Two open servers in whose names introductions are forged neither watch each other nor write to each
// other for longer.
func TestAttackMakesNoLoops(t *testing.T) {
	for _, keys := range []*wire.KeyRing{nil, sharedKeys(t)} {
		s := emptyScene(t, keys)
		cfg := Config{Keys: keys, Accept: Accept{Anyone: true}}
		s.a, s.b = s.start(cfg), s.start(cfg)
		record := s.Mangle
		n := 0
		s.Mangle = func(d *sim.Datagram) []*sim.Datagram { n++; return record(d) }
		random := s.Random()
		forged := 0
		for i := range 2000 {
			h := wire.Header{MyDiscriminator: random.Uint64() | 1, Sender: random.Uint64() | 1,
				Incarnation: 1, Sequence: 1, Period: 100_000, Flags: wire.Flags(random.IntN(8))}
			from, to := s.a, s.b
			if i%2 == 0 {
				from, to = to, from
			}
			switch random.IntN(5) {
			case 0:
				h.Sender = from.ID()
			case 1:
				h.Sender, h.Incarnation = from.ID(), from.Incarnation()
			case 2:
				h.Sender = to.ID()
			case 3:
				h.MyDiscriminator &^= 1<<wire.SlotBits - 1
			}
			if random.IntN(3) == 0 && len(s.tape) > 0 { // what the other one was told
				d := decode(t, s.tape[random.IntN(len(s.tape))].Data)
				h.YourDiscriminator = d.MyDiscriminator
			}
			addr := []network.Addr{from.addr(), to.addr()}[random.IntN(2)]
			if keys != nil { // of a holder of the key
				s.sign(addr, to.addr(), h)
			} else {
				s.forge(addr, to.addr(), h)
			}
			forged++
			s.run(2 * time.Millisecond)
		}
		s.run(20 * time.Millisecond)
		at := n
		s.run(time.Minute)
		if n > at || n > forged || s.a.Stats().Peers.Watched+s.b.Stats().Peers.Watched > 0 {
			t.Errorf("%d datagrams for %d forged, %d later; %d and %d peers", at, forged, n-at, s.a.Stats().Peers.Watched, s.b.Stats().Peers.Watched)
		}
	}
}
