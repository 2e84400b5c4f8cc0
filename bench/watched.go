package main

import (
	"cmp"
	"slices"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/replay"
)

// Bare monitors, without an engine: detectors over what arrives, and nothing that asks
// again, excuses or explains. What the engine does beyond them is measured against them.

// watched is one peer as one monitor judges it: by several detectors over the same arrivals.
type watched struct {
	life     uint64        // of the peer
	sequence uint64        // of the newest heartbeat; 0: nothing was heard
	sent     clock.Instant // when the peer sent it
	judges   []*replay.Judge
}

// newWatched returns a peer of which nothing was heard, in a life of its own.
func newWatched(detectors []detect.Detector, life uint64) *watched {
	w := &watched{life: life}
	for _, d := range detectors {
		suspect, _ := d.Levels()
		w.judges = append(w.judges, replay.NewJudge(d, suspect))
	}
	return w
}

// mistake is a suspicion of a peer that lived.
type mistake struct {
	at   clock.Instant
	lost bool // the heartbeat that ended it was not the next one after that before it
}

// take gives a heartbeat that the peer sent at the instant sent to all detectors. It calls
// mistaken for each that had suspected the peer.
func (w *watched) take(h *detect.Heartbeat, sent clock.Instant, mistaken func(i int, m mistake)) {
	if h.Sequence <= w.sequence {
		return
	}
	lost := h.Sequence != w.sequence+1
	w.sequence, w.sent = h.Sequence, sent
	for i, j := range w.judges {
		suspect := &j.Verdicts[0]
		before, at := suspect.Mistakes, suspect.Deadline
		j.Take(h, true)
		if suspect.Mistakes > before {
			mistaken(i, mistake{at, lost})
		}
	}
}

// found notes how long after its crash, and after its last heartbeat, the peer was suspected:
// at the deadlines themselves, as by a monitor that is never late. A deadline before the crash
// was a mistake and found no crash.
func (w *watched) found(crash clock.Instant, f *findings) {
	for i, j := range w.judges {
		at := j.Verdicts[0].Deadline
		if at < crash {
			continue
		}
		f.Crash[i] = append(f.Crash[i], at.Sub(crash))
		f.Silence[i] = append(f.Silence[i], at.Sub(w.sent))
	}
}

// findings are detection times, of one detector each: from the crash, and from the send of
// the last heartbeat that came.
type findings struct{ Crash, Silence [][]time.Duration }

// newFindings returns none yet, of n detectors.
func newFindings(n int) findings {
	return findings{make([][]time.Duration, n), make([][]time.Duration, n)}
}

// add adds what g has.
func (f *findings) add(g findings) {
	for i := range g.Crash {
		f.Crash[i] = append(f.Crash[i], g.Crash[i]...)
		f.Silence[i] = append(f.Silence[i], g.Silence[i]...)
	}
}

// tally is what an end counted in a while without crashes.
type tally struct {
	Mistakes        []uint64 // per detector: suspicions of peers that lived
	OfLoss          []uint64 // of these, those that no stall of the machine explains: see ofLoss
	Sent, Solicited uint64
	Calls           uint64        // system calls of engines; 0: not counted
	Watched         time.Duration // of all peers together
}

// add adds what u counted.
func (t *tally) add(u *tally) {
	if t.Mistakes == nil {
		t.Mistakes, t.OfLoss = make([]uint64, len(u.Mistakes)), make([]uint64, len(u.OfLoss))
	}
	for i, n := range u.Mistakes {
		t.Mistakes[i] += n
	}
	for i, n := range u.OfLoss {
		t.OfLoss[i] += n
	}
	t.Sent, t.Solicited, t.Calls, t.Watched = t.Sent+u.Sent, t.Solicited+u.Solicited, t.Calls+u.Calls, t.Watched+u.Watched
}

// perHour is n per hour of one peer watched.
func (t *tally) perHour(n uint64) float64 { return float64(n) / t.Watched.Hours() }

// ofLoss counts the mistakes, of those that an end with so many peers made, before which a
// heartbeat was lost, less those made together with many others: a machine that stands still
// makes them, while datagrams are lost each by itself.
func ofLoss(made []mistake, peers int) (n uint64) {
	const together = 20 * time.Millisecond
	most := max(peers/20, 2)
	made = slices.Clone(made)
	slices.SortFunc(made, func(a, b mistake) int { return cmp.Compare(a.at, b.at) })
	for from := 0; from < len(made); {
		to := from + 1
		for to < len(made) && made[to].at.Sub(made[to-1].at) < together/time.Duration(most) {
			to++
		}
		for _, m := range made[from:to] {
			if m.lost && to-from <= most {
				n++
			}
		}
		from = to
	}
	return n
}

// milliseconds returns the mean and the 0.99-quantile.
func milliseconds(d []time.Duration) (mean, p99 float64) {
	if len(d) == 0 {
		return none, none
	}
	var sum time.Duration
	for _, x := range d {
		sum += x
	}
	return sum.Seconds() * 1000 / float64(len(d)), quantile(d, 0.99) / 1000
}
