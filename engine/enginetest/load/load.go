//go:build linux

// Package load generates the heartbeats of thousands of peers on one real socket, for tests and
// benchmarks of an engine.
package load

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"systole/engine/clock"
	"systole/engine/internal/network"
	"systole/engine/internal/udp"
	"systole/wire"
)

// Config describes a population.
type Config struct {
	Local    netip.AddrPort // where all nodes send from
	Target   netip.AddrPort // the engine that they watch
	FirstID  uint64         // the nodes' ids are FirstID, FirstID+1, ...; not 0
	Nodes    int
	Period   time.Duration // of each node's heartbeats
	Step     time.Duration // the grid of sends; 0 means Period/25
	Multiple int           // periods of silence after which a node suspects; 0 means 3
	// Known returns the target's discriminator for a node, which the node else learns from the target. A
	// target that knows theirs needs no engine: (node+1)<<wire.SlotBits | 1. nil means that it is not known.
	Known func(node int) uint64
}

// Population is many nodes on one socket and one goroutine, all watching one engine. The nodes
// send heartbeats on schedule, echo what they receive, and suspect the engine by BFD's rule: after
// Config.Multiple periods of silence.
type Population struct {
	cfg         Config
	socket      *udp.Socket
	waiter      *udp.Waiter
	in          *udp.Receiver
	out         *udp.Sender
	target      network.Addr
	incarnation uint64
	nodes       []member
	sent        atomic.Uint64
	received    atomic.Uint64
	mistakes    atomic.Uint64
	late        atomic.Uint64
	alive       atomic.Int64
}

// member is one node.
type member struct {
	sequence  uint64
	your      uint64 // the engine's discriminator; 0: not known
	heardLife uint64
	heard     uint64
	heardAt   clock.Instant
	suspects  bool
}

// Open opens the population's socket.
func Open(cfg Config) (*Population, error) {
	if cfg.Nodes < 1 || cfg.Period <= 0 || cfg.FirstID == 0 {
		return nil, errors.New("load: a population needs Nodes, Period and FirstID")
	}
	if cfg.Step == 0 {
		cfg.Step = cfg.Period / 25
	}
	if cfg.Multiple == 0 {
		cfg.Multiple = 3
	}
	buffer := 2 * max(cfg.Nodes, 256) * network.QueuedSize
	s, err := udp.Open(udp.Options{Local: cfg.Local, RecvBuffer: buffer, SendBuffer: buffer, Timestamps: true})
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	w, err := udp.NewWaiter(s)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("load: %w", err), s.Close())
	}
	nodes := make([]member, cfg.Nodes)
	for i := range nodes {
		if cfg.Known != nil {
			nodes[i].your = cfg.Known(i)
		}
	}
	return &Population{
		cfg: cfg, socket: s, waiter: w, in: udp.NewReceiver(), out: udp.NewSender(),
		target: network.AddrFrom(cfg.Target), incarnation: uint64(time.Now().UnixNano()), nodes: nodes,
	}, nil
}

// Counts is what a population has counted so far.
type Counts struct {
	Sent, Received uint64 // heartbeats
	Mistakes       uint64 // suspicions
	// Late heartbeats were sent so late, because this process stood still, that a receiver which suspects after
	// Multiple periods of silence is right to do so.
	Late  uint64
	Alive int // nodes that have heard the engine and do not suspect it now
}

// Counts returns what p has counted so far. Any goroutine may call it.
func (p *Population) Counts() Counts {
	return Counts{p.sent.Load(), p.received.Load(), p.mistakes.Load(), p.late.Load(), int(p.alive.Load())}
}

// Run sends and receives until ctx ends, then closes the population's socket.
func (p *Population) Run(ctx context.Context) error {
	return errors.Join(p.exchange(ctx), p.waiter.Close(), p.socket.Close())
}

// exchange sends and receives until ctx ends.
func (p *Population) exchange(ctx context.Context) error {
	steps := int(p.cfg.Period / p.cfg.Step)
	begin := clock.Now()
	for step := 0; ctx.Err() == nil; step++ {
		due := begin.Add(time.Duration(step) * p.cfg.Step)
		for now := clock.Now(); now < due; now = clock.Now() {
			if _, err := p.waiter.Wait(due.Sub(now), false); err != nil {
				return err
			}
		}
		reading := clock.Read()
		if err := p.receive(reading); err != nil {
			return err
		}
		for i := step % steps; i < len(p.nodes); i += steps {
			if err := p.beat(i, reading.Now, due); err != nil {
				return err
			}
		}
		p.flush()
	}
	return nil
}

// receiveBatches bounds one reading of the socket: far more than a buffer holds.
const receiveBatches = 1 << 14

// receive reads the socket until it is empty.
func (p *Population) receive(r clock.Reading) error {
	var h wire.Header
	for range receiveBatches {
		n, err := p.in.Recv(p.socket)
		if err != nil {
			return err
		}
		for j := range n {
			if _, f := wire.Decode(p.in.Datagram(j), &h); f != wire.OK {
				continue
			}
			if i := memberOf(h.YourDiscriminator); i < uint64(len(p.nodes)) {
				at := r.Now - clock.Instant(r.Wall-p.in.Stamp(j))
				p.hear(&p.nodes[i], &h, at)
			}
		}
		if n < network.BatchSize {
			return nil
		}
	}
	return nil
}

// discriminatorOf returns that of a node. It has the node's number, plus 1, above the slot, which is 1 for all.
func discriminatorOf(i int) uint64 { return uint64(i+1)<<wire.SlotBits | 1 }

// memberOf is the inverse of discriminatorOf.
func memberOf(discriminator uint64) uint64 { return discriminator>>wire.SlotBits - 1 }

// hear notes one heartbeat of the engine.
func (p *Population) hear(m *member, h *wire.Header, at clock.Instant) {
	if m.heard == 0 || m.suspects {
		p.alive.Add(1)
	}
	m.heard, m.heardLife, m.heardAt, m.your, m.suspects = h.Sequence, h.Incarnation, at, h.MyDiscriminator, false
	p.received.Add(1)
}

// beat writes node i's heartbeat and judges the engine.
func (p *Population) beat(i int, now, due clock.Instant) error {
	m := &p.nodes[i]
	if m.heard != 0 && !m.suspects && now.Sub(m.heardAt) > time.Duration(p.cfg.Multiple)*p.cfg.Period {
		m.suspects = true
		p.mistakes.Add(1)
		p.alive.Add(-1)
	}
	if now.Sub(due) > time.Duration(p.cfg.Multiple-1)*p.cfg.Period {
		p.late.Add(1)
	}
	m.sequence++
	h := wire.Header{
		Sender: p.cfg.FirstID + uint64(i), MyDiscriminator: discriminatorOf(i), YourDiscriminator: m.your,
		Incarnation: p.incarnation, Sequence: m.sequence, SendInstant: int64(now), Lateness: uint32(now.Sub(due)),
		Period: uint32(p.cfg.Period / time.Microsecond),
	}
	if m.heard != 0 {
		h.EchoIncarnation, h.EchoSequence = m.heardLife, m.heard
		h.EchoResidence = uint64(max(now.Sub(m.heardAt), 0)) // it may have arrived after the clock was read
		h.EchoVerdict = wire.VerdictAlive
		h.EchoDeadline = uint32(3 * p.cfg.Period / time.Microsecond)
	}
	b, f := wire.Append(p.out.Next()[:0], &h, nil)
	if f != wire.OK {
		return fmt.Errorf("load: write heartbeat %d of node %d: %v", h.Sequence, h.Sender, f)
	}
	if p.out.Commit(len(b), &p.target) == network.BatchSize {
		p.flush()
	}
	return nil
}

// flush sends the batch.
func (p *Population) flush() {
	if p.out.Len() == 0 {
		return
	}
	p.sent.Add(uint64(p.out.Flush(p.socket)))
	p.out.Reset()
}
