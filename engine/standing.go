package engine

import (
	"systole/engine/clock"
	"systole/engine/detect"
)

// Standing is where a peer stands among somebody's levels. The zero Standing is that of a
// peer of which nothing was judged yet.
type Standing struct {
	Level       int           // 0: none; i: the i-th
	Since       clock.Instant // when Level was entered; 0 for the first level 0
	Raised      clock.Instant // when the suspicion last rose to a higher level
	Incarnation uint64        // the life that was judged
}

// Judge moves st by what s says at the instant now, and returns when to judge again if the
// peer stays silent; a heartbeat or a transition of its state may change its standing
// sooner. d is the detector that wrote s. l is valid.
//
// A failed peer is at the highest level, whatever its suspicion. A peer that left or was
// removed is at none, and a new incarnation begins there. Levels at or above the suspicion of
// Suspect, and of Failed, are entered only with that state.
func (l *Levels) Judge(d detect.Detector, s *Summary, now clock.Instant, st *Standing) clock.Instant {
	if s.Incarnation != st.Incarnation {
		st.move(0, now)
		st.Incarnation = s.Incarnation
	}
	switch s.State {
	case Failed:
		st.rise(len(l.List), now)
		return clock.Never
	case Unknown, Left, Removed:
		st.move(0, now)
		return clock.Never
	}
	suspicion := s.Suspicion(d)
	if !st.rise(l.reached(s.vouched(suspicion)), now) {
		l.fall(suspicion, now, st)
	}
	return l.next(d, s, suspicion, st)
}

// vouched returns the suspicion that may raise levels: in the time of grace only the state
// that the loop has decided on.
func (s *Summary) vouched(suspicion float64) float64 {
	switch {
	case s.ReadTo >= s.Grace:
		return suspicion
	case s.State == Suspect:
		return s.SuspectLevel
	}
	return 0
}

// rise moves st up to a level and reports whether that is higher than where it was.
func (st *Standing) rise(to int, now clock.Instant) bool {
	if to <= st.Level {
		return false
	}
	st.move(to, now)
	st.Raised = now
	return true
}

// move moves st to a level.
func (st *Standing) move(to int, now clock.Instant) {
	if to != st.Level {
		st.Level, st.Since = to, now
	}
}

// fall moves st down past the levels that suspicion does not keep it in and that it has
// been in for long enough.
func (l *Levels) fall(suspicion float64, now clock.Instant, st *Standing) {
	to := st.Level
	for to > 0 {
		v := &l.List[to-1]
		if v.keeps(suspicion) || now < st.Raised.Add(v.Stay) {
			break
		}
		to--
	}
	st.move(to, now)
}

// next returns when time alone can change st: the next level up is reached, or the stay in
// the present one is over.
func (l *Levels) next(d detect.Detector, s *Summary, suspicion float64, st *Standing) clock.Instant {
	next := clock.Never
	if st.Level < len(l.List) {
		next = s.Deadline(d, l.List[st.Level].Raise)
	}
	if st.Level > 0 {
		if v := &l.List[st.Level-1]; !v.keeps(suspicion) {
			next = min(next, st.Raised.Add(v.Stay))
		}
	}
	return next
}
