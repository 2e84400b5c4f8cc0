package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// Levels is what a subscriber makes of suspicion: an ordered list of thresholds, with what
// to do at each. Several subscribers of one engine may have different ones; see
// Engine.Interpret and Engine.Interpreter. At level 0 a peer is unsuspicious, at level i the
// i-th of List, counted from 1, is in force.
type Levels struct {
	// List are the levels, from the lowest to the highest. At least one, at most 32.
	List []Level
	// Parallel is how many functions Engine.Interpret may run at once. 0 means 1024. Those
	// beyond wait until one returns, in the order in which they came to be called, and are
	// then called for the latest level of their peer, if that still asks for it. At most
	// 65536. With 1, one that is stuck holds up all others of this subscriber, and of no
	// other. Engine.Interpreter, which runs none, ignores it.
	Parallel int
}

// Level is one threshold. Suspicion is in the detector's own unit: see MistakeLevel and
// Engine.StateLevels.
type Level struct {
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
	// Enter and Leave are called by Engine.Interpret, if they are given: Enter when the
	// level is entered from below, Leave when it is left downward. For one peer they
	// alternate, begin with Enter, and never overlap. Who goes up past three levels enters all
	// three, who comes down leaves all three; but levels do not wait for each other: an Enter
	// that takes long may still run when that of the level above has returned. A level that
	// was entered and left while neither could be called is not told.
	//
	// In the event, From is the level that was known here last: below this one for Enter,
	// not below it for Leave. To is the latest. The context ends with Interpret.
	Enter, Leave func(context.Context, LevelEvent)
}

const (
	maxLevels = 32
	maxStay   = 24 * time.Hour
	// defaultParallel is more than the peers that most nodes watch, and as goroutines
	// some MB; maxParallel is for nodes that watch as many and whose actions take long.
	defaultParallel = 1024
	maxParallel     = 65536
)

// Validate reports every fault of l at once, each a *FieldError, joined.
func (l *Levels) Validate() error {
	var faults []error
	bad := func(field, format string, args ...any) {
		faults = append(faults, fieldError(field, format, args...))
	}
	if n := len(l.List); n == 0 || n > maxLevels {
		bad("List", "%d levels; at least 1, at most %d", n, maxLevels)
	}
	if l.Parallel < 0 || l.Parallel > maxParallel {
		bad("Parallel", "%d is not within 0 to %d", l.Parallel, maxParallel)
	}
	names := make(map[string]bool)
	below := &Level{}
	for i := range l.List {
		level := &l.List[i]
		in := func(field, format string, args ...any) {
			bad(fmt.Sprintf("List[%d].%s", i, field), format, args...)
		}
		if level.Name == "" || names[level.Name] {
			in("Name", "%q is empty or taken; name each level differently", level.Name)
		}
		names[level.Name] = true
		level.validate(in, below)
		below = level
	}
	return errors.Join(faults...)
}

// validate reports the faults of one level above the level below.
func (v *Level) validate(bad func(string, string, ...any), below *Level) {
	if !(v.Raise > below.Raise) || math.IsInf(v.Raise, 0) {
		bad("Raise", "%v is not a number above %v", v.Raise, below.Raise)
	}
	switch {
	case !(v.Clear >= 0) || v.Clear > v.Raise:
		bad("Clear", "%v is not within 0 to Raise, %v", v.Clear, v.Raise)
	case v.clear() < below.clear():
		bad("Clear", "%v is below that of the level below, %v", v.clear(), below.clear())
	}
	if v.Stay < 0 || v.Stay > maxStay {
		bad("Stay", "%v is not within 0 to %v", v.Stay, maxStay)
	}
}

// clear returns the suspicion at or below which v is left.
func (v *Level) clear() float64 {
	if v.Clear == 0 {
		return v.Raise
	}
	return v.Clear
}

// keeps reports whether suspicion keeps a peer in v that is in it.
func (v *Level) keeps(suspicion float64) bool {
	return suspicion >= v.Raise || suspicion > v.clear()
}

// name returns the name of level i; "" for level 0.
func (l *Levels) name(i int) string {
	if i == 0 {
		return ""
	}
	return l.List[i-1].Name
}

// reached returns the highest level that suspicion reaches.
func (l *Levels) reached(suspicion float64) int {
	i := 0
	for i < len(l.List) && suspicion >= l.List[i].Raise {
		i++
	}
	return i
}

// MistakeLevel returns the suspicion at which a peer that is well, with the given period,
// is there once in every: φ = log10(every/period). It is for the detectors whose suspicion is
// -log10 of a probability: margin, phi and phi-exp. Both durations are above
// 0; it is 0 if every is not the longer.
func MistakeLevel(every, period time.Duration) float64 {
	if period <= 0 || every <= period {
		return 0
	}
	return math.Log10(float64(every) / float64(period))
}

// StateLevels returns the suspicions at which this engine's detector makes a peer Suspect,
// and Failed: levels can be set to them, or to a share of them. Any goroutine may call it.
func (e *Engine) StateLevels() (suspect, failed float64) { return e.suspectLevel, e.failLevel }
