package engine

import (
	"fmt"
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

// IsZero reports whether p is the zero Peer, as in events about this node.
func (p Peer) IsZero() bool { return p.engine == nil }

// record returns the published record of p.
func (p Peer) record() *peer { return p.engine.table.peer(p.slot) }

// present reports whether the slot still holds this peer.
func (p Peer) present() bool {
	generation, state, _, _ := unpackStatus(p.record().status.Load())
	return generation == p.generation && state != Removed
}

// State returns what this node believes of the peer: one atomic load.
func (p Peer) State() State {
	if p.engine == nil {
		return Unknown
	}
	generation, state, _, _ := unpackStatus(p.record().status.Load())
	switch {
	case generation != p.generation:
		return Removed
	case state == Unknown:
		return Connecting // added, and not yet seen by its shard
	}
	return state
}

// Suspicion returns the detector's level at this moment: monotone while the peer is
// silent, finite, 0 while it was never heard. Suspicion at Suspect or Failed is at
// least the level of that state.
func (p Peer) Suspicion() float64 {
	if p.engine == nil {
		return 0
	}
	return p.SuspicionAt(p.engine.reading().Now)
}

// SuspicionAt returns the level at the instant at, for programs that keep the clock.
func (p Peer) SuspicionAt(at clock.Instant) float64 {
	var buf [maxSummary]uint64
	summary := p.summary(buf[:])
	if summary == nil {
		return 0
	}
	level := p.engine.table.detector.Suspicion(summary, at)
	switch p.State() {
	case Suspect:
		return max(level, p.engine.suspectLevel)
	case Failed:
		return max(level, p.engine.failLevel)
	}
	return level
}

// Deadline returns the first instant at which the suspicion reaches level if the peer
// stays silent, clock.Never if it never does or the peer was never heard. What this
// node itself stood still meanwhile is not in it.
func (p Peer) Deadline(level float64) clock.Instant {
	var buf [maxSummary]uint64
	summary := p.summary(buf[:])
	if summary == nil {
		return clock.Never
	}
	return p.engine.table.detector.Deadline(summary, level)
}

// summary reads the published summary of the peer's detector into buf; nil if there is
// none.
func (p Peer) summary(buf []uint64) []uint64 {
	if p.engine == nil || !p.present() {
		return nil
	}
	t := &p.engine.table
	c, i := t.at(p.slot)
	summary := buf[:t.summary.Words]
	if !t.summary.Last(t.summaryWindow(c, i), summary) {
		return nil
	}
	return summary
}

// maxSummary bounds the words that a detector may ask to have published.
const maxSummary = 16

// ID returns the peer's id, 0 while it is unknown.
func (p Peer) ID() uint64 {
	if p.engine == nil || !p.present() {
		return 0
	}
	return p.record().known.Load()
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
	Mistakes   uint64 // times it was suspected and was heard again in the same life
	// Watched is the time between its heartbeats, added up: Watched / Mistakes is the
	// observed mean time between mistakes, to be held against Promise.MistakeEvery.
	Watched time.Duration

	RoundTrip      time.Duration // smoothed; 0: not measured
	LeastRoundTrip time.Duration
	Period         time.Duration // between our heartbeats to it, as negotiated
	PeerPeriod     time.Duration // between its heartbeats to us, as it announced
	Progress       uint64        // the counter of its application

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
	if p.engine == nil || !p.present() {
		return PeerStats{State: p.State()}
	}
	r := p.record()
	v, _ := r.readVerdict()
	odd, remote, trips := r.odd.Load(), r.remote.Load(), r.roundTrips.Load()
	sent := r.sent.Load() // before where it began
	s := PeerStats{
		ID: r.known.Load(), Incarnation: r.life.Load(), State: p.State(), Cause: v.cause, Since: v.at,
		Suspicion: p.Suspicion(),
		Sent:      sent - min(sent, r.sentFrom.Load()), Received: r.received.Load(),
		LostOut: r.lostOut.Load(), LostIn: r.lostIn.Load(),
		Duplicated: uint32(odd >> 32), Reordered: uint32(odd),
		Missed: r.missed.Load(), Mistakes: r.mistakes.Load(), Watched: time.Duration(r.watched.Load()),
		RoundTrip: time.Duration(trips >> 32), LeastRoundTrip: time.Duration(uint32(trips)),
		Period:     time.Duration(uint32(remote)) * time.Microsecond,
		PeerPeriod: time.Duration(remote>>32) * time.Microsecond,
		Progress:   r.progress.Load(), MaySeemDeadSince: clock.Instant(r.lastSent.Load()),
	}
	var last [1]Sample
	if n, _ := p.Samples(last[:]); n == 1 {
		s.Last, s.LastArrival = last[0], last[0].Arrival
		if at := p.Deadline(p.engine.suspectLevel); at != clock.Never {
			s.Granted = max(at.Sub(s.LastArrival), 0)
		}
	}
	if !p.present() {
		return PeerStats{State: Removed}
	}
	return s
}

// Samples copies the newest heartbeats of the peer into dst, oldest first, and returns
// how many it copied and how many were accepted in all. A reader that remembers the
// total sees how many are new to it.
func (p Peer) Samples(dst []Sample) (n int, total uint64) {
	if p.engine == nil || !p.present() {
		return 0, 0
	}
	t := &p.engine.table
	c, i := t.at(p.slot)
	n, total = readSamples(t.samples, t.sampleWindow(c, i), dst)
	base := int64(c.peers[i].pathBase.Load())
	for k := range dst[:n] {
		dst[k].Network = max(time.Duration(int64(dst[k].Arrival-dst[k].Send)-base), 0)
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
	for i := range n {
		dst[i] = decodeSample(words[i*sampleWords:])
	}
	return n, total
}
