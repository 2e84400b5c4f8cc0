package qos

import (
	"context"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/replay"
)

// listener gives the heartbeats of a source to a replay.Judge.
type listener struct {
	judge  *replay.Judge
	stamps replay.Stamps
	period time.Duration
	warm   int64            // ns: the first heartbeat sent from then on is the last that only teaches
	warmed bool             // that heartbeat was taken
	heard  detect.Heartbeat // scratch
}

// newListener returns a listener to heartbeats with this period that only learns during warmup.
func newListener(judge *replay.Judge, stamps replay.Stamps, period, warmup time.Duration) listener {
	return listener{judge: judge, stamps: stamps, period: period, warm: Start + int64(warmup)}
}

// beat takes a heartbeat and reports whether it was judged.
func (l *listener) beat(b *Beat) bool {
	l.heard = detect.Heartbeat{
		Sequence: b.Sequence, Send: clock.Instant(b.Send), Late: time.Duration(b.Late),
		Arrival: clock.Instant(l.stamps.Arrival(&b.Beat)), Period: l.period,
	}
	judged := l.warmed
	if !l.judge.Take(&l.heard, judged) {
		return false
	}
	l.warmed = judged || b.At >= l.warm
	return judged
}

// Judge measures how soon and how often wrongly a detector suspects the sender of a source.
type Judge struct {
	listener
	detection float64 // sum over heartbeats, ns
}

// NewJudge returns a judge of heartbeats with this period that only learns during warmup.
func NewJudge(d detect.Detector, stamps replay.Stamps, period, warmup time.Duration) *Judge {
	suspect, _ := d.Levels()
	return &Judge{listener: newListener(replay.NewJudge(d, suspect), stamps, period, warmup)}
}

// Beat takes a heartbeat.
func (j *Judge) Beat(b *Beat) {
	if j.beat(b) {
		j.detection += float64(int64(j.judge.Verdicts[0].Deadline) - b.At)
	}
}

// Figures returns what was seen so far.
func (j *Judge) Figures() Figures {
	suspect := &j.judge.Verdicts[0]
	return Figures{
		Heartbeats: int64(j.judge.Heartbeats), Observed: j.judge.Observed,
		Mistakes: int64(suspect.Mistakes), Mistaken: suspect.Mistaken, detection: j.detection,
	}
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
