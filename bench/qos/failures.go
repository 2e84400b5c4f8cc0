package qos

import (
	"math"
	"time"

	"systole/engine/detect"
	"systole/engine/replay"
)

// Failures measures how soon a detector calls a sender failed that crashed, and how often one that
// lives. A failed peer that is heard again is alive.
type Failures struct {
	listener
	heartbeats uint64
	times      [failureBuckets]int64
}

// FailureFigures are how soon crashes are called failures, and how often what lives is.
// The zero value is of no time.
type FailureFigures struct {
	Observed time.Duration
	// Mistakes are suspicions of a peer that lived, Wrong failures of it.
	Mistakes, Wrong int64
	// Mistaken is the time that the peer was called failed and lived.
	Mistaken time.Duration
	times    [failureBuckets]int64
}

const (
	// crashEvery is after how many heartbeats a crash is looked at.
	crashEvery = 16
	// Times to failure are kept to a hundredth, from a microsecond to hours.
	failureStep    = 0.01
	failureBuckets = 2400
)

// NewFailures returns a judge of heartbeats with this period that only learns during warmup.
func NewFailures(d detect.Detector, period, warmup time.Duration) *Failures {
	suspect, fail := d.Levels()
	return &Failures{listener: newListener(replay.NewJudge(d, suspect, fail), replay.NIC, period, warmup)}
}

// Beat takes a heartbeat.
func (j *Failures) Beat(b *Beat) {
	judged := j.beat(b)
	if j.heartbeats++; judged && j.heartbeats%crashEvery == 0 {
		j.crash(time.Duration(int64(j.judge.Verdicts[1].Deadline) - b.At))
	}
}

// crash counts a crash that is called a failure so long after the last heartbeat was sent.
func (j *Failures) crash(d time.Duration) {
	i := int(math.Log(max(float64(d)/float64(time.Microsecond), 1)) / failureStep)
	j.times[min(i, failureBuckets-1)]++
}

// Figures returns what was seen so far.
func (j *Failures) Figures() FailureFigures {
	suspect, fail := &j.judge.Verdicts[0], &j.judge.Verdicts[1]
	return FailureFigures{
		Observed: j.judge.Observed, Mistakes: int64(suspect.Mistakes),
		Wrong: int64(fail.Mistakes), Mistaken: fail.Mistaken, times: j.times,
	}
}

// PerDay is the rate of wrong failures.
func (f *FailureFigures) PerDay() float64 { return 24 * float64(f.Wrong) / f.Observed.Hours() }

// MistakesPerDay is the rate of wrong suspicions.
func (f *FailureFigures) MistakesPerDay() float64 {
	return 24 * float64(f.Mistakes) / f.Observed.Hours()
}

// Time is the time to failure, from the send of the last heartbeat before a crash, that a
// share of crashes does not exceed; 0 if none was looked at.
func (f *FailureFigures) Time(share float64) time.Duration {
	all := int64(0)
	for _, n := range f.times {
		all += n
	}
	left := int64(math.Ceil(share * float64(all)))
	for i, n := range f.times {
		if left -= n; n > 0 && left <= 0 {
			return time.Duration(math.Exp(failureStep*(float64(i)+0.5)) * float64(time.Microsecond))
		}
	}
	return 0
}
