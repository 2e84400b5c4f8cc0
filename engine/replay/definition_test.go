package replay

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/detect/published"
	"systole/engine/recording"
)

// span is a time during which the peer is suspect.
type span struct{ from, to clock.Instant }

// defined computes the measures by their definition: the peer is suspect from the deadline that a
// heartbeat sets, or from its arrival if that is later, to the next heartbeat. Adjacent spans are
// one mistake.
func defined(t []recording.Beat, d detect.Detector, period time.Duration, warmup int) *Result {
	least := int64(math.MaxInt64)
	for _, b := range t {
		least = min(least, b.NIC-b.Send)
	}
	state := make([]uint64, d.Words())
	suspect, _ := d.Levels()
	at := func(ns int64) clock.Instant { return clock.Instant(ns - t[0].NIC + int64(time.Hour)) }
	var arrivals, deadlines []clock.Instant
	var detection []int64
	for i, b := range t {
		if i > 0 && b.Sequence <= slices.MaxFunc(t[:i], func(a, b recording.Beat) int { return int(a.Sequence) - int(b.Sequence) }).Sequence {
			continue
		}
		detect.Take(d, state, &detect.Heartbeat{Sequence: b.Sequence + 1, Send: clock.Instant(b.Send), Arrival: at(b.NIC), Period: period})
		arrivals, deadlines = append(arrivals, at(b.NIC)), append(deadlines, d.Deadline(state, suspect))
		detection = append(detection, int64(deadlines[len(deadlines)-1]-at(b.Send+least)))
	}
	var spans []span
	for i := warmup; i+1 < len(arrivals); i++ {
		switch from, to := max(arrivals[i], deadlines[i]), arrivals[i+1]; {
		case from >= to:
		case len(spans) > 0 && spans[len(spans)-1].to == from && deadlines[i] <= arrivals[i]:
			spans[len(spans)-1].to = to
		default:
			spans = append(spans, span{from, to})
		}
	}
	last := len(arrivals) - 1
	out := &Result{Mistakes: len(spans), Observed: arrivals[last].Sub(arrivals[warmup]), Heartbeats: last - warmup, Stale: len(t) - len(arrivals)}
	var mistaken time.Duration
	for _, s := range spans {
		mistaken += s.to.Sub(s.from)
	}
	if len(spans) > 0 {
		out.MistakeMean = mistaken / time.Duration(len(spans))
	}
	out.Accuracy = 1 - float64(mistaken)/float64(out.Observed)
	out.PerHour = float64(out.Mistakes) / out.Observed.Hours()
	detection = detection[warmup+1:]
	for _, d := range detection {
		out.DetectionMean += time.Duration(d)
	}
	out.DetectionMean /= time.Duration(len(detection))
	slices.Sort(detection)
	out.DetectionP99 = time.Duration(detection[len(detection)*99/100])
	return out
}

// Run agrees with the definition to the nanosecond. Times are whole milliseconds, so that arrivals
// and deadlines coincide.
func TestRunByDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const ms = int64(time.Millisecond)
		var trace []recording.Beat
		sequence, arrival := uint64(0), int64(1000)
		// With 150 the 99th percentile is not the greatest.
		for range rapid.SampledFrom([]int{8, 30, 150}).Draw(t, "heartbeats") {
			sequence += rapid.Uint64Range(0, 2).Draw(t, "step")
			arrival += rapid.SampledFrom([]int64{0, 1, 5, 10, 10, 10, 15, 20, 25, 60}).Draw(t, "gap")
			trace = append(trace, recording.Beat{Sequence: sequence, Send: int64(sequence) * 10 * ms, NIC: arrival * ms})
		}
		trace = append(trace, recording.Beat{Sequence: sequence + 1, Send: int64(sequence+1) * 10 * ms, NIC: (arrival + 10) * ms},
			recording.Beat{Sequence: sequence + 2, Send: int64(sequence+2) * 10 * ms, NIC: (arrival + 20) * ms})
		seen := map[uint64]bool{}
		for _, b := range trace {
			seen[b.Sequence] = true
		}
		warmup := rapid.IntRange(0, min(3, len(seen)-2)).Draw(t, "warmup")
		d := published.Chen(10*time.Millisecond, rapid.IntRange(1, 3).Draw(t, "window"), 0)
		got, err := Run(trace, d, Options{Period: 10 * time.Millisecond, Warmup: warmup})
		if err != nil {
			t.Fatal(err)
		}
		want := defined(trace, d, 10*time.Millisecond, warmup)
		if math.Abs(float64(got.DetectionMean-want.DetectionMean)) <= 1 {
			got.DetectionMean = want.DetectionMean // a sum of floats, and one of integers
		}
		want.Wander = got.Wander // TestWander tests it
		if *got != *want {
			t.Fatalf("%+v\nby definition %+v", *got, *want)
		}
	})
}
