package main

import (
	"cmp"
	"slices"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/detect/published"
)

// Bare monitors are detectors alone, without an engine: nothing solicits, excuses or explains a
// silence. The benchmarks solicit and phases compare them with engines and with each other.

// monitor judges one peer by several detectors on the same arrivals.
type monitor struct {
	incarnation uint64        // of the peer
	sequence    uint64        // of the newest heartbeat; 0: none arrived
	sent        clock.Instant // when the peer sent it
	judges      []*detect.Judge
}

// newMonitor returns a monitor of an incarnation that was not heard yet.
func newMonitor(detectors []detect.Detector, incarnation uint64) *monitor {
	m := &monitor{incarnation: incarnation}
	for _, d := range detectors {
		suspect, _ := d.Levels()
		m.judges = append(m.judges, detect.NewJudge(d, suspect))
	}
	return m
}

// mistake is a suspicion of a peer that lived.
type mistake struct {
	at   clock.Instant
	lost bool // a heartbeat was lost just before the one that ended the suspicion
}

// take takes a heartbeat that the peer sent at the instant sent. It calls mistaken for each detector
// that had suspected the peer.
func (m *monitor) take(h *detect.Heartbeat, sent clock.Instant, mistaken func(detector int, s mistake)) {
	if h.Sequence <= m.sequence {
		return
	}
	lost := h.Sequence != m.sequence+1
	m.sequence, m.sent = h.Sequence, sent
	for i, j := range m.judges {
		suspect := &j.Verdicts[0]
		before, at := suspect.Mistakes, suspect.Deadline
		j.Take(h, true)
		if suspect.Mistakes > before {
			mistaken(i, mistake{at, lost})
		}
	}
}

// detect adds the detection times of a crash to d. They end at the deadlines, as for a monitor that is
// never late. A deadline before the crash is a mistake, and did not detect the crash.
func (m *monitor) detect(crash clock.Instant, d *detections) {
	for i, j := range m.judges {
		if at := j.Verdicts[0].Deadline; at >= crash {
			d.note(i, at.Sub(crash), at.Sub(m.sent))
		}
	}
}

// detections are detection times by detector: from the crash, and from the send of the last
// heartbeat that arrived.
type detections struct{ Crash, Silence [][]time.Duration }

// newDetections returns no detection times, of n detectors.
func newDetections(n int) detections {
	return detections{make([][]time.Duration, n), make([][]time.Duration, n)}
}

// note adds the times of one crash.
func (d *detections) note(detector int, crash, silence time.Duration) {
	d.Crash[detector] = append(d.Crash[detector], crash)
	d.Silence[detector] = append(d.Silence[detector], silence)
}

// add adds the times of other crashes, of the same detectors. The zero value has none.
func (d *detections) add(other detections) {
	if d.Crash == nil {
		*d = newDetections(len(other.Crash))
	}
	for i := range other.Crash {
		d.Crash[i] = append(d.Crash[i], other.Crash[i]...)
		d.Silence[i] = append(d.Silence[i], other.Silence[i]...)
	}
}

// tally is what monitors or engines counted while all peers lived.
type tally struct {
	Mistakes        []uint64 // by detector
	OfLoss          []uint64 // mistakes that are not due to stalls of the machine: see ofLoss
	Sent, Solicited uint64
	Calls           uint64        // system calls of engines; 0: not counted
	Watched         time.Duration // sum over all peers
}

// add adds another tally of the same detectors. The zero value has counted nothing.
func (t *tally) add(other *tally) {
	if t.Mistakes == nil {
		t.Mistakes, t.OfLoss = make([]uint64, len(other.Mistakes)), make([]uint64, len(other.OfLoss))
	}
	for i := range other.Mistakes {
		t.Mistakes[i] += other.Mistakes[i]
		t.OfLoss[i] += other.OfLoss[i]
	}
	t.Sent += other.Sent
	t.Solicited += other.Solicited
	t.Calls += other.Calls
	t.Watched += other.Watched
}

// perHour returns n per hour that one peer was watched.
func (t *tally) perHour(n uint64) float64 { return float64(n) / t.Watched.Hours() }

// ofLoss counts the mistakes after a lost heartbeat, without those about many of the watched peers
// at about the same time: a machine that stalls makes such mistakes, while datagrams are lost
// independently.
func ofLoss(mistakes []mistake, peers int) (n uint64) {
	const together = 20 * time.Millisecond
	most := max(peers/20, 2)
	gap := together / time.Duration(most) // within a burst
	mistakes = slices.Clone(mistakes)
	slices.SortFunc(mistakes, func(a, b mistake) int { return cmp.Compare(a.at, b.at) })
	for len(mistakes) > 0 {
		burst := 1
		for burst < len(mistakes) && mistakes[burst].at.Sub(mistakes[burst-1].at) < gap {
			burst++
		}
		if burst <= most {
			n += countLost(mistakes[:burst])
		}
		mistakes = mistakes[burst:]
	}
	return n
}

// countLost counts the mistakes after a lost heartbeat.
func countLost(mistakes []mistake) (n uint64) {
	for _, m := range mistakes {
		if m.lost {
			n++
		}
	}
	return n
}

// detectorSets are the detectors of bare monitors, by name and period.
var detectorSets = map[string]func(period time.Duration) []detect.Detector{
	"solicit": func(period time.Duration) []detect.Detector {
		return []detect.Detector{published.Fixed(4, 0), published.Fixed(2, 0), published.Chen(period, 0, 0)}
	},
	"phases": func(time.Duration) []detect.Detector {
		return []detect.Detector{published.Fixed(3, 0), published.Chen(0, 0, 0)}
	},
}
