package engine

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"systole/engine/clock"
	"systole/engine/internal/network"
	"systole/engine/internal/sim"
	"systole/wire"
)

// The tests of files attack_*_test.go attack engines in virtual time. An attacker off the path
// writes any datagram from any address, and knows what is no secret: ids, incarnations, addresses,
// sequences. One on the path has also recorded everything. What an attacker may achieve at most is
// what its own, true part in the exchange would.

// scene is two nodes that watch each other, and an attacker.
type scene struct {
	*world
	a, b   *node
	ab, ba Peer // b at a, a at b
	keys   *wire.KeyRing
	tape   []*sim.Datagram          // all that a link delivered
	lose   func(*sim.Datagram) bool // the attacker keeps what this reports
	forged map[network.Addr]int     // bytes written in the name of an address
	got    map[network.Addr]int     // bytes that went to an address
}

// newScene returns a and b in touch for 2 s.
func newScene(t *testing.T, cfg Config, more ...func(*Config)) *scene {
	t.Helper()
	s := emptyScene(t, cfg.Keys)
	other := cfg
	for _, f := range more {
		f(&other)
	}
	s.a, s.b = s.start(cfg), s.start(other)
	s.ab, s.ba = s.a.watch(s.b), s.b.watch(s.a)
	s.run(2 * time.Second)
	if s.ab.State() != Alive || s.ba.State() != Alive {
		t.Fatalf("%v and %v after 2 s", s.ab, s.ba)
	}
	s.a.log, s.b.log, s.a.nodes, s.b.nodes = nil, nil, nil, nil
	return s
}

// emptyScene returns a world that is recorded.
func emptyScene(t *testing.T, keys *wire.KeyRing) *scene {
	t.Helper()
	s := &scene{world: newWorld(t, 1), keys: keys, forged: make(map[network.Addr]int), got: make(map[network.Addr]int)}
	s.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		s.tape = append(s.tape, d)
		s.got[d.To] += len(d.Data)
		if s.lose != nil && s.lose(d) {
			return nil
		}
		return []*sim.Datagram{d}
	}
	return s
}

// sharedKeys returns a ring of one key that all hold.
func sharedKeys(t testing.TB) *wire.KeyRing {
	t.Helper()
	ring, err := wire.SharedKeyRing(1, wire.Key{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// inject has a datagram arrive now, as if from an address.
func (s *scene) inject(from, to network.Addr, data []byte) {
	s.forged[from] += len(data)
	s.Post(&sim.Datagram{At: s.now(), From: from, To: to, Data: slices.Clone(data)})
}

// forge has a datagram with a header arrive now. Where there are keys it has a tag that is wrong.
func (s *scene) forge(from, to network.Addr, h wire.Header) {
	s.t.Helper()
	if s.keys != nil {
		h.KeyID = s.keys.SendKey()
	}
	s.inject(from, to, encode(s.t, &h))
}

// sign has a datagram with a header and a right tag arrive now.
func (s *scene) sign(from, to network.Addr, h wire.Header) {
	s.t.Helper()
	h.KeyID = s.keys.SendKey()
	data := encode(s.t, &h)
	signWith(s.t, s.keys, &h, data, 0)
	s.inject(from, to, data)
}

// encode returns the datagram with a header.
func encode(t testing.TB, h *wire.Header) []byte {
	t.Helper()
	b, f := wire.Append(nil, h, nil)
	if f != wire.OK {
		t.Fatal(f)
	}
	return b
}

// signWith fills the tag of a datagram to a node.
func signWith(t testing.TB, keys *wire.KeyRing, h *wire.Header, data []byte, to uint64) {
	t.Helper()
	var key wire.Key
	var sub wire.Subkey
	auth := wire.NewAuthenticator()
	if !auth.Key(keys, h.KeyID, h.Sender, to, &key) {
		t.Fatal("no key to sign with")
	}
	auth.Derive(&sub, &key, h.Sender, h.Incarnation)
	auth.Sign(&sub, data)
}

// decode reads a recorded datagram.
func decode(t testing.TB, data []byte) (h wire.Header) {
	t.Helper()
	if _, f := wire.Decode(data, &h); f != wire.OK {
		t.Fatal(f)
	}
	return h
}

// public is a heartbeat from one node to another with all that is no secret: as true as one can be
// that was not read on its way.
func (s *scene) public(from, to *node, p Peer) wire.Header {
	h := wire.Header{
		MyDiscriminator: 0x123<<wire.SlotBits | 1, Sender: from.ID(), Incarnation: from.Incarnation(),
		Sequence: 1, SendInstant: int64(s.now()), Period: 100_000, EchoVerdict: wire.VerdictAlive,
	}
	if to != nil {
		h.EchoIncarnation, h.EchoSequence = to.Incarnation(), max(p.Stats().Sent, 1)
	}
	return h
}

// recorded returns what went from one node to another, as recorded.
func (s *scene) recorded(from, to *node) (tape []*sim.Datagram) {
	for _, d := range s.tape {
		if d.From == from.addr() && d.To == to.addr() && !d.Refused {
			tape = append(tape, d)
		}
	}
	return tape
}

// madeUp is address i of those that have no host.
func madeUp(i int) network.Addr {
	return network.AddrFrom(netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)}), 9999))
}

// listener is a process that reads and never writes: an attacker's own host, or a bystander.
type listener struct {
	host *sim.Host
	net  network.World
	got  []wire.Header
	at   clock.Instant // when the last of them came
	t    testing.TB
}

// listen starts a listener at an address.
func (s *scene) listen(addr string) *listener {
	s.t.Helper()
	host, err := s.AddHost(addr, netip.MustParseAddrPort(addr))
	if err != nil {
		s.t.Fatal(err)
	}
	l := &listener{host: host, t: s.t}
	err = host.Start(func(net network.World) (sim.Turner, error) {
		l.net = net
		return l, nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return l
}

// Turn reads what came.
func (l *listener) Turn(r clock.Reading) (clock.Instant, error) {
	for {
		n, _, _ := l.net.Receive(0)
		if n == 0 {
			break
		}
		for j := range n {
			l.got, l.at = append(l.got, decode(l.t, l.net.Datagram(j))), r.Now
		}
	}
	l.net.Rest(clock.Never, r.Now)
	return clock.Never, nil
}

// addr is where l is.
func (l *listener) addr() network.Addr { return network.AddrFrom(l.host.Addr()) }

// stranger is a process that speaks the protocol by hand, as it likes.
type stranger struct {
	*listener
	scene *scene
	to    *node
	h     wire.Header // its next heartbeat
}

// stranger starts one that introduces itself to a node with an id.
func (s *scene) stranger(addr string, to *node, id uint64) *stranger {
	x := &stranger{listener: s.listen(addr), scene: s, to: to, h: wire.Header{
		MyDiscriminator: id<<wire.SlotBits | 7, Sender: id, Incarnation: 5,
		Period: 100_000, EchoVerdict: wire.VerdictAlive,
	}}
	return x
}

// meet takes x through the handshake and reports whether it was admitted.
func (x *stranger) meet() bool {
	x.beat()
	x.scene.run(5 * time.Millisecond)
	x.hear()
	x.beat()
	x.scene.run(5 * time.Millisecond)
	x.hear()
	return wire.Slot(x.h.YourDiscriminator) != 0
}

// hear takes over the discriminator and the echo of what came last.
func (x *stranger) hear() {
	if len(x.got) > 0 {
		last := x.got[len(x.got)-1]
		x.h.YourDiscriminator, x.h.EchoIncarnation, x.h.EchoSequence = last.MyDiscriminator, last.Incarnation, last.Sequence
		x.h.EchoResidence = uint64(x.scene.now().Sub(x.at))
	}
}

// beat writes x's next heartbeat, from its own address.
func (x *stranger) beat() { x.beatFrom(x.addr()) }

// beatFrom writes it from another one.
func (x *stranger) beatFrom(from network.Addr) {
	x.h.Sequence++
	x.h.SendInstant = int64(x.scene.now())
	if x.scene.keys != nil {
		x.scene.sign(from, x.to.addr(), x.h)
		return
	}
	x.scene.forge(from, x.to.addr(), x.h)
}

// live lets x send heartbeats at its period for d.
func (x *stranger) live(d time.Duration) {
	period := time.Duration(x.h.Period) * time.Microsecond
	for end := x.scene.now().Add(d); x.scene.now() < end; x.scene.run(period) {
		x.hear()
		x.beat()
	}
}

// paid fails the test if any of the addresses got more than was written in its name.
func (s *scene) paid(what string, addrs ...network.Addr) {
	s.t.Helper()
	for _, a := range addrs {
		if s.got[a] > s.forged[a] {
			s.t.Errorf("%s: %v got %d bytes for %d", what, a, s.got[a], s.forged[a])
		}
	}
}

// calm fails the test if either node has said anything of the other, or is not in touch.
func (s *scene) calm(what string) {
	s.t.Helper()
	for _, n := range []*node{s.a, s.b} {
		for _, ev := range n.log {
			if ev.Peer == s.ab || ev.Peer == s.ba {
				s.t.Errorf("%s: %v: %v → %v, %v", what, n.host.Name, ev.From, ev.To, ev.Cause)
			}
		}
	}
	if s.ab.State() != Alive || s.ba.State() != Alive {
		s.t.Errorf("%s: %v and %v", what, s.ab, s.ba)
	}
}

// balanced fails the test unless every datagram that a node read is counted once under what became of it.
func (n *node) balanced(what string) {
	n.world.t.Helper()
	st := n.Stats()
	sum := st.Heartbeats.Accepted + st.Heartbeats.Duplicated + st.Refused.Stale + st.Strangers.Introduced + st.Strangers.Datagrams + st.Strangers.Refused + st.Refused.Looped + st.Refused.Collisions
	for _, f := range st.Refused.Faults {
		sum += f
	}
	if sum != st.Sockets.Received {
		n.world.t.Errorf("%s: %v: %d read, %d counted: %+v", what, n.host.Name, st.Sockets.Received, sum, st)
	}
}

// byID returns the peer that has an id, the zero Peer if none has.
func (n *node) byID(id uint64) Peer {
	for slot := uint32(1); slot < n.table.slots.Load(); slot++ {
		p := n.table.peer(slot)
		if generation, state, _, _ := unpackStatus(p.verdict.status.Load()); p.session.id.Load() == id && state != Unknown && state != Removed {
			return Peer{n.Engine, slot, generation}
		}
	}
	return Peer{}
}
