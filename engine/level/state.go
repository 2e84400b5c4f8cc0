package level

import (
	"systole/engine"
	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/internal/evidence"
)

// State is a peer's place in a List. The zero State is that of a peer that was not judged yet.
type State struct {
	Level       int           // 0: none; i: the i-th
	Since       clock.Instant // when Level was entered; 0 for the first level 0
	Raised      clock.Instant // when the suspicion last rose to a higher level
	Incarnation uint64        // the incarnation that was judged
}

// Judge moves st by what s says at the instant now, and returns when to judge again if the
// peer stays silent; a heartbeat or a transition of its state may change its level
// sooner. d is the detector that wrote s. l is valid.
//
// A failed peer is at the highest level, whatever its suspicion. A peer that left or was
// removed is at none, and a new incarnation begins there. Levels at or above the suspicion of
// engine.Suspect, and of engine.Failed, are entered only with that state.
func (l List) Judge(d detect.Detector, s *engine.Summary, now clock.Instant, st *State) clock.Instant {
	if s.Incarnation != st.Incarnation {
		st.move(0, now)
		st.Incarnation = s.Incarnation
	}
	switch s.State {
	case engine.Failed:
		st.rise(len(l), now)
		return clock.Never
	case engine.Unknown, engine.Left, engine.Removed:
		st.move(0, now)
		return clock.Never
	}
	suspicion := s.Suspicion(d)
	if !st.rise(l.reached(raises(s, suspicion)), now) {
		l.fall(suspicion, now, st)
	}
	return l.next(d, s, suspicion, st)
}

// raises returns the suspicion that may raise levels.
func raises(s *engine.Summary, suspicion float64) float64 {
	ofState := 0.0
	if s.State == engine.Suspect {
		ofState = s.SuspectLevel
	}
	return evidence.Counts(suspicion, ofState, s.ReadTo, s.Grace)
}

// rise moves st up to a level and reports whether that is higher than where it was.
func (st *State) rise(to int, now clock.Instant) bool {
	if to <= st.Level {
		return false
	}
	st.move(to, now)
	st.Raised = now
	return true
}

// move moves st to a level.
func (st *State) move(to int, now clock.Instant) {
	if to != st.Level {
		st.Level, st.Since = to, now
	}
}

// fall moves st down past the levels that suspicion does not keep it in and that it has
// been in for long enough.
func (l List) fall(suspicion float64, now clock.Instant, st *State) {
	to := st.Level
	for to > 0 {
		t := &l[to-1]
		if t.keeps(suspicion) || now < st.Raised.Add(t.Stay) {
			break
		}
		to--
	}
	st.move(to, now)
}

// next returns when time alone can change st: the next level up is reached, or the stay in
// the present one is over.
func (l List) next(d detect.Detector, s *engine.Summary, suspicion float64, st *State) clock.Instant {
	next := clock.Never
	if st.Level < len(l) {
		next = s.Deadline(d, l[st.Level].Raise)
	}
	if st.Level > 0 {
		if t := &l[st.Level-1]; !t.keeps(suspicion) {
			next = min(next, st.Raised.Add(t.Stay))
		}
	}
	return next
}
