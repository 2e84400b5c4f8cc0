//go:build !systole_portable

package engine

import (
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"systole/engine/clock"
	"systole/engine/internal/network"
	"systole/engine/internal/udp"
	"systole/wire"
)

// crowd is batchSize peers on one socket that send to a manual engine.
type crowd struct {
	engine  *Engine
	socket  *udp.Socket
	out     *udp.Sender
	in      *udp.Receiver
	heard   wire.Header
	seq     uint64
	target  network.Addr
	members [batchSize]member
	keys    *wire.KeyRing
	auth    *wire.Authenticator
	key     wire.Key
	subkey  wire.Subkey

	// Where messages are carried.
	carrier   *Carrier
	section   []byte // of the members' heartbeats
	body      []byte
	carried   int // messages that the members got
	delivered int // messages that the engine delivered
}

// carry makes both sides carry messages from now on, the engine's of two carriers.
func (c *crowd) carry(t testing.TB) {
	t.Helper()
	c.body = make([]byte, 500)
	c.carrier = carry(t, c.engine, 0x8001, len(c.body))
	other := carry(t, c.engine, 0x8002, 100)
	c.section, _ = wire.AppendMessage(nil, 0x8001, c.body)
	for _, err := range []error{c.carrier.Set(Peer{}, c.body), other.Set(Peer{}, c.body[:100])} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// member is what one peer of a crowd has heard of the engine.
type member struct {
	engines  uint64 // the engine's discriminator for it; 0: not known
	sequence uint64 // the highest from there
}

const crowdID = 1000

// discriminator returns member i's discriminator for the engine.
func (c *crowd) discriminator(i int) uint64 { return 1<<wire.SlotBits | uint64(i+1) }

// newCrowd returns a crowd that the engine has met and that it sends to at its period.
func newCrowd(t testing.TB, local string, keys *wire.KeyRing, change ...func(*Config)) *crowd {
	t.Helper()
	listen := netip.MustParseAddrPort(local)
	cfg := Config{
		Listen: []netip.AddrPort{listen}, Manual: true, Keys: keys,
		Period: time.Millisecond, // so that every turn sends to everybody
	}
	for _, f := range change {
		f(&cfg)
	}
	e, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	s, err := udp.Open(udp.Options{Local: listen, RecvBuffer: 1 << 20, SendBuffer: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	c := &crowd{engine: e, socket: s, out: udp.NewSender(), in: udp.NewReceiver(), keys: keys, auth: wire.NewAuthenticator(),
		target: network.AddrFrom(e.Addrs()[0])}
	for i := range batchSize {
		if _, err := e.AddPeer(PeerConfig{Addr: s.Local(), ID: crowdID + uint64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		c.round(t)
	}
	if alive := c.engine.shards[0].alive; alive != batchSize {
		t.Fatalf("%d of %d peers alive: %+v", alive, batchSize, e.Stats())
	}
	return c
}

// write sends one heartbeat from every peer.
func (c *crowd) write(t testing.TB) {
	c.seq++
	for i := range batchSize {
		m := &c.members[i]
		h := wire.Header{
			YourDiscriminator: m.engines, MyDiscriminator: c.discriminator(i),
			Sender: crowdID + uint64(i), Incarnation: 7,
			Sequence: c.seq, SendInstant: int64(clock.Now()), Period: 1000,
		}
		if m.engines != 0 {
			h.EchoIncarnation, h.EchoSequence, h.EchoVerdict = c.engine.Incarnation(), m.sequence, wire.VerdictAlive
		}
		if c.keys != nil {
			h.KeyID = c.keys.SendKey()
			if !c.auth.Key(c.keys, h.KeyID, h.Sender, c.engine.ID(), &c.key) {
				t.Fatal("no key")
			}
		}
		b, f := wire.Append(c.out.Next()[:0], &h, c.section)
		if f != wire.OK {
			t.Fatal(f)
		}
		if c.keys != nil {
			c.auth.Derive(&c.subkey, &c.key, h.Sender, h.Incarnation)
			c.auth.Sign(&c.subkey, b)
		}
		c.out.Commit(len(b), &c.target)
	}
	if n := c.out.Flush(c.socket); n != batchSize {
		t.Fatalf("%d of %d sent", n, batchSize)
	}
	c.out.Reset()
}

// turn turns the engine and reads the crowd's socket until it is empty.
func (c *crowd) turn(t testing.TB) {
	if _, err := c.engine.Turn(clock.Read()); err != nil {
		t.Fatal(err)
	}
	for c.carrier != nil {
		d, ok := c.carrier.TryNext(c.body)
		if !ok {
			break
		}
		c.delivered += d.Merged + 1
	}
	for {
		n, _ := c.in.Recv(c.socket)
		if n == 0 {
			return
		}
		for j := range n {
			c.read(t, c.in.Datagram(j))
		}
	}
}

// read has the member that a datagram is for learn from it; an answer to its introduction, too.
func (c *crowd) read(t testing.TB, b []byte) {
	h := &c.heard
	section, f := wire.Decode(b, h)
	if f != wire.OK {
		t.Fatal(f)
	}
	for _, _, rest, ok := wire.CutMessage(section); ok; _, _, rest, ok = wire.CutMessage(rest) {
		c.carried++
	}
	i := int(wire.Slot(h.YourDiscriminator)) - 1
	if i < 0 {
		return // the engine has not heard that member yet
	}
	m := &c.members[i]
	if m.engines != h.MyDiscriminator {
		*m = member{engines: h.MyDiscriminator}
	}
	m.sequence = max(m.sequence, h.Sequence)
}

// round is a full batch each way, a period after the last.
func (c *crowd) round(t testing.TB) {
	c.write(t)
	time.Sleep(time.Millisecond)
	c.turn(t)
}

// At 10,000 heartbeats a second, batches keep system calls below one per ten; with transmit stamps, below
// one per eight.
func TestSystemCallsPerHeartbeat(t *testing.T) {
	callsPerHeartbeat(t, 0, 0.1)
	callsPerHeartbeat(t, 16, 0.125)
}

// callsPerHeartbeat holds system calls below a limit while one heartbeat in so many is stamped.
func callsPerHeartbeat(t *testing.T, stamps int, limit float64) {
	t.Helper()
	const peers, period = 1000, 100 * time.Millisecond
	e := open(t, Config{Period: period, ExpectedPeers: peers, StampSends: stamps})
	sink, err := udp.Open(udp.Options{Local: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sink.Close() })
	for i := range peers {
		if _, err := e.AddPeer(PeerConfig{Addr: sink.Local(), ID: uint64(i) + 1}); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(2 * period)
	before := e.Stats()
	time.Sleep(10 * period)
	after := e.Stats()
	sent, calls := after.Heartbeats.Sent-before.Heartbeats.Sent, after.Loop.Calls-before.Loop.Calls
	if ratio := float64(calls) / float64(sent); sent < 5*peers || ratio >= limit {
		t.Errorf("one in %d stamped: %d system calls for %d heartbeats: %.3f each", stamps, calls, sent, ratio)
	} else {
		t.Logf("one in %d stamped: %.3f system calls each", stamps, ratio)
	}
	if n := after.Stamps.SendsStamped - before.Stamps.SendsStamped; stamps > 0 && n < sent/uint64(stamps)/2 {
		t.Errorf("%d of %d heartbeats have a transmit stamp", n, sent)
	}
}

// The tables hold no pointers for the collector to follow, and stay small.
func TestPeerIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(peer{}); size > 512 {
		t.Errorf("a peer takes %d bytes", size)
	}
	if size := unsafe.Sizeof(authState{}); size > 128 {
		t.Errorf("a peer's authentication takes %d bytes", size)
	}
}

// BenchmarkTurn is a full batch each way over loopback, without the other end's work.
func BenchmarkTurn(b *testing.B) {
	c := newCrowd(b, "127.0.0.1:0", nil)
	b.ResetTimer()
	for b.Loop() {
		b.StopTimer()
		c.write(b)
		time.Sleep(time.Millisecond)
		b.StartTimer()
		if _, err := c.engine.Turn(clock.Read()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(2*batchSize), "ns/heartbeat")
}
