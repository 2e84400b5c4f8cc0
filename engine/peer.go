package engine

import (
	"fmt"
	"iter"
	"log/slog"
	"net/netip"
	"time"

	"systole/engine/clock"
	"systole/ringbuf"
)

// Peer is a handle on one watched peer. It is a value and may be copied and compared.
// Its methods read what the owner loop published, without a lock, from any goroutine. Two handles on
// one peer are equal, wherever they come from.
//
// Once the peer is removed its state is Removed. Name, Tag, Addr and ID stay readable until another
// peer has its place in the table, and then until that has happened to 4,096 more peers. Everything else
// is zero.
type Peer struct {
	engine     *Engine
	slot       uint32
	generation uint32
}

// Peers returns an iterator over the watched peers, admitted strangers included. Peers that are added or
// removed meanwhile may be in it or not. Any goroutine may call it; it delays no loop.
func (e *Engine) Peers() iter.Seq[Peer] {
	return func(yield func(Peer) bool) {
		for slot := uint32(1); slot < e.table.slots.Load(); slot++ {
			if p, ok := e.watchedIn(slot); ok && !yield(p) {
				return
			}
		}
	}
}

// watchedIn returns the watched peer in a slot. It reports false if there is none.
func (e *Engine) watchedIn(slot uint32) (Peer, bool) {
	generation, state, _, _ := unpackStatus(e.table.peer(slot).verdict.status.Load())
	switch {
	case state != Unknown && state != Removed:
		return Peer{e, slot, generation}, true
	case state == Removed || generation == 0:
		generation = max(generation+1, 1)
	}
	// AddPeer has labelled the peer that comes, which its shard has not seen yet.
	p := Peer{e, slot, generation}
	return p, p.label() != nil && p.State() != Removed
}

// standing ranks the states of several peers with one id.
var standing = [numStates]int{Alive: 6, OneWay: 5, Suspect: 4, Connecting: 3, Failed: 2, Left: 1}

// Lookup returns the watched peer with an id. Of several peers with it, as of a node with several paths,
// that is the first one in the best state: alive, one-way, suspect, connecting, failed, left. Lookup
// reports false if no peer has the id, or id is 0.
//
// Any goroutine may call it. It looks at every peer, which takes some milliseconds where there are a hundred
// thousand: a program that needs a peer often keeps the Peer.
func (e *Engine) Lookup(id uint64) (Peer, bool) {
	var best Peer
	rank := 0
	for p := range e.Peers() {
		if id == 0 || p.ID() != id {
			continue
		}
		if r := standing[p.State()]; r > rank {
			best, rank = p, r
		}
		if rank == standing[Alive] {
			break
		}
	}
	return best, rank > 0
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

// Addr returns where heartbeats to the peer go or, once it was removed, last went. It is the zero AddrPort
// while the peer's name has not resolved.
func (p Peer) Addr() netip.AddrPort {
	addr, _ := p.whereabouts()
	return addr.AddrPort()
}

// Name returns PeerConfig.Name, "" for a peer that was added by its address or admitted.
func (p Peer) Name() string { return p.words().name }

// Tag returns PeerConfig.Tag.
func (p Peer) Tag() string { return p.words().tag }

// Suspicion returns the peer's level at this moment: monotone while the peer is silent and this
// node awake, finite, 0 while it was never heard. Like every suspicion that is published it is at
// least the level of a state that the peer is in, and below that of one that it is not in.
func (p Peer) Suspicion() float64 {
	if p.engine == nil {
		return 0
	}
	return p.suspicionAt(p.engine.reading().Now)
}

// suspicionAt returns the level at the instant at. While Config.Arrivals
// takes the peer's heartbeats, it is the level at which they were last read, if that is earlier.
func (p Peer) suspicionAt(at clock.Instant) float64 {
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
	_, id := p.whereabouts()
	return id
}

// String describes the peer for people: its name or else its address, its tag, the first eight digits of
// its id, and its state, as in "db1.example:7853 [rack 4] (1f3a5b7c, alive)".
func (p Peer) String() string {
	if p.engine == nil {
		return "no peer"
	}
	is := p.identity()
	if is.id == 0 {
		return fmt.Sprintf("%s (%v)", is.text(), p.State())
	}
	return fmt.Sprintf("%s (%s, %v)", is.text(), shortID(is.id), p.State())
}

// LogValue returns the peer as a group for structured logs: name, addr, tag, id (as in String) and
// state, as far as they are known.
func (p Peer) LogValue() slog.Value {
	if p.engine == nil {
		return slog.StringValue(p.String())
	}
	is := p.identity()
	return slog.GroupValue(append(is.attrs(), slog.String("state", p.State().String()))...)
}

// PeerStats is what is known of a peer. Counters count since AddPeer.
type PeerStats struct {
	Peer        Peer           // whose figures they are; not in JSON
	Name        string         // PeerConfig.Name; "" for a peer without one
	Tag         string         // PeerConfig.Tag
	Addr        netip.AddrPort // where heartbeats to it go
	ID          uint64         // 0 while unknown
	Incarnation uint64         // 0 while unknown
	State       State
	Cause       Cause         // of the last transition
	Since       clock.Instant // when it was decided
	Suspicion   float64       // now

	Sent       uint64 // heartbeats written to it
	Received   uint64 // heartbeats accepted from it
	LostOut    uint64 // ours that its present incarnation says it never got; Histograms adds up those of all
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

	taken clock.Reading // when it was read
}

// unseen returns the figures of a peer that its shard has not seen yet, or that was removed.
func (p Peer) unseen() PeerStats {
	is := p.identity()
	return PeerStats{Peer: p, Name: is.name, Tag: is.tag, Addr: is.addr, ID: is.id, State: p.State()}
}

// Stats reads everything published about the peer. Of a removed peer that is who it was.
func (p Peer) Stats() PeerStats {
	if !p.seen() {
		return p.unseen()
	}
	is := p.identity()
	r := p.record()
	v, _ := r.verdict.read()
	now := p.engine.reading()
	s := PeerStats{
		taken: now,
		Peer:  p, Name: is.name, Tag: is.tag, Addr: is.addr, ID: is.id, Incarnation: r.session.incarnation.Load(),
		State: p.State(), Cause: v.cause, Since: v.at, Suspicion: p.suspicionAt(now.Now), Degraded: p.Degraded(), Slow: p.Slow(),
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
		return p.unseen()
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
