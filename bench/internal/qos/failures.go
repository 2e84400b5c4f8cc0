package qos

import (
	"math"
	"time"

	"systole/engine/detect"
)

// Failures measures how soon a detector calls a sender failed after a crash, and how often it calls a
// sender failed that lives. A failed peer that is heard again is alive. One goroutine at a time uses
// a Failures.
type Failures struct {
	listener
	heartbeats uint64
	times      [failureBuckets]int64 // crashes by time to failure
}

// FailureFigures are what Failures has measured. The zero value is of no heartbeats.
type FailureFigures struct {
	Observed time.Duration // time judged
	Mistakes int64         // suspicions of a sender that lived
	Wrong    int64         // failures of a sender that lived
	Mistaken time.Duration // how long these failures lasted in all
	times    [failureBuckets]int64
}

const (
	crashEvery = 16 // heartbeats for one crash that is measured
	// Times to failure are kept to one per cent, from a microsecond to seven hours.
	failureStep    = 0.01
	failureBuckets = 2400
)

// NewFailures returns a Failures for heartbeats with this period, which only learns during warmup.
func NewFailures(d detect.Detector, period, warmup time.Duration) *Failures {
	suspect, fail := d.Levels()
	return &Failures{listener: newListener(detect.NewJudge(d, suspect, fail), NIC, period, warmup)}
}

// Beat takes a heartbeat.
func (j *Failures) Beat(b *Beat) {
	judged := j.beat(b)
	if j.heartbeats++; judged && j.heartbeats%crashEvery == 0 {
		j.crash(time.Duration(int64(j.judge.Verdicts[1].Deadline) - b.At))
	}
}

// crash counts a crash that is called a failure d after the send of the last heartbeat.
func (j *Failures) crash(d time.Duration) {
	i := int(math.Log(max(float64(d)/float64(time.Microsecond), 1)) / failureStep)
	j.times[min(i, failureBuckets-1)]++
}

// Figures returns the figures so far.
func (j *Failures) Figures() FailureFigures {
	suspect, fail := &j.judge.Verdicts[0], &j.judge.Verdicts[1]
	return FailureFigures{
		Observed: j.judge.Observed, Mistakes: int64(suspect.Mistakes),
		Wrong: int64(fail.Mistakes), Mistaken: fail.Mistaken, times: j.times,
	}
}

// PerDay returns the rate of wrong failures. It is NaN if no time was judged.
func (f *FailureFigures) PerDay() float64 { return 24 * float64(f.Wrong) / f.Observed.Hours() }

// MistakesPerDay returns the rate of wrong suspicions. It is NaN if no time was judged.
func (f *FailureFigures) MistakesPerDay() float64 {
	return 24 * float64(f.Mistakes) / f.Observed.Hours()
}

// Time returns the time to failure that a share of the crashes does not exceed, from the send of the
// last heartbeat before a crash. It is exact to one per cent, and 0 if there was no crash.
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
