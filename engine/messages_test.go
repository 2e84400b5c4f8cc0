package engine

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"systole/engine/internal/sim"
	"systole/wire"
)

// section returns a message section.
func section(t testing.TB, messageType uint16, body string) []byte {
	t.Helper()
	out, ok := wire.AppendMessage(nil, messageType, []byte(body))
	if !ok {
		t.Fatal("too long")
	}
	return out
}

// tell has a datagram with a header and messages arrive at a, as if from b; with the right tag if there
// are keys.
func (s *scene) tell(h wire.Header, messages []byte) {
	s.t.Helper()
	if s.keys != nil {
		h.KeyID = s.keys.SendKey()
	}
	data, fault := wire.Append(nil, &h, messages)
	if fault != wire.OK {
		s.t.Fatal(fault)
	}
	if s.keys != nil {
		signWith(s.t, s.keys, &h, data, s.a.ID())
	}
	s.inject(s.b.addr(), s.a.addr(), data)
	s.run(s.a.Grid() + time.Millisecond)
}

// W24: what is handed on, by what is true of the heartbeat that has it. Each case gets the next heartbeat
// that b may send to a.
var handedOn = map[string]struct {
	want string // the body that a gets, and a + for each that it replaced
	does func(s *scene, h wire.Header, m []byte)
}{
	"in order": {"x", func(s *scene, h wire.Header, m []byte) { s.tell(h, m) }},
	"goodbye": {"x", func(s *scene, h wire.Header, m []byte) {
		h.Flags |= wire.FlagLeaving
		s.tell(h, m)
		h.Flags, h.Sequence = 0, h.Sequence+1
		s.tell(h, section(s.t, 0x8001, "after the goodbye"))
	}},
	"twice": {"x", func(s *scene, h wire.Header, m []byte) {
		s.tell(h, m)
		s.tell(h, m)
	}},
	"two at once": {"y+", func(s *scene, h wire.Header, m []byte) { s.tell(h, append(m, section(s.t, 0x8001, "y")...)) }},
	"reordered": {"", func(s *scene, h wire.Header, m []byte) {
		late := h
		h.Sequence++
		s.tell(h, nil)
		s.tell(late, m)
	}},
	"of another incarnation": {"", func(s *scene, h wire.Header, m []byte) {
		h.Incarnation--
		s.tell(h, m)
	}},
	"of another node": {"", func(s *scene, h wire.Header, m []byte) {
		h.Sender++
		s.tell(h, m)
	}},
	"to a former incarnation": {"", func(s *scene, h wire.Header, m []byte) {
		s.a.Reincarnate()
		s.tell(h, m)
	}},
	"that has heard nobody": {"", func(s *scene, h wire.Header, m []byte) {
		h.EchoIncarnation, h.EchoSequence = 0, 0
		s.tell(h, m)
	}},
	"an introduction": {"", func(s *scene, h wire.Header, m []byte) {
		h.YourDiscriminator = 0
		s.tell(h, m)
	}},
	"by a guess": {"", func(s *scene, h wire.Header, m []byte) {
		h.YourDiscriminator ^= 1 << 40
		s.tell(h, m)
	}},
	"another watch": {"", func(s *scene, h wire.Header, m []byte) {
		h.MyDiscriminator ^= 1 << 40
		s.tell(h, m)
	}},
	"an answer": {"", func(s *scene, h wire.Header, m []byte) {
		h.MyDiscriminator = 1 << 40
		s.tell(h, m)
	}},
	"answers of a process that keeps no state": {"", func(s *scene, h wire.Header, m []byte) {
		s.b.host.Crash()
		s.run(5 * time.Second)
		h.MyDiscriminator, h.Sequence, h.SendInstant = 1<<40, uint64(s.now()), int64(s.now())
		h.EchoSequence = s.ab.record().sends.sequence.Get()
		s.tell(h, m)
		h.Sequence++
		s.tell(h, m)
		if r := s.ab.record(); !r.session.stateless() || r.session.highest() != h.Sequence || s.ab.State() != Alive {
			s.t.Errorf("%v is not known by answers", s.ab)
		}
	}},
	"that begins a session": {"next", func(s *scene, h wire.Header, m []byte) {
		h.Incarnation, h.MyDiscriminator, h.Sequence = h.Incarnation+1, 1<<40|1, 1
		s.tell(h, m)
		if s.ab.Stats().Incarnation != h.Incarnation {
			s.t.Error("not taken over")
		}
		h.Sequence++
		s.tell(h, section(s.t, 0x8001, "next"))
	}},
	"held back": {"", func(s *scene, h wire.Header, m []byte) {
		s.b.host.Stop()
		s.run(3 * time.Second)
		s.tell(h, m)
	}},
	"of a removed peer": {"", func(s *scene, h wire.Header, m []byte) {
		s.a.remove(s.ab)
		s.tell(h, m)
	}},
}

func TestWhatIsHandedOn(t *testing.T) {
	for name, test := range handedOn {
		for _, keys := range []*wire.KeyRing{nil, sharedKeys(t)} {
			s := newScene(t, Config{Keys: keys})
			c := s.a.carry(0x8001, 64)
			s.run(10 * time.Millisecond)
			test.does(s, heartbeatOf(s.ab), section(t, 0x8001, "x"))
			got := ""
			for _, d := range unreadMessages(c) {
				got += string(d.Body) + strings.Repeat("+", d.Merged)
			}
			if got != test.want {
				t.Errorf("%s, keys %v: %q handed on, want %q", name, keys != nil, got, test.want)
			}
		}
	}
}

// W24: a wrong tag hands nothing on.
func TestForgedMessageIsNotHandedOn(t *testing.T) {
	s := newScene(t, Config{Keys: sharedKeys(t)})
	c := s.a.carry(0x8001, 64)
	h := heartbeatOf(s.ab)
	h.KeyID = s.keys.SendKey()
	data, fault := wire.Append(nil, &h, section(t, 0x8001, "x"))
	if fault != wire.OK {
		t.Fatal(fault)
	}
	s.inject(s.b.addr(), s.a.addr(), data)
	s.run(s.a.Grid() + time.Millisecond)
	if got := unreadMessages(c); len(got) > 0 || s.a.Stats().Refused.Faults[wire.BadTag] != 1 {
		t.Errorf("%+v", got)
	}
}

// W24: introductions, answers and trials have no messages: who has not proved to hear us learns nothing.
func TestUnprovenGetNoMessages(t *testing.T) {
	for _, anyone := range []bool{false, true} {
		w := newWorld(t, 1)
		a, b := w.start(Config{Accept: Accept{Anyone: anyone}}), w.start(Config{})
		a.carry(0x8001, 64).set(t, Peer{}, "from a")
		b.carry(0x8001, 64).set(t, Peer{}, "from b")
		trials, with := 0, 0
		w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
			h := decode(t, d.Data)
			n := len(messagesOf(t, d.Data))
			with += n
			if n > 0 && (wire.Slot(h.YourDiscriminator) == 0 || wire.Slot(h.MyDiscriminator) == 0) {
				t.Errorf("an introduction or an answer has messages: %+v", h)
			}
			if p := a.peerAt(wire.Slot(h.MyDiscriminator)); d.From == a.addr() && p != nil && h.MyDiscriminator == p.path.trial {
				if trials++; n > 0 {
					t.Errorf("a trial has messages: %+v", h)
				}
			}
			return []*sim.Datagram{d}
		}
		if b.watch(a); !anyone {
			a.watch(b)
		}
		w.run(2 * time.Second)
		for i := range byte(3) {
			b.host.Move(netip.MustParseAddrPort(fmt.Sprintf("10.9.9.%d:1", i+1)))
			w.run(2 * time.Second)
		}
		w.boot(b, Config{ID: b.ID()})
		b.watch(a)
		b.carry(0x8001, 64).set(t, Peer{}, "from b")
		w.run(2 * time.Second)
		if trials == 0 || with < 100 {
			t.Errorf("anyone %v: %d trials, %d messages", anyone, trials, with)
		}
	}
}

// A stranger gets whole messages, of every carrier, as far as its own have paid for them.
func TestMessagesToStrangers(t *testing.T) {
	for _, test := range []struct {
		body int // bytes that the stranger sends with each heartbeat; -1: no message
		want int // messages of 96 bytes that it gets of its first 100 heartbeats, at least
	}{{-1, 0}, {0, 0}, {30, 25}, {96, 90}, {500, 190}} {
		w := newWorld(t, 1)
		a, b := w.start(Config{Accept: Accept{Anyone: true}}), w.start(Config{})
		for messageType := uint16(0x8001); messageType <= 0x8002; messageType++ {
			a.carry(messageType, 100).set(t, Peer{}, strings.Repeat("a", 96))
		}
		if test.body >= 0 {
			b.carry(0x8001, 500).set(t, Peer{}, strings.Repeat("b", test.body))
		} else {
			b.carry(0x8001, 500)
		}
		got := map[uint16]int{}
		in, out := 0, 0
		w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
			if d.From != a.addr() {
				in += len(d.Data)
				return []*sim.Datagram{d}
			}
			if out += len(d.Data); out > in {
				t.Errorf("%d bytes: %d written, %d received", test.body, out, in)
			}
			for messageType, body := range messagesOf(t, d.Data) {
				if got[messageType]++; len(body) != 96 {
					t.Errorf("%d bytes of a message", len(body))
				}
			}
			return []*sim.Datagram{d}
		}
		b.watch(a)
		w.run(10 * time.Second)
		one, two := got[0x8001], got[0x8002]
		if one+two < test.want || test.want == 0 && one+two > 0 || max(one, two) > min(one, two)+5 {
			t.Errorf("%d bytes: %d and %d messages, at least %d wanted", test.body, one, two, test.want)
		}
	}
}

// Credit in bytes is never more than what came, in whatever order things happen.
func TestBytesOfStrangersArePaid(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 5))
		var q pace
		q.begin(100*time.Millisecond, false, true)
		in, out := 0, 0
		for n := range uint64(2000) {
			if r.IntN(2) == 0 {
				came := r.IntN(MaxRoom + 1)
				in += came
				q.earn(came)
				continue
			}
			size := 0
			if room := q.room(MaxRoom); room > 0 {
				size = r.IntN(room + 1)
			}
			q.wrote(n, size)
			if out += size; out > in || q.room(MaxRoom) > MaxRoom {
				t.Fatalf("seed %d: %d bytes for %d", seed, out, in)
			}
		}
		if out < in/3 {
			t.Errorf("seed %d: only %d bytes for %d", seed, out, in)
		}
	}
}
