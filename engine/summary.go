package engine

import (
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
)

// Summary is the evidence about one peer: the summary of its detector, and what the loop weighs
// besides. It has no pointers and can be marshalled: another process that has the same
// detector, with the same parameters, comes to the same suspicion, and to the same levels (package
// level). Instants are those of the watching node, so the two machines' clocks need not agree.
type Summary struct {
	ID          uint64
	Incarnation uint64
	State       State
	Cause       Cause // of the last transition of State
	Slow        bool  // see PeerStats
	// ReadTo is the instant of the summary: everything that had arrived until then counts in
	// it. Silence after it is no evidence. Peer.Poll moves it on.
	ReadTo clock.Instant
	// Arrival is when the newest heartbeat arrived; 0 if the peer was never heard.
	Arrival clock.Instant
	// Paused is for how long the watching node stood still since Arrival, as far as that counts:
	// suspicion is that of an instant as much earlier, and deadlines are as much later.
	Paused time.Duration
	// Grace is the instant before which suspicion does not rise, after a receive buffer
	// overflowed or a link came back; 0 if there is none.
	Grace clock.Instant
	// SuspectLevel and FailLevel are the suspicions of those states.
	SuspectLevel, FailLevel float64
	// Words begins with the summary that the detector wrote, and ends with zeros.
	Words [maxSummary]uint64
}

// maxSummary bounds the words that a detector may ask to have published.
const maxSummary = 16

// Summary returns the peer's summary as of now; the zero one, whose State is Unknown, if the
// peer was removed. Any goroutine may call it; it allocates nothing.
func (p Peer) Summary() Summary {
	for range summaryTries {
		if !p.seen() {
			break
		}
		if s, ok := p.summary(); ok {
			return s
		}
	}
	return Summary{}
}

// summaryTries bounds Peer.Summary: what changes meanwhile does so in nanoseconds.
const summaryTries = 64

// summary reads what is published of the peer. It reports false when that changed meanwhile.
//
// The order of loads makes what is read at worst too kind to the peer. ReadTo comes first:
// the shard stores it after all that arrived until then. The detector's summary comes
// after the pauses at its last arrival, which the shard stores after the summary.
func (p Peer) summary() (s Summary, ok bool) {
	e, r := p.engine, p.record()
	shown := &p.shard().shown
	s.ReadTo = p.readTo()
	x := excuse{lost: time.Duration(shown.paused.Load()), to: clock.Instant(shown.pausedTo.Load())}
	status := r.verdict.status.Load()
	generation, state, _, cause := unpackStatus(status)
	s.State, s.Cause, s.Slow = state, cause, status&slowBit != 0
	s.ID, s.Incarnation = r.session.id.Load(), r.session.incarnation.Load()
	s.Grace = clock.Instant(r.deadline.grace.Load())
	s.SuspectLevel, s.FailLevel = e.suspectLevel, e.failLevel
	x.lost -= time.Duration(r.deadline.paused.Load())
	if s.Arrival, ok = e.table.lastOf(p.slot, &s.Words); s.Arrival != 0 {
		x.from = s.Arrival
		s.Paused = x.shift()
	}
	again, _, _, _ := unpackStatus(r.verdict.status.Load())
	return s, ok && generation == p.generation && again == generation
}

// lastOf returns the newest arrival of slot, and its detector's summary in words; 0 for a peer that
// was not heard in this incarnation. It reports false when the owner wrote all the while.
func (t *table) lastOf(slot uint32, words *[maxSummary]uint64) (arrival clock.Instant, ok bool) {
	c, i := t.at(slot)
	var sample [sampleWords]uint64
	if !t.summary.Last(t.summaryWindow(c, i), words[:t.summary.Words]) {
		return 0, t.summary.Total(t.summaryWindow(c, i)) == 0
	}
	if *words == [maxSummary]uint64{} {
		return 0, true
	}
	if !t.samples.Last(t.sampleWindow(c, i), sample[:]) {
		return 0, t.samples.Total(t.sampleWindow(c, i)) == 0
	}
	return decodeSample(sample[:]).Arrival, true
}

// shard returns the shard that owns p.
func (p Peer) shard() *shard { return p.engine.shards[p.engine.shardOf(p.slot)] }

// Poll asks the peer's loop to read its sockets, unless it has read everything that had arrived by
// the instant at: for a program by whose clock a deadline has passed, but not by Summary.ReadTo, which
// then follows with a turn of the loop. Poll does not wait. Any goroutine may call it.
func (p Peer) Poll(at clock.Instant) {
	if p.engine == nil {
		return
	}
	if s := p.shard(); p.readTo() < at && s.ring.Len() == 0 { // else it is about to turn
		s.post(command{kind: commandRead, slot: p.slot, generation: p.generation})
	}
}

// readTo returns the instant up to which all that had arrived of the peer is published.
func (p Peer) readTo() clock.Instant {
	return min(clock.Instant(p.shard().shown.readTo.Load()), p.engine.table.belowTo(p.slot))
}

// Excuse takes the pauses of the reader's own loop off the peer's silence, in Paused, which has those
// of the engine's loops. The longer of the two counts.
func (s *Summary) Excuse(l *LoopPauses) {
	x := excuse{from: s.Arrival, lost: l.lost, to: l.to}
	s.Paused = max(s.Paused, x.shift())
}

// words returns what the detector judges by; nothing if the peer was never heard.
func (s *Summary) words() []uint64 {
	if s.Arrival == 0 {
		return nil
	}
	return s.Words[:]
}

// Suspicion returns the level of the peer's suspicion by the evidence of s: finite, at least
// the level of the state that it is in, and below that of a state that it is not in. d is the
// detector that wrote the summary: see Engine.Detector.
func (s *Summary) Suspicion(d detect.Detector) float64 {
	return suspicion(d, s.words(), s.ReadTo.Add(-s.Paused), s.State, s.Cause, s.SuspectLevel, s.FailLevel)
}

// Deadline returns the first instant at which Suspicion reaches level if the peer stays
// silent and the watching node awake; clock.Never if only another verdict of the loop
// can bring it there. d is the detector that wrote the summary.
func (s *Summary) Deadline(d detect.Detector, level float64) clock.Instant {
	if s.Arrival == 0 || level >= ceiling(s.State, s.Cause, s.SuspectLevel, s.FailLevel) {
		return clock.Never
	}
	at := d.Deadline(s.Words[:], level)
	if at == clock.Never {
		return at
	}
	return max(at.Add(s.Paused), s.Grace)
}
