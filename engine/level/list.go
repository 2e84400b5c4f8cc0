package level

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"systole/engine"
)

// List is the levels of one subscriber, from the lowest to the highest: at least 1, at most 32. At
// level 0 a peer is unsuspicious; level i is the i-th threshold of the list, counted from 1.
type List []Threshold

// Threshold is one level. Suspicion is in the detector's own unit: see MistakeEvery and
// engine.Engine.StateLevels.
type Threshold struct {
	// Name is for people, and unique in its list.
	Name string
	// Raise is the suspicion at which the level is entered. More than that of the level
	// below.
	Raise float64
	// Clear is the suspicion at or below which it is left: hysteresis. 0 means Raise. At
	// most Raise, and not below the Clear of the level below.
	Clear float64
	// Stay is how long the level is kept at least since the suspicion last rose to it or to
	// one above it: a minimum stay against flapping. At most 24 hours.
	Stay time.Duration
	// Enter and Leave are called by Run, if they are given: Enter when the level is entered
	// from below, Leave when it is left downward. For one peer they alternate, begin with
	// Enter, and never overlap. A peer that goes up past three levels enters all three, and one
	// that comes down leaves all three; but levels do not wait for each other: an Enter that
	// takes long may still run when that of the level above has returned. A level that
	// was entered and left while neither could be called is skipped.
	//
	// In the event, From is the level of the last call here: below this one for Enter,
	// not below it for Leave. To is the latest. The context ends with Run.
	Enter, Leave func(context.Context, Event)
}

const (
	maxLevels = 32
	maxStay   = 24 * time.Hour
)

// Validate reports every fault of l at once, each an *engine.FieldError, joined.
func (l List) Validate() error {
	var faults []error
	bad := func(field, format string, args ...any) {
		faults = append(faults, fieldError(field, format, args...))
	}
	if n := len(l); n == 0 || n > maxLevels {
		bad("List", "%d levels; at least 1, at most %d", n, maxLevels)
	}
	names := make(map[string]bool)
	below := &Threshold{}
	for i := range l {
		t := &l[i]
		in := func(field, format string, args ...any) {
			bad(fmt.Sprintf("List[%d].%s", i, field), format, args...)
		}
		if t.Name == "" || names[t.Name] {
			in("Name", "%q is empty or taken; name each level differently", t.Name)
		}
		names[t.Name] = true
		t.validate(in, below)
		below = t
	}
	return errors.Join(faults...)
}

// validate reports the faults of one level above the level below.
func (t *Threshold) validate(bad func(string, string, ...any), below *Threshold) {
	if !(t.Raise > below.Raise) || math.IsInf(t.Raise, 0) {
		bad("Raise", "%v is not a number above %v", t.Raise, below.Raise)
	}
	switch {
	case !(t.Clear >= 0) || t.Clear > t.Raise:
		bad("Clear", "%v is not within 0 to Raise, %v", t.Clear, t.Raise)
	case t.clear() < below.clear():
		bad("Clear", "%v is below that of the level below, %v", t.clear(), below.clear())
	}
	if t.Stay < 0 || t.Stay > maxStay {
		bad("Stay", "%v is not within 0 to %v", t.Stay, maxStay)
	}
}

// fieldError returns a fault of a field.
func fieldError(field, format string, args ...any) error {
	return &engine.FieldError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// clear returns the suspicion at or below which t is left.
func (t *Threshold) clear() float64 {
	if t.Clear == 0 {
		return t.Raise
	}
	return t.Clear
}

// keeps reports whether suspicion keeps a peer in t that is in it.
func (t *Threshold) keeps(suspicion float64) bool {
	return suspicion >= t.Raise || suspicion > t.clear()
}

// name returns the name of level i; "" for level 0.
func (l List) name(i int) string {
	if i == 0 {
		return ""
	}
	return l[i-1].Name
}

// reached returns the highest level that suspicion reaches.
func (l List) reached(suspicion float64) int {
	i := 0
	for i < len(l) && suspicion >= l[i].Raise {
		i++
	}
	return i
}

// MistakeEvery returns the suspicion at which a peer that is well, with the given period,
// is there once in every: φ = log10(every/period). It is for the detectors whose suspicion is
// -log10 of a probability: margin, phi and phi-exp. Both durations are above
// 0; it is 0 if every is not the longer.
func MistakeEvery(every, period time.Duration) float64 {
	if period <= 0 || every <= period {
		return 0
	}
	return math.Log10(float64(every) / float64(period))
}
