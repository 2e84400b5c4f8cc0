package main

import (
	"cmp"
	"slices"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
)

// Bare monitors, without an engine: detectors over what arrives, and nothing that asks
// again, excuses or explains. What the engine does beyond them is measured against them.

// watched is one peer as one monitor judges it: by several detectors over the same arrivals.
type watched struct {
	life     uint64        // of the peer
	sequence uint64        // of the newest heartbeat
	sent     clock.Instant // when the peer sent it
	opinions []opinion
}

// opinion is what one detector makes of it.
type opinion struct {
	state     []uint64
	suspectAt clock.Instant // 0: nothing was heard
}

// newWatched returns a peer of which nothing was heard.
func newWatched(detectors []detect.Detector) *watched {
	w := &watched{opinions: make([]opinion, len(detectors))}
	for i, d := range detectors {
		w.opinions[i].state = make([]uint64, d.Words())
	}
	return w
}

// reset forgets everything.
func (w *watched) reset(detectors []detect.Detector, life uint64) {
	w.life, w.sequence, w.sent = life, 0, 0
	for i, d := range detectors {
		d.Reset(w.opinions[i].state)
		w.opinions[i].suspectAt = 0
	}
}

// mistake is a suspicion of a peer that lived.
type mistake struct {
	at   clock.Instant
	lost bool // the heartbeat that ended it was not the next one after that before it
}

// take gives a heartbeat that the peer sent at the instant sent to all detectors. It calls
// mistaken for each that had suspected the peer.
func (w *watched) take(detectors []detect.Detector, h *detect.Heartbeat, sent clock.Instant, mistaken func(i int, m mistake)) {
	if h.Sequence <= w.sequence {
		return
	}
	lost := h.Sequence != w.sequence+1
	w.sequence, w.sent = h.Sequence, sent
	for i, d := range detectors {
		o := &w.opinions[i]
		if o.suspectAt != 0 && h.Arrival > o.suspectAt {
			mistaken(i, mistake{o.suspectAt, lost})
		}
		detect.Take(d, o.state, h)
		suspect, _ := d.Levels()
		o.suspectAt = d.Deadline(o.state, suspect)
	}
}

// found notes how long after its crash, and after its last heartbeat, the peer was suspected:
// at the deadlines themselves, as by a monitor that is never late. Who had suspected it
// before, by mistake, has not found its crash.
func (w *watched) found(crash clock.Instant, f *findings) {
	for i, o := range w.opinions {
		if o.suspectAt < crash {
			continue
		}
		f.Crash[i] = append(f.Crash[i], o.suspectAt.Sub(crash))
		f.Silence[i] = append(f.Silence[i], o.suspectAt.Sub(w.sent))
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
