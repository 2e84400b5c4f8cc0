package qos

import (
	"math"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
)

// Failures lets a detector watch a trace and keeps when it would have called the peer
// failed: after crashes, and while the peer lived. A failed peer that is heard again is
// alive.
type Failures struct {
	d             detect.Detector
	period        time.Duration
	warm          int64 // ns: judged from then on
	state         []uint64
	suspect, fail float64
	suspectAt     clock.Instant
	failAt        clock.Instant
	began, last   clock.Instant // arrivals: of the first heartbeat judged, and the newest
	newest        uint64
	heartbeats    uint64
	out           FailureFigures
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
	j := &Failures{d: d, period: period, warm: Start + int64(warmup), state: make([]uint64, d.Words())}
	j.suspect, j.fail = d.Levels()
	j.suspectAt, j.failAt = clock.Never, clock.Never
	return j
}

// Beat takes a heartbeat.
func (j *Failures) Beat(b *Beat) {
	if b.Sequence <= j.newest {
		return
	}
	arrival := clock.Instant(b.NIC)
	judged := j.began != 0
	if judged && arrival > j.suspectAt {
		j.out.Mistakes++
	}
	if judged && arrival > j.failAt {
		j.out.Wrong++
		j.out.Mistaken += arrival.Sub(j.failAt)
	}
	j.newest, j.last = b.Sequence, arrival
	detect.Take(j.d, j.state, &detect.Heartbeat{
		Sequence: b.Sequence, Send: clock.Instant(b.Send), Late: time.Duration(b.Late), Arrival: arrival, Period: j.period,
	})
	j.suspectAt, j.failAt = j.d.Deadline(j.state, j.suspect), j.d.Deadline(j.state, j.fail)
	if !judged && b.At >= j.warm {
		j.began = arrival
	}
	if j.heartbeats++; judged && j.heartbeats%crashEvery == 0 {
		j.out.crash(time.Duration(int64(j.failAt) - b.At))
	}
}

// crash counts a crash that is called a failure so long after the last heartbeat was sent.
func (f *FailureFigures) crash(d time.Duration) {
	i := int(math.Log(max(float64(d)/float64(time.Microsecond), 1)) / failureStep)
	f.times[min(i, failureBuckets-1)]++
}

// Figures returns what was seen so far.
func (j *Failures) Figures() FailureFigures {
	f := j.out
	if j.began != 0 {
		f.Observed = j.last.Sub(j.began)
	}
	return f
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
