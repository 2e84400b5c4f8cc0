package engine

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/detect/published"
	"systole/engine/internal/network"
	"systole/wire"
)

// tape is a network that plays prepared datagrams to a manual engine and takes what the engine sends.
type tape struct {
	network.World // nil: no other method is called
	at            clock.Reading
	played, batch int // of heartbeats: before the batch, and in it
	heartbeats    [][]byte
	from          network.Addr
	out           [wire.MaxSize]byte
}

func (n *tape) Now() clock.Reading                                { return n.at }
func (n *tape) Random() uint64                                    { return rand.Uint64() }
func (n *tape) Rest(clock.Instant, clock.Instant)                 {}
func (n *tape) Sockets() int                                      { return 1 }
func (n *tape) SocketFor(*network.Addr, uint8) uint8              { return 0 }
func (n *tape) SourceOf(netip.Addr, string) (uint8, error)        { return network.AnySource, nil }
func (n *tape) Source(int) uint8                                  { return network.AnySource }
func (n *tape) Interrupted(int) bool                              { return false }
func (n *tape) Datagram(j int) []byte                             { return n.heartbeats[n.played+j] }
func (n *tape) From(int) *network.Addr                            { return &n.from }
func (n *tape) Stamp(int) int64                                   { return n.at.Wall }
func (n *tape) NextError(int) (e network.Returned, _ bool)        { return e, false }
func (n *tape) Next(int) []byte                                   { return n.out[:] }
func (n *tape) Commit(int, int, *network.Addr, uint8, uint32) int { return 1 }
func (n *tape) Flush(int) (sent, refused int)                     { return 0, 0 }
func (n *tape) Refusal(int, int) (uint32, network.Refusal)        { return 0, 0 }
func (n *tape) Epoch() uint32                                     { return 0 }
func (n *tape) LinkDown(*network.Addr) bool                       { return false }
func (n *tape) DeviceDown(uint8) bool                             { return false }
func (n *tape) Drops() uint32                                     { return 0 }
func (n *tape) Wake()                                             {}
func (n *tape) Drain()                                            {}
func (n *tape) Calls() uint64                                     { return 0 }
func (n *tape) Local() []netip.AddrPort                           { return nil }
func (n *tape) Close() error                                      { return nil }

// Receive plays the next batch.
func (n *tape) Receive(int) (got int, empty bool, err error) {
	n.played += n.batch
	n.batch = min(len(n.heartbeats)-n.played, network.BatchSize)
	return n.batch, n.batch < network.BatchSize, nil
}

// load prepares heartbeats for the next turn.
func (n *tape) load(heartbeats [][]byte) { n.heartbeats, n.played, n.batch = heartbeats, 0, 0 }

// steady is a manual engine and peers that write to it in a fixed order at a fixed rate.
type steady struct {
	engine *Engine
	tape   *tape
	order  []uint32 // slots, in the order in which their peers write
	next   int
	buf    [][]byte
}

// steadyStep is the grid step, in which steadyRate heartbeats a second arrive.
const (
	steadyStep = 4 * time.Millisecond
	steadyRate = 40960
	perStep    = steadyRate / int(time.Second/steadyStep)
)

// newSteady returns an engine that has heard each of its peers a few times.
func newSteady(b *testing.B, d detect.Detector, peers, rounds int) *steady {
	const period = time.Minute // few heartbeats go out
	n := &tape{at: clock.Reading{Now: 1e9, Wall: 1.7e18}, from: network.AddrFrom(netip.MustParseAddrPort("192.0.2.1:7853"))}
	e, err := openSimulated(Config{Manual: true, Detector: d, Period: period, ExpectedPeers: peers}, n)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { e.Close() })
	s := &steady{engine: e, tape: n, buf: make([][]byte, perStep)}
	for i := range peers {
		for {
			p, err := e.AddPeer(PeerConfig{Addr: n.from.AddrPort(), ID: uint64(i) + 1})
			if err == nil {
				s.order = append(s.order, p.slot)
				break
			}
			s.step(b, false) // makes room in the ring of commands
		}
	}
	for range period / steadyStep {
		s.step(b, false) // in which each peer gets a heartbeat
	}
	rand.Shuffle(len(s.order), func(i, j int) { s.order[i], s.order[j] = s.order[j], s.order[i] })
	for range rounds * peers / perStep {
		s.step(b, true)
	}
	if alive := e.shards[0].alive; alive < peers*9/10 {
		b.Fatalf("%d of %d peers alive: %+v", alive, peers, e.Stats())
	}
	return s
}

// step is one turn, a grid step after the last, in which the next peers' heartbeats arrive. It
// returns what the turn took.
func (s *steady) step(b *testing.B, heartbeats bool) time.Duration {
	s.tape.at.Now, s.tape.at.Wall = s.tape.at.Now.Add(steadyStep), s.tape.at.Wall+int64(steadyStep)
	s.tape.load(nil)
	if heartbeats {
		for i := range s.buf {
			s.buf[i] = s.heartbeat(s.buf[i], s.order[s.next])
			s.next = (s.next + 1) % len(s.order)
		}
		s.tape.load(s.buf)
	}
	began := time.Now()
	if _, err := s.engine.Turn(s.tape.at); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}

// heartbeat writes the next heartbeat of the peer in slot.
func (s *steady) heartbeat(buf []byte, slot uint32) []byte {
	p := s.engine.table.peer(slot)
	period := time.Duration(len(s.order)) * time.Second / steadyRate
	h := wire.Header{
		YourDiscriminator: p.session.mine, MyDiscriminator: 1<<wire.SlotBits | uint64(slot),
		Sender: p.session.id.Get(), Incarnation: 7, Sequence: p.session.highest() + 1, SendInstant: int64(s.tape.at.Now),
		Period: uint32(period / time.Microsecond), EchoIncarnation: s.engine.incarnation.Load(),
		EchoSequence: p.sends.sequence.Get(), EchoResidence: uint64(s.tape.at.Now.Sub(clock.Instant(p.sends.last.Get()))),
		EchoVerdict: wire.VerdictAlive,
	}
	out, fault := wire.Append(buf[:0], &h, nil)
	if fault != wire.OK {
		panic(fault)
	}
	return out
}

// BenchmarkColdTurn is what a heartbeat costs that arrives at one rate from more and more peers, after
// other code has had the caches. The network costs nothing here.
func BenchmarkColdTurn(b *testing.B) {
	spoil := make([]uint64, 1<<20)
	for _, d := range []detect.Detector{published.Fixed(0, 0), detect.Margin(detect.MarginOptions{})} {
		for _, peers := range []int{512, 4096, 32768, 100_000} {
			b.Run(fmt.Sprintf("%s/%d", d.Name(), peers), func(b *testing.B) {
				s := newSteady(b, d, peers, 300*4096/peers+3)
				sum, least, n := time.Duration(0), time.Hour, 0
				for b.Loop() {
					for i := 0; i < len(spoil); i += 8 {
						spoil[i]++ // as whatever runs while the loop waits
					}
					took := s.step(b, true)
					sum, least, n = sum+took, min(least, took), n+perStep
				}
				b.ReportMetric(float64(sum)/float64(n), "ns/heartbeat")
				b.ReportMetric(float64(least)/float64(perStep), "least-ns/heartbeat")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
