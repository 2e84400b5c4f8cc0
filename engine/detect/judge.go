package detect

import (
	"time"

	"systole/engine/clock"
)

// Judge runs a detector over the heartbeats of one incarnation of a peer, one by one, and counts
// mistakes. Package systole/engine/replay judges whole recordings. Only one goroutine at a time uses a
// Judge.
type Judge struct {
	// Verdicts are in the order of the levels given to NewJudge.
	Verdicts []Verdict
	// Heartbeats is the number of judged heartbeats: each was compared with the deadline before it.
	Heartbeats int
	// Observed is the time before judged heartbeats.
	Observed time.Duration

	detector Detector
	state    []uint64
	sequence uint64 // of the newest heartbeat; 0: none was taken
	arrival  clock.Instant
}

// Verdict is the judgement at one level of suspicion.
type Verdict struct {
	// Deadline is when silence after the newest heartbeat reaches the level. clock.Never means that
	// it does not; 0 means that there is no heartbeat yet.
	Deadline clock.Instant
	// Mistakes is the number of passed deadlines after which a heartbeat arrived. A heartbeat whose
	// own deadline has passed at its arrival does not end the mistake.
	Mistakes int
	// Mistaken is the duration of all mistakes.
	Mistaken time.Duration

	level    float64
	mistaken bool // a mistake is under way
}

// NewJudge returns a Judge that judges by d at each of the levels.
func NewJudge(d Detector, levels ...float64) *Judge {
	j := &Judge{Verdicts: make([]Verdict, len(levels)), detector: d, state: make([]uint64, d.Words())}
	for i, level := range levels {
		j.Verdicts[i].level = level
	}
	return j
}

// Take takes the heartbeats in the order of arrival. The detector learns from each. If judged is
// set, the silence before the heartbeat counts as well, unless it is the first. Take returns false
// for a stale heartbeat, whose sequence is not above all before it: it changes nothing. Sequences
// begin at 1.
func (j *Judge) Take(h *Heartbeat, judged bool) bool {
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
	Take(j.detector, j.state, h)
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
	since := max(v.Deadline, from) // the deadline may have passed before from
	if to <= since {
		return
	}
	v.Mistaken += to.Sub(since)
	if !v.mistaken {
		v.Mistakes++
		v.mistaken = true
	}
}
