package qos

import (
	"context"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/replay"
)

// Judge lets a detector watch a trace and keeps what it would have said.
type Judge struct {
	d        detect.Detector
	stamps   replay.Stamps
	period   time.Duration
	warm     int64 // ns: judged from then on
	state    []uint64
	suspect  float64
	deadline clock.Instant
	began    clock.Instant // arrival of the first heartbeat judged
	last     clock.Instant
	newest   uint64
	out      Figures
	td       float64 // sum, ns
}

// Figures are the measures of Chen, Toueg and Aguilera, and of what they are sums. The zero
// value is of no time.
type Figures struct {
	Heartbeats int64
	Observed   time.Duration
	Mistakes   int64
	Mistaken   time.Duration
	detection  float64 // sum over heartbeats, ns
}

// NewJudge returns a judge of heartbeats with this period that only learns during warmup.
func NewJudge(d detect.Detector, stamps replay.Stamps, period, warmup time.Duration) *Judge {
	j := &Judge{d: d, stamps: stamps, period: period, warm: Start + int64(warmup), state: make([]uint64, d.Words())}
	j.suspect, _ = d.Levels()
	j.deadline = clock.Never
	return j
}

// Beat takes a heartbeat.
func (j *Judge) Beat(b *Beat) {
	if b.Sequence <= j.newest {
		return
	}
	arrival := clock.Instant(b.NIC)
	if j.stamps == replay.App {
		arrival = clock.Instant(b.App)
	}
	judged := j.began != 0
	if judged && arrival > j.deadline {
		j.out.Mistakes++
		j.out.Mistaken += arrival.Sub(j.deadline)
	}
	j.newest, j.last = b.Sequence, arrival
	detect.Take(j.d, j.state, &detect.Heartbeat{
		Sequence: b.Sequence, Send: clock.Instant(b.Send), Late: time.Duration(b.Late), Arrival: arrival, Period: j.period,
	})
	j.deadline = j.d.Deadline(j.state, j.suspect)
	if judged {
		j.out.Heartbeats++
		j.td += float64(int64(j.deadline) - b.At)
	} else if b.At >= j.warm {
		j.began = arrival
	}
}

// Figures returns what was seen so far.
func (j *Judge) Figures() Figures {
	f := j.out
	f.detection = j.td
	f.Observed = j.last.Sub(j.began)
	if j.began == 0 {
		f.Observed = 0
	}
	return f
}

// Add adds what was seen of another link.
func (f *Figures) Add(g Figures) {
	f.Heartbeats += g.Heartbeats
	f.Observed += g.Observed
	f.Mistakes += g.Mistakes
	f.Mistaken += g.Mistaken
	f.detection += g.detection
}

// PerHour is the mistake rate λ_M.
func (f *Figures) PerHour() float64 { return float64(f.Mistakes) / f.Observed.Hours() }

// Detection is the mean of T_D, had the sender crashed right after a heartbeat.
func (f *Figures) Detection() time.Duration {
	return time.Duration(f.detection / float64(max(f.Heartbeats, 1)))
}

// MistakeMean is T_M, how long a mistake lasts.
func (f *Figures) MistakeMean() time.Duration { return f.Mistaken / time.Duration(max(f.Mistakes, 1)) }

// Accuracy is P_A, the share of time without a mistake.
func (f *Figures) Accuracy() float64 { return 1 - float64(f.Mistaken)/float64(max(f.Observed, 1)) }

// Watcher is what watches the heartbeats of a source.
type Watcher interface{ Beat(b *Beat) }

// Watch lets judges watch the same heartbeats of a source until the instant that many
// after Start, or until ctx ends: then it returns why.
func Watch[W Watcher](ctx context.Context, s *Source, length time.Duration, judges ...W) error {
	const round = 1 << 16
	end := Start + int64(length)
	for b := (Beat{}); b.At < end; {
		for range round {
			if s.Next(&b); b.At >= end {
				break
			}
			for _, j := range judges {
				j.Beat(&b)
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}
