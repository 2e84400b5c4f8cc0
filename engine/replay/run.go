package replay

import (
	"errors"
	"fmt"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/recording"
)

// Result has the quality of a detector over a trace. The measures are those of Chen, Toueg and
// Aguilera, "On the Quality of Service of Failure Detectors", IEEE Transactions on Computers 51(5),
// 2002.
type Result struct {
	// DetectionMean and DetectionP99 are the mean and the 99th percentile of the detection time
	// T_D, if the sender crashed right after a heartbeat: from its send to the suspicion. The
	// difference of the clocks is taken to be the least delay, so T_D does not include that delay.
	// If the clocks drift, the difference is a line through the least delays (see Skew).
	DetectionMean, DetectionP99 time.Duration
	Mistakes                    int           // suspicions after which a heartbeat arrived
	MistakeMean                 time.Duration // T_M, the mean duration of a mistake
	Observed                    time.Duration // time without the warm-up; above 0
	PerHour                     float64       // λ_M, the mistake rate
	Accuracy                    float64       // P_A, the share of Observed without a mistake
	Heartbeats                  int           // judged, after the warm-up
	// Stale is the number of heartbeats that were ignored, because their sequence is not above all
	// before them. A few were reordered or duplicated on the network. Many mean that the sender
	// restarted its sequence, or that the receiver's clock was set back.
	Stale int
	// Skew is the rate at which the receiver's clock gains on the sender's: 1e-6 is 1 ppm. The
	// detection times are corrected for it. 0 means that no skew could be told from noise.
	Skew float64
	// Wander is the range of the least delays in twenty parts of the trace, after the correction
	// for Skew. The detection times are wrong by up to that much. A range near the period or above
	// means that a route changed, or that a clock was set or changed its rate. 0 if there are fewer
	// than 100 heartbeats.
	Wander time.Duration
}

// errEmpty means that there are too few heartbeats to judge.
var errEmpty = errors.New("replay: fewer than two heartbeats")

// errPeriod means that the period does not follow from the recording.
var errPeriod = errors.New("replay: the recording does not show its period; give the period")

// ErrUnjudged means that no heartbeat, or no time, was left to judge. The error that wraps it has
// the reason.
var ErrUnjudged = errors.New("replay: nothing to judge")

// Options configure a replay.
type Options struct {
	// ReadTimes takes the instants at which the program read the heartbeats as their arrivals, in
	// place of the stamps.
	ReadTimes bool
	// Period is the sender's, from 1 µs to 1 hour. 0 means the period that each heartbeat
	// announced, or recording.Stream.Period if the recording has none.
	Period time.Duration
	// Warmup is the number of heartbeats, after the first, from which the detector only learns. At
	// least 0.
	Warmup int
}

// validate returns all faults of o, joined.
func (o *Options) validate() error {
	var faults []error
	bad := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("replay: Options."+format, args...))
	}
	if o.Period != 0 && (o.Period < time.Microsecond || o.Period > time.Hour) {
		bad("Period %v is not within 1µs to 1h", o.Period)
	}
	if o.Warmup < 0 {
		bad("Warmup %d is negative", o.Warmup)
	}
	return errors.Join(faults...)
}

// Run judges the received heartbeats of one incarnation of one peer, in any order, by d. The error is
// the faults of o, or says that there are fewer than two heartbeats or no period; if too few are left
// to judge after the warm-up, it wraps ErrUnjudged.
func Run(t []recording.Beat, d detect.Detector, o Options) (*Result, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if len(t) < 2 {
		return nil, errEmpty
	}
	period := o.Period
	if period == 0 {
		if period = (&recording.Stream{Beats: t}).Period(); period == 0 {
			return nil, errPeriod
		}
	}
	t = sorted(t, o.ReadTimes)
	suspect, _ := d.Levels()
	r := run{judge: detect.NewJudge(d, suspect), o: o, period: period, base: arrival(&t[0], o.ReadTimes)}
	r.detection = make([]int64, 0, max(len(t)-o.Warmup, 0))
	r.clocks, r.out.Wander = compareClocks(t, o.ReadTimes, period)
	r.out.Skew = r.clocks.skew
	for i := range t {
		r.beat(&t[i])
	}
	if err := r.unjudged(len(t)); err != nil {
		return nil, err
	}
	return r.result(), nil
}

// run is a replay under way.
type run struct {
	judge     *detect.Judge
	o         Options
	period    time.Duration
	heard     detect.Heartbeat // scratch
	base      int64            // the first arrival, ns
	clocks    clocks
	taken     int     // heartbeats that are not stale
	detection []int64 // detection times, ns
	out       Result
}

// instant converts an arrival in ns: the first one becomes an hour, since detectors want instants
// above 0.
func (r *run) instant(ns int64) clock.Instant { return clock.Instant(ns - r.base + int64(time.Hour)) }

// beat takes one heartbeat.
func (r *run) beat(b *recording.Beat) {
	r.heard = detect.Heartbeat{
		Sequence: b.Sequence + 1, Send: clock.Instant(b.Send), Late: time.Duration(b.Late),
		Arrival: r.instant(arrival(b, r.o.ReadTimes)), Period: r.period,
	}
	if r.o.Period == 0 && b.Period > 0 {
		r.heard.Period = time.Duration(b.Period)
	}
	judged := r.taken > r.o.Warmup
	if !r.judge.Take(&r.heard, judged) {
		r.out.Stale++
		return
	}
	r.taken++
	if deadline := r.judge.Verdicts[0].Deadline; judged && deadline != clock.Never {
		r.detection = append(r.detection, int64(deadline-r.instant(b.Send+r.clocks.at(b.Send))))
	}
}

// unjudged returns an ErrUnjudged with its reason if none of n heartbeats was judged, else nil.
func (r *run) unjudged(n int) error {
	judged, stale := r.judge.Heartbeats, r.out.Stale
	switch {
	case judged == 0 && stale > 0:
		return fmt.Errorf("%w: none of %d heartbeats is left after the warm-up, %d have a sequence not above all before them", ErrUnjudged, n, stale)
	case judged == 0:
		return fmt.Errorf("%w: none of %d heartbeats is left after the warm-up", ErrUnjudged, n)
	case r.judge.Observed == 0:
		return fmt.Errorf("%w: all %d heartbeats after the warm-up arrived at the instant at which it ended", ErrUnjudged, judged)
	}
	return nil
}

// result computes the measures.
func (r *run) result() *Result {
	out, verdict := &r.out, &r.judge.Verdicts[0]
	out.Heartbeats, out.Observed, out.Mistakes = r.judge.Heartbeats, r.judge.Observed, verdict.Mistakes
	if out.Mistakes > 0 {
		out.MistakeMean = verdict.Mistaken / time.Duration(out.Mistakes)
	}
	out.PerHour = float64(out.Mistakes) / out.Observed.Hours()
	out.Accuracy = 1 - float64(verdict.Mistaken)/float64(out.Observed)
	if n := len(r.detection); n > 0 {
		var sum float64
		for _, d := range r.detection {
			sum += float64(d)
		}
		out.DetectionMean = time.Duration(sum / float64(n))
		out.DetectionP99 = time.Duration(nth(r.detection, min(n*99/100, n-1)))
	}
	return out
}

// nth returns the value at index k of the sorted values. It reorders values (Hoare's quickselect).
func nth(values []int64, k int) int64 {
	low, high := 0, len(values)-1
	for low < high {
		middle := values[low+(high-low)/2]
		i, j := low, high
		for i <= j {
			for values[i] < middle {
				i++
			}
			for values[j] > middle {
				j--
			}
			if i <= j {
				values[i], values[j] = values[j], values[i]
				i++
				j--
			}
		}
		switch {
		case k <= j:
			high = j
		case k >= i:
			low = i
		default:
			return values[k]
		}
	}
	return values[k]
}
