package engine

import (
	"fmt"
	"net/netip"
	"time"

	"systole/engine/clock"
	"systole/ringbuf"
)

// Peer is a handle on one watched peer. It is a value and may be copied and compared.
// Its methods read what the owner loop published, without a lock, from any goroutine.
// Once the peer is removed its state is Removed and everything else is zero.
type Peer struct {
	engine     *Engine
	slot       uint32
	generation uint32
}

// IsZero reports whether p is the zero Peer, which is no peer of any engine.
func (p Peer) IsZero() bool { return p.engine == nil }

// record returns the published record of p.
func (p Peer) record() *peer { return p.engine.table.peer(p.slot) }

// seen reports whether the slot holds this peer: its shard has seen it, and no later peer has the
// slot.
func (p Peer) seen() bool {
	if p.engine == nil {
		return false
	}
	generation, state, _, _ := unpackStatus(p.record().verdict.status.Load())
	return generation == p.generation && state != Removed && state != Unknown
}

// State returns what this node believes of the peer: one atomic load.
func (p Peer) State() State {
	if p.engine == nil {
		return Unknown
	}
	generation, state, _, _ := unpackStatus(p.record().verdict.status.Load())
	switch ahead := int32(p.generation - generation); {
	case ahead < 0:
		return Removed
	case ahead == 0 && state != Unknown:
		return state
	case p.engine.ended.Load():
		return Removed
	}
	return Connecting // added, and not yet seen by its shard
}

// Degraded reports whether the peer calls itself degraded: one atomic load.
func (p Peer) Degraded() bool {
	return p.seen() && p.record().verdict.status.Load()&degradedBit != 0
}

// Slow reports whether the peer is slow: its heartbeats are late at its own side. One atomic load. See
// PeerStats.Slow.
func (p Peer) Slow() bool {
	return p.seen() && p.record().verdict.status.Load()&slowBit != 0
}

// Addr returns where heartbeats to the peer go; the zero AddrPort while its name has not
// resolved, and once it was removed.
func (p Peer) Addr() netip.AddrPort {
	if !p.seen() {
		return netip.AddrPort{}
	}
	a, _ := p.record().path.readAddr()
	if !p.seen() {
		return netip.AddrPort{}
	}
	return a.AddrPort()
}

// Suspicion returns the peer's level at this moment: monotone while the peer is silent and this
// node awake, finite, 0 while it was never heard. Like every suspicion that is published it is at
// least the level of a state that the peer is in, and below that of one that it is not in.
func (p Peer) Suspicion() float64 {
	if p.engine == nil {
		return 0
	}
	return p.SuspicionAt(p.engine.reading().Now)
}

// SuspicionAt returns the level at the instant at, for programs that keep the clock. While Config.Arrivals
// takes the peer's heartbeats, it is the level at which they were last read, if that is earlier.
func (p Peer) SuspicionAt(at clock.Instant) float64 {
	s := p.Summary()
	if s.State == Unknown {
		return 0
	}
	s.ReadTo = min(at, p.engine.table.belowTo(p.slot))
	return s.Suspicion(p.engine.table.detector)
}

// Deadline returns the first instant at which the detector's suspicion reaches level if the peer
// stays silent, clock.Never if it never does or the peer was never heard. What this
// node itself stood still meanwhile is not in it.
func (p Peer) Deadline(level float64) clock.Instant {
	s := p.Summary()
	if s.Arrival == 0 {
		return clock.Never
	}
	return p.engine.table.detector.Deadline(s.Words[:], level)
}

// ID returns the peer's id, 0 while it is unknown.
func (p Peer) ID() uint64 {
	if !p.seen() {
		return 0
	}
	return p.record().session.id.Load()
}

// String names the peer by id and state, for logs.
func (p Peer) String() string {
	if p.engine == nil {
		return "no peer"
	}
	return fmt.Sprintf("peer %016x (%v)", p.ID(), p.State())
}

// PeerStats is what is known of a peer. Counters count since AddPeer.
type PeerStats struct {
	ID          uint64
	Incarnation uint64
	Addr        netip.AddrPort // where heartbeats to it go
	State       State
	Cause       Cause         // of the last transition
	Since       clock.Instant // when it was decided
	Suspicion   float64       // now

	Sent       uint64 // heartbeats written to it
	Received   uint64 // heartbeats accepted from it
	LostOut    uint64 // ours that it says it never got
	LostIn     uint64 // its that we never got
	Duplicated uint32 // datagrams that came again; refused
	Reordered  uint32 // datagrams that came after a later one
	Missed     uint64 // ours that were skipped in a stall or refused by the kernel
	Mistakes   uint64 // times it was suspected and was heard again in the same incarnation
	Failures   uint64 // times it was failed: fence what it did before by this count, or by its incarnation
	Degraded   bool   // it works, but not well, as it says itself
	// Slow means that its heartbeats are late at its own side: lateness at sending and the wait in its
	// host, as it tells them, smoothed with a gain of 1/8, exceed a quarter of its period, until they fall
	// below an eighth. It accuses the peer of nothing: no verdict depends on it.
	Slow bool
	// Watched is the time between its heartbeats, added up: Watched / Mistakes is the
	// observed mean time between mistakes, to be held against Promise.MistakeEvery.
	Watched time.Duration

	RoundTrip      time.Duration // smoothed; 0: not measured
	LeastRoundTrip time.Duration
	// SendWait is how long a heartbeat waited in the peer's host, from its send instant until the
	// network driver took it, as the peer says: of the newest heartbeat for which that is known.
	// WireDelay is the delay of the same heartbeat above the least recent one, without SendWait. Both
	// saturate at 4.29 s. SendWait is 0 if it is not known: peers tell it as their Config.StampSends
	// has it.
	SendWait, WireDelay time.Duration

	Period     time.Duration // between our heartbeats to it, as negotiated
	PeerPeriod time.Duration // between its heartbeats to us, as it announced
	Progress   uint64        // the counter of its application

	LastArrival clock.Instant // of its newest heartbeat
	// Granted is how long after that arrival it is suspected, if it stays silent.
	Granted time.Duration
	// MaySeemDeadSince is when the kernel last took a heartbeat to this peer: from then
	// on it has heard nothing of us, whatever we believe of ourselves.
	MaySeemDeadSince clock.Instant
	Last             Sample // its newest heartbeat
}

// Stats reads everything published about the peer.
func (p Peer) Stats() PeerStats {
	if !p.seen() {
		return PeerStats{State: p.State()}
	}
	r := p.record()
	v, _ := r.verdict.read()
	s := PeerStats{
		ID: r.session.id.Load(), Incarnation: r.session.incarnation.Load(), Addr: p.Addr(), State: p.State(), Cause: v.cause,
		Since: v.at, Suspicion: p.Suspicion(), Degraded: p.Degraded(), Slow: p.Slow(),
	}
	r.path.measured(&s)
	r.sends.read(&s)
	r.counts.read(&s)
	r.pace.read(&s)
	s.SendWait, s.WireDelay = p.engine.table.wait(p.slot)
	var last [1]Sample
	if n, _ := p.Samples(last[:]); n == 1 {
		s.Last, s.LastArrival = last[0], last[0].Arrival
		if at := p.Deadline(p.engine.suspectLevel); at != clock.Never {
			s.Granted = max(at.Sub(s.LastArrival), 0)
		}
	}
	if !p.seen() {
		return PeerStats{State: Removed}
	}
	return s
}

// Samples copies the newest heartbeats of the peer into dst, oldest first, and returns
// how many it copied and how many were accepted in all. A reader that remembers the
// total sees how many are new to it.
func (p Peer) Samples(dst []Sample) (n int, total uint64) {
	if !p.seen() {
		return 0, 0
	}
	t := &p.engine.table
	c, i := t.at(p.slot)
	n, total = readSamples(t.samples, t.sampleWindow(c, i), dst)
	if !p.seen() {
		return 0, 0 // the next one has begun, which empties the window
	}
	return n, total
}

// readSamples decodes the newest len(dst) records of a window of heartbeats.
func readSamples(l ringbuf.Layout, window []ringbuf.Word, dst []Sample) (int, uint64) {
	const chunk = 32
	var buf [chunk * sampleWords]uint64
	words := buf[:]
	if len(dst) > chunk {
		words = make([]uint64, len(dst)*sampleWords)
	}
	n, total := l.Snapshot(window, words[:len(dst)*sampleWords])
	decodeSamples(dst[:n], words)
	return n, total
}
