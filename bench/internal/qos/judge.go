package qos

import (
	"context"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
)

// listener passes the heartbeats of a source to a detect.Judge.
type listener struct {
	judge  *detect.Judge
	stamps Stamps
	period time.Duration
	warm   int64            // instant, ns: the first heartbeat sent from then on is the last that is not judged
	warmed bool             // that heartbeat was taken
	taken  detect.Heartbeat // scratch
}

// newListener returns a listener to heartbeats with this period. Its judge only learns during warmup.
func newListener(judge *detect.Judge, stamps Stamps, period, warmup time.Duration) listener {
	return listener{judge: judge, stamps: stamps, period: period, warm: Start + int64(warmup)}
}

// beat takes a heartbeat and reports whether the silence before it was judged.
func (l *listener) beat(b *Beat) bool {
	l.taken = detect.Heartbeat{
		Sequence: b.Sequence, Send: clock.Instant(b.Send), Late: time.Duration(b.Late),
		Arrival: clock.Instant(l.stamps.arrival(b)), Period: l.period,
	}
	judged := l.warmed
	if !l.judge.Take(&l.taken, judged) {
		return false
	}
	l.warmed = b.At >= l.warm
	return judged
}

// Judge measures how soon a detector suspects the sender of a source after a crash, and how often it
// suspects a sender that lives. One goroutine at a time uses a Judge.
type Judge struct {
	listener
	detection float64 // sum of detection times over the judged heartbeats, ns
}

// NewJudge returns a Judge of heartbeats with this period, which only learns during warmup.
func NewJudge(d detect.Detector, stamps Stamps, period, warmup time.Duration) *Judge {
	suspect, _ := d.Levels()
	return &Judge{listener: newListener(detect.NewJudge(d, suspect), stamps, period, warmup)}
}

// Beat takes a heartbeat.
func (j *Judge) Beat(b *Beat) {
	if j.beat(b) {
		j.detection += float64(int64(j.judge.Verdicts[0].Deadline) - b.At)
	}
}

// Figures returns the figures so far.
func (j *Judge) Figures() Figures {
	suspect := &j.judge.Verdicts[0]
	return Figures{
		Heartbeats: int64(j.judge.Heartbeats), Observed: j.judge.Observed,
		Mistakes: int64(suspect.Mistakes), Mistaken: suspect.Mistaken, detection: j.detection,
	}
}

// Figures are the sums that give the measures of Chen, Toueg and Aguilera. The zero value is of no
// heartbeats.
type Figures struct {
	Heartbeats int64         // judged
	Observed   time.Duration // time judged
	Mistakes   int64         // suspicions of a sender that lived
	Mistaken   time.Duration // how long they lasted in all
	detection  float64       // sum of detection times over the judged heartbeats, ns
}

// Add adds the figures of another link.
func (f *Figures) Add(g Figures) {
	f.Heartbeats += g.Heartbeats
	f.Observed += g.Observed
	f.Mistakes += g.Mistakes
	f.Mistaken += g.Mistaken
	f.detection += g.detection
}

// PerHour returns the mistake rate λ_M. It is NaN if no time was judged.
func (f *Figures) PerHour() float64 { return float64(f.Mistakes) / f.Observed.Hours() }

// Detection returns the mean of T_D for a sender that crashes right after a heartbeat, from the send of
// that heartbeat.
func (f *Figures) Detection() time.Duration {
	return time.Duration(f.detection / float64(max(f.Heartbeats, 1)))
}

// MistakeMean returns the mean of T_M, how long a mistake lasts. It is 0 without mistakes.
func (f *Figures) MistakeMean() time.Duration { return f.Mistaken / time.Duration(max(f.Mistakes, 1)) }

// Accuracy returns P_A, the share of time without a mistake.
func (f *Figures) Accuracy() float64 { return 1 - float64(f.Mistaken)/float64(max(f.Observed, 1)) }

// Watcher takes the heartbeats of a source: a Judge or Failures.
type Watcher interface{ Beat(b *Beat) }

// Watch gives all judges the heartbeats that a source sends in the time length after Start. If ctx ends
// before, Watch returns its error.
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
