package qos

import (
	"math"
	"math/rand/v2"
)

// draw returns a length in nanoseconds.
func (l *Length) draw(r *rand.Rand) int64 {
	switch l.kind {
	case lognormal:
		return int64(l.a * math.Exp(l.b*r.NormFloat64()))
	case exponential:
		return int64(l.a * r.ExpFloat64())
	case uniform:
		return int64(l.a + (l.b-l.a)*r.Float64())
	case pareto:
		return int64(min(l.a*math.Exp(l.b*r.ExpFloat64()), l.limit))
	}
	return 0
}

// never is later than any instant of a trace.
const never = math.MaxInt64

// happenings are events under way.
type happenings struct {
	Events
	next int64 // ns
}

// start draws the first instant.
func (h *happenings) start(e Events, from int64, r *rand.Rand) {
	h.Events, h.next = e, never
	if e.Every > 0 {
		h.next = from + int64(float64(e.Every)*r.ExpFloat64())
	}
}

// happen takes the next event, if it is not after at: its instant and length.
func (h *happenings) happen(at int64, r *rand.Rand) (when, length int64, ok bool) {
	if h.next > at {
		return 0, 0, false
	}
	when = h.next
	h.next += int64(float64(h.Every)*r.ExpFloat64()) + 1
	return when, h.Length.draw(r), true
}

// losing draws which heartbeats are lost. It counts down to the next change of state and
// to the next loss rather than draw for each.
type losing struct {
	Loss
	bad    bool
	change int64 // heartbeats until the state changes
	lose   int64 // until the next loss in this state
}

// start begins in the good state.
func (l *losing) start(loss Loss, r *rand.Rand) {
	l.Loss = loss
	if l.Bad == 0 {
		l.Bad = 1
	}
	l.enter(false, r)
}

// enter draws how long the state lasts: one heartbeat at least.
func (l *losing) enter(bad bool, r *rand.Rand) {
	out, share := l.Into, l.Good
	if bad {
		out, share = l.OutOf, l.Bad
	}
	l.bad, l.change, l.lose = bad, min(geometric(out, r), never-1)+1, geometric(share, r)
}

// lost reports whether the next heartbeat is.
func (l *losing) lost(r *rand.Rand) bool {
	if l.change == 0 {
		l.enter(!l.bad, r)
	}
	l.change--
	if l.lose > 0 {
		l.lose--
		return false
	}
	share := l.Good
	if l.bad {
		share = l.Bad
	}
	l.lose = geometric(share, r)
	return true
}

// geometric returns how many trials of this probability fail before one succeeds.
func geometric(p float64, r *rand.Rand) int64 {
	switch {
	case p <= 0:
		return never
	case p >= 1:
		return 0
	}
	return int64(min(r.ExpFloat64()/-math.Log1p(-p), 1<<62))
}
