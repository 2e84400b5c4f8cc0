package replay

import (
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
)

// Judge has a detector judge the heartbeats of one life of a peer, one after another, and counts
// mistakes. Run judges a recording with a Judge; for heartbeats without an end use the Judge itself.
// One goroutine at a time uses a Judge.
type Judge struct {
	// Verdicts are in the order of the levels given to NewJudge.
	Verdicts []Verdict
	// Heartbeats and Observed are how many heartbeats were judged, each by the deadline that those
	// before it set, and for how long.
	Heartbeats int
	Observed   time.Duration

	detector detect.Detector
	state    []uint64
	sequence uint64 // of the newest heartbeat; 0: none was taken
	arrival  clock.Instant
}

// Verdict is the judgement at one level of suspicion.
type Verdict struct {
	// Deadline is when silence after the newest heartbeat reaches the level. clock.Never: it does
	// not. 0: no heartbeat was taken.
	Deadline clock.Instant
	// Mistakes are the verdicts against a peer of which a heartbeat came later, and Mistaken is how
	// long they lasted in all. A heartbeat so late that the deadline it sets has passed ends no mistake.
	Mistakes int
	Mistaken time.Duration

	level    float64
	mistaken bool // a mistake is under way
}

// NewJudge returns a Judge that has taken no heartbeat. It judges at each of the levels.
func NewJudge(d detect.Detector, levels ...float64) *Judge {
	j := &Judge{Verdicts: make([]Verdict, len(levels)), detector: d, state: make([]uint64, d.Words())}
	for i, level := range levels {
		j.Verdicts[i].level = level
	}
	return j
}

// Take takes a heartbeat, in the order of arrival. The detector learns from the heartbeat; with
// judged, the silence before it counts as well, unless it is the first. Take returns false for a
// heartbeat whose sequence is not above all those before: it changes nothing. Sequences begin at 1.
func (j *Judge) Take(h *detect.Heartbeat, judged bool) bool {
	if h.Sequence <= j.sequence {
		return false
	}
	if judged && j.sequence != 0 {
		j.Heartbeats++
		j.Observed += h.Arrival.Sub(j.arrival)
		for i := range j.Verdicts {
			j.Verdicts[i].silence(j.arrival, h.Arrival)
		}
	}
	detect.Take(j.detector, j.state, h)
	for i := range j.Verdicts {
		v := &j.Verdicts[i]
		v.Deadline = j.detector.Deadline(j.state, v.level)
		v.mistaken = v.mistaken && v.Deadline <= h.Arrival
	}
	j.sequence, j.arrival = h.Sequence, h.Arrival
	return true
}

// silence judges the silence between two arrivals.
func (v *Verdict) silence(from, to clock.Instant) {
	since := max(v.Deadline, from) // a deadline that had passed by then counts from then on
	if to <= since {
		return
	}
	v.Mistaken += to.Sub(since)
	if !v.mistaken {
		v.Mistakes++
		v.mistaken = true
	}
}
