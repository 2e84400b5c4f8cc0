package engine

import (
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
)

// Summary is what an interpreter needs of one peer: the summary of its detector, and what
// the loop has weighed that a threshold alone does not. It holds no pointer into the
// engine and can be marshalled: a central interpreter that has the same Detector, with
// the same parameters, comes to the same levels by Levels.Judge. Instants are those of
// the watching node, so the two machines' clocks need not agree.
type Summary struct {
	ID          uint64
	Incarnation uint64
	State       State
	Cause       Cause // of the last transition of State
	// ReadTo is the instant that the summary is of: everything that had arrived until then
	// counts in it. Nothing later is evidence of silence.
	ReadTo clock.Instant
	// Arrival is when its newest heartbeat arrived; 0 if it was never heard.
	Arrival clock.Instant
	// Paused is what the watching node stood still since, as far as it counts: suspicion is
	// that of an instant as much earlier, and deadlines are as much later.
	Paused time.Duration
	// Grace is the instant before which suspicion does not rise, after a receive buffer
	// overflowed or a link came back; 0 if there is none.
	Grace clock.Instant
	// SuspectLevel and FailLevel are the suspicions of those states.
	SuspectLevel, FailLevel float64
	// Words is the summary that the detector wrote; empty if the peer was never heard.
	Words []uint64
}

// Summary returns the peer's summary as of now; the zero one, whose State is Unknown, if the
// peer was removed. Any goroutine may call it.
func (p Peer) Summary() Summary {
	var s Summary
	p.summarize(&s)
	return s
}

// summarize reads the peer's summary into s; it reports false, and s is the zero one, if there is none.
func (p Peer) summarize(s *Summary) bool {
	for range summaryTries {
		if !p.seen() {
			break
		}
		if generation, ok := p.engine.summarize(p.slot, s); ok && generation == p.generation {
			return true
		}
	}
	*s = Summary{}
	return false
}

// summaryTries bounds Peer.Summary: what changes meanwhile does so in nanoseconds.
const summaryTries = 64

// summarize reads what is published of slot into s, whose Words it reuses, and returns the
// generation that it is of. It reports false when the slot changed hands meanwhile.
//
// The order of loads makes what is read at worst too kind to the peer. ReadTo comes first:
// the shard stores it after all that arrived until then. The detector's summary comes
// after the pauses at its last arrival, which the shard stores after the summary.
func (e *Engine) summarize(slot uint32, s *Summary) (generation uint32, ok bool) {
	p := e.table.peer(slot)
	shown := &e.shards[e.shardOf(slot)].shown
	readTo := clock.Instant(shown.readTo.Load())
	x := excuse{lost: time.Duration(shown.paused.Load()), to: clock.Instant(shown.pausedTo.Load())}
	generation, state, _, cause := unpackStatus(p.verdict.status.Load())
	words := s.Words[:0]
	*s = Summary{
		ID: p.session.id.Load(), Incarnation: p.session.incarnation.Load(), State: state, Cause: cause, ReadTo: readTo,
		Grace: clock.Instant(p.deadline.grace.Load()), SuspectLevel: e.suspectLevel, FailLevel: e.failLevel,
	}
	x.lost -= time.Duration(p.deadline.paused.Load())
	x.from, s.Words, ok = e.table.lastOf(slot, words)
	if s.Arrival = x.from; x.from != 0 {
		s.Paused = x.shift()
	}
	again, _, _, _ := unpackStatus(p.verdict.status.Load())
	return generation, ok && again == generation
}

// lastOf returns the newest arrival of slot and its detector's summary, appended to words;
// 0 and nothing for a peer that was not heard in this life. It reports false when the
// owner wrote all the while.
func (t *table) lastOf(slot uint32, words []uint64) (clock.Instant, []uint64, bool) {
	c, i := t.at(slot)
	var summary [maxSummary]uint64
	var sample [sampleWords]uint64
	if !t.summary.Last(t.summaryWindow(c, i), summary[:t.summary.Words]) {
		return 0, words, t.summary.Total(t.summaryWindow(c, i)) == 0
	}
	if summary == [maxSummary]uint64{} {
		return 0, words, true
	}
	if !t.samples.Last(t.sampleWindow(c, i), sample[:]) {
		return 0, words, t.samples.Total(t.sampleWindow(c, i)) == 0
	}
	return decodeSample(sample[:]).Arrival, append(words, summary[:t.summary.Words]...), true
}

// Suspicion returns the level of the peer's suspicion by the evidence of s: finite, at least
// the level of a state that it is in, and below that of one that it is not in. d is the
// detector that wrote the summary.
func (s *Summary) Suspicion(d detect.Detector) float64 {
	return suspicion(d, s.Words, s.ReadTo.Add(-s.Paused), s.State, s.Cause, s.SuspectLevel, s.FailLevel)
}

// Deadline returns the first instant at which Suspicion reaches level if the peer stays
// silent and the watching node awake; clock.Never if only another verdict of the loop
// can bring it there.
func (s *Summary) Deadline(d detect.Detector, level float64) clock.Instant {
	if len(s.Words) == 0 || level >= ceiling(s.State, s.Cause, s.SuspectLevel, s.FailLevel) {
		return clock.Never
	}
	at := d.Deadline(s.Words, level)
	if at == clock.Never {
		return at
	}
	return max(at.Add(s.Paused), s.Grace)
}
