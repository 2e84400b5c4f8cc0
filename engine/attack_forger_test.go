package engine

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"systole/engine/internal/network"
	"systole/engine/internal/sim"
	"systole/wire"
)

// A forger writes thousands of datagrams by a seed, and knows what its kind may know. Whatever it
// writes, true peers stay as they are.

// forger is one kind of attacker.
type forger struct {
	name   string
	keys   func(t testing.TB) *wire.KeyRing
	holder bool // it can sign
	tapes  bool // it plays recordings, whole or damaged
	member bool // it is admitted, and writes in its own session as well
}

var forgers = []forger{
	{name: "off the path, without keys", keys: func(testing.TB) *wire.KeyRing { return nil }},
	{name: "off the path, with keys", keys: sharedOf},
	{name: "off the path, a holder of the key", keys: sharedOf, holder: true},
	{name: "a member without keys", keys: func(testing.TB) *wire.KeyRing { return nil }, member: true},
	{name: "a member with the key", keys: sharedOf, holder: true, member: true},
	{name: "on the path, with recordings", keys: sharedOf, tapes: true},
	{name: "on the path, with recordings, and a holder's", keys: sharedOf, tapes: true, holder: true, member: true},
}

func sharedOf(t testing.TB) *wire.KeyRing { return sharedKeys(t) }

// number draws a number that is likely to be at a bound of something.
func number(r *rand.Rand, near uint64) uint64 {
	switch r.IntN(6) {
	case 0:
		return near + r.Uint64N(4) - 2
	case 1:
		return 1<<r.IntN(64) + r.Uint64N(3) - 1
	case 2:
		return r.Uint64()
	case 3:
		return r.Uint64N(1000)
	case 4:
		return 1<<63 - r.Uint64N(3)
	}
	return near
}

// mutate changes some fields of h, within what decodes.
func mutate(r *rand.Rand, h *wire.Header, others []wire.Header) {
	other := others[r.IntN(len(others))]
	for range 1 + r.IntN(4) {
		switch r.IntN(16) {
		case 0:
			h.YourDiscriminator = number(r, h.YourDiscriminator)
		case 1:
			h.YourDiscriminator = r.Uint64()<<wire.SlotBits | r.Uint64N(8)
		case 2:
			h.MyDiscriminator = number(r, h.MyDiscriminator)
		case 3:
			h.Sender = other.Sender
		case 4:
			h.Incarnation = number(r, other.Incarnation)
		case 5:
			h.Sequence = number(r, h.Sequence)
		case 6:
			h.SendInstant = int64(number(r, uint64(h.SendInstant)) & (1<<62 - 1))
		case 7:
			h.Period = uint32(number(r, 100_000)%wire.MaxPeriod + 1)
		case 8:
			h.MinReceivePeriod = uint32(number(r, 100_000) % (wire.MaxPeriod + 1))
		case 9:
			h.EchoIncarnation = number(r, other.Incarnation)
		case 10:
			h.EchoSequence = number(r, h.EchoSequence)
		case 11:
			h.EchoResidence = number(r, h.EchoResidence) & (1<<62 - 1)
		case 12:
			h.EchoVerdict = wire.Verdict(r.IntN(6))
		case 13:
			h.Flags = wire.Flags(r.IntN(16))
			if h.Flags&wire.FlagFollowUp != 0 {
				h.FollowUpSequence = max(number(r, h.Sequence-1), 1)
			} else {
				h.FollowUpSequence, h.FollowUpWait = 0, 0
			}
		case 14:
			h.EchoLost, h.Lateness, h.EchoDeadline = r.Uint32(), r.Uint32(), r.Uint32()
		case 15:
			h.Progress = r.Uint64()
		}
	}
}

// damage returns a recording, maybe with a few bytes changed or its end missing.
func damage(r *rand.Rand, data []byte) []byte {
	data = append([]byte(nil), data...)
	switch r.IntN(4) {
	case 0:
		data = data[:r.IntN(len(data)+1)]
	case 1, 2:
		for range 1 + r.IntN(3) {
			data[r.IntN(len(data))] ^= byte(1 << r.IntN(8))
		}
	}
	return data
}

// TestForgers lets each kind write for some seconds.
func TestForgers(t *testing.T) {
	for _, f := range forgers {
		for seed := range forgerSeeds {
			t.Run(fmt.Sprintf("%s/%d", f.name, seed), func(t *testing.T) { runForger(t, f, seed) })
		}
	}
}

// runForger lets a forger write to three nodes, one of which admits strangers.
func runForger(t *testing.T, f forger, seed uint64) {
	keys := f.keys(t)
	s := newScene(t, Config{Keys: keys, Period: 50 * time.Millisecond, Accept: Accept{Anyone: true, Max: 16}}, func(c *Config) { c.Accept = Accept{} })
	third := s.start(Config{Keys: keys, Final: true, Period: 50 * time.Millisecond})
	ac, ca := s.a.watch(third), third.watch(s.a)
	for _, n := range []*node{s.a, s.b, third} {
		n.carry(0x8001, 300).set(t, Peer{}, strings.Repeat("m", 300))
		n.carry(0x8002, 9).set(t, Peer{}, "m")
	}
	bystander := s.listen("10.9.0.77:7853")
	x := s.stranger("10.9.0.1:7853", s.a, 0xbad)
	if f.member && !x.meet() {
		t.Fatal("not admitted")
	}
	s.run(time.Second)
	third.log = nil
	nodes := []*node{s.a, s.b, third}
	places := []network.Addr{s.a.addr(), s.b.addr(), third.addr(), bystander.addr(), x.addr()}
	record := s.Mangle
	s.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		out := record(d)
		s.paid("a bystander", bystander.addr())
		// What the member wrote in the name of others is its own as well.
		all := 0
		for _, n := range s.forged {
			all += n
		}
		if s.got[x.addr()]+s.got[bystander.addr()] > all {
			t.Errorf("%d and %d bytes for %d", s.got[x.addr()], s.got[bystander.addr()], all)
		}
		return out
	}
	known := []wire.Header{s.public(s.a, s.b, s.ba), s.public(s.b, s.a, s.ab), s.public(third, s.a, ac), x.h}
	before := map[Peer]PeerStats{s.ab: s.ab.Stats(), s.ba: s.ba.Stats(), ac: ac.Stats(), ca: ca.Stats()}
	r := rand.New(rand.NewPCG(seed, 7))
	for range 4000 {
		to := nodes[r.IntN(len(nodes))]
		from := places[r.IntN(len(places))]
		if f.tapes && r.IntN(2) == 0 {
			d := s.tape[r.IntN(len(s.tape))]
			if r.IntN(2) == 0 {
				from = d.From
			}
			s.inject(from, to.addr(), damage(r, d.Data))
		} else {
			h := known[r.IntN(len(known))]
			if f.member && r.IntN(3) == 0 {
				x.hear()
				x.h.Sequence++
				h, to = x.h, s.a
			}
			mutate(r, &h, known)
			if keys != nil {
				h.KeyID = 1
			}
			var messages []byte
			if r.IntN(2) == 0 {
				messages, _ = wire.AppendMessage(nil, 0x8000+uint16(r.IntN(3)), make([]byte, r.IntN(400)))
			}
			if b, fault := wire.Append(nil, &h, messages); fault == wire.OK {
				if f.holder {
					signWith(t, keys, &h, b, 0)
				}
				s.inject(from, to.addr(), b)
			}
		}
		s.run(time.Duration(r.Int64N(int64(4 * time.Millisecond))))
	}
	s.run(2 * time.Second)
	s.calm(f.name)
	for _, ev := range third.log {
		t.Errorf("third: %v → %v, %v", ev.From, ev.To, ev.Cause)
	}
	for p, was := range before {
		is := p.Stats()
		if is.State != Alive || is.Incarnation != was.Incarnation || is.ID != was.ID || is.Addr != was.Addr || is.Period != was.Period ||
			is.PeerPeriod != was.PeerPeriod || is.Progress != was.Progress || is.Degraded ||
			is.LostIn != was.LostIn || is.LostOut != was.LostOut || is.Mistakes+is.Failures > 0 || is.Granted > 3*was.Granted ||
			is.Reordered != was.Reordered || is.Duplicated != was.Duplicated && !f.tapes {
			t.Errorf("before %+v\nafter %+v", was, is)
		}
		if got := is.Received - was.Received; got < 190 || got > 260 {
			t.Errorf("%d heartbeats received in 10 s", got)
		}
	}
	for _, n := range nodes {
		n.balanced(f.name)
	}
	if st := s.a.Stats(); st.Peers.Watched > 2+16 || st.Peers.Slots > 2+16+stashSize+16 {
		t.Errorf("%d peers, %d slots", st.Peers.Watched, st.Peers.Slots)
	}
	if s.b.Stats().Peers.Watched != 1 || third.Stats().Peers.Watched != 1 {
		t.Error("a stranger was admitted where none is")
	}
}

// forgerSeeds is how many seeds each kind has.
const forgerSeeds = uint64(3)
