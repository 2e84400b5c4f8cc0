package replay

import (
	"errors"
	"fmt"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
)

// Result is what a detector would have done. The measures are those of Chen, Toueg and
// Aguilera, IEEE Transactions on Computers 51(5), 2002.
type Result struct {
	// DetectionMean and DetectionP99 are T_D, had the sender crashed right after a
	// heartbeat: from its send to the suspicion. The clocks' difference is taken for the
	// least delay seen, so that delay itself is not in it. Where the clocks plainly run apart,
	// so that the least delays of the recording's parts lie on a line, the difference is that
	// line, and they are without skew.
	DetectionMean, DetectionP99 time.Duration
	Mistakes                    int           // suspicions of a peer of which a heartbeat came later
	MistakeMean                 time.Duration // T_M, how long one lasted
	Observed                    time.Duration // time judged, without the warm-up; above 0
	Accuracy                    float64       // P_A, the share of time without a mistake
	Heartbeats                  int           // judged, each by the deadline that those before it set
	// Stale is how many heartbeats have a sequence not above one before them and count for
	// nothing. A few were overtaken or came twice; many are of a sender that restarted, or of
	// a receiver whose clock went back.
	Stale int
	// Skew is what the receiver's clock gained on the sender's, as a share of the time, and
	// what the detection times are without. 0 where none was plain.
	Skew float64
	// Wander is how far the least delays of the recording's twenty parts lie apart, without
	// Skew. It is in the detection times: near the period or above it, and a route changed, a
	// clock was set, or one changed its rate. 0 of fewer than 100 heartbeats.
	Wander time.Duration
}

// PerHour is the mistake rate λ_M.
func (r *Result) PerHour() float64 { return float64(r.Mistakes) / r.Observed.Hours() }

// ErrPeriod says that a recording does not tell its period.
var ErrPeriod = errors.New("replay: the period cannot be read off the recording; give it")

// ErrUnjudged says that no heartbeat, or no time, was left to judge; what wraps it says why.
var ErrUnjudged = errors.New("replay: nothing to judge")

// Options are how a recording is replayed.
type Options struct {
	Stamps Stamps
	// Period of the sender, within 1 µs to 1 h. 0 is what each heartbeat announced or,
	// where the recording does not have it, Trace.Period.
	Period time.Duration
	// Warmup is how many heartbeats only teach, besides the first, before the others are
	// judged. At least 0.
	Warmup int
}

// Validate reports every fault of o at once, joined; nil when Run would accept it.
func (o *Options) Validate() error {
	var faults []error
	bad := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("replay: Options."+format, args...))
	}
	if o.Stamps > App {
		bad("Stamps %d is neither NIC nor App", o.Stamps)
	}
	if o.Period != 0 && (o.Period < time.Microsecond || o.Period > time.Hour) {
		bad("Period %v is not within 1µs to 1h", o.Period)
	}
	if o.Warmup < 0 {
		bad("Warmup %d is negative", o.Warmup)
	}
	return errors.Join(faults...)
}

// Run replays t through d. Heartbeats older than one that came before are stale and count
// for nothing. It returns the faults of o, ErrEmpty, ErrPeriod, or an error that wraps
// ErrUnjudged.
func Run(t Trace, d detect.Detector, o Options) (*Result, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if len(t) < 2 {
		return nil, ErrEmpty
	}
	period := o.Period
	if period == 0 {
		if period = t.Period(); period == 0 {
			return nil, ErrPeriod
		}
	}
	t = t.sorted(o.Stamps)
	suspect, _ := d.Levels()
	r := run{judge: NewJudge(d, suspect), o: o, period: period, base: o.Stamps.Arrival(&t[0])}
	r.detection = make([]int64, 0, max(len(t)-o.Warmup, 0))
	r.clocks, r.out.Wander = clocksOf(t, o.Stamps, period)
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
	judge     *Judge
	o         Options
	period    time.Duration
	heard     detect.Heartbeat // scratch
	base      int64            // the first arrival
	clocks    clocks
	taken     int // heartbeats that are not stale
	detection []int64
	out       Result
}

// instant puts a receiver's nanosecond on the engine's clock, an hour after its start.
func (r *run) instant(ns int64) clock.Instant { return clock.Instant(ns - r.base + int64(time.Hour)) }

// beat takes one heartbeat.
func (r *run) beat(b *Beat) {
	r.heard = detect.Heartbeat{
		Sequence: b.Sequence + 1, Send: clock.Instant(b.Send), Late: time.Duration(b.Late),
		Arrival: r.instant(r.o.Stamps.Arrival(b)), Period: r.period,
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

// unjudged returns why nothing of n heartbeats was judged, or nil.
func (r *run) unjudged(n int) error {
	judged, stale := r.judge.Heartbeats, r.out.Stale
	switch {
	case judged == 0 && stale > 0:
		return fmt.Errorf("%w: none of %d heartbeats is left after the warm-up, %d have a sequence not above one before them", ErrUnjudged, n, stale)
	case judged == 0:
		return fmt.Errorf("%w: none of %d heartbeats is left after the warm-up", ErrUnjudged, n)
	case r.judge.Observed == 0:
		return fmt.Errorf("%w: all %d heartbeats after the warm-up arrived at the instant at which it ended", ErrUnjudged, judged)
	}
	return nil
}

// result sums up.
func (r *run) result() *Result {
	out, verdict := &r.out, &r.judge.Verdicts[0]
	out.Heartbeats, out.Observed, out.Mistakes = r.judge.Heartbeats, r.judge.Observed, verdict.Mistakes
	if out.Mistakes > 0 {
		out.MistakeMean = verdict.Mistaken / time.Duration(out.Mistakes)
	}
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

// nth returns what would be at place k if values were sorted, and puts them in some other
// order (Hoare's quickselect).
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
