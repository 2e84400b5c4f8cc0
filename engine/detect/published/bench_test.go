package published

import (
	"math/rand/v2"
	"testing"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
)

// BenchmarkHeartbeat measures a heartbeat and both deadlines, over a path with jitter. A
// detector that learns also learns when it is due.
func BenchmarkHeartbeat(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	jitter := make([]time.Duration, 4096)
	for i := range jitter {
		jitter[i] = time.Duration(r.ExpFloat64() * float64(2*ms))
	}
	for _, d := range []detect.Detector{
		detect.Margin(detect.MarginOptions{}), Fixed(0, 0), Chen(0, 0, 0), TwoWindow(0, 0, 0, 0), Bertier(BertierOptions{}), PhiNormal(PhiNormalOptions{}), PhiExponential(PhiExponentialOptions{}), Oz(OzOptions{}),
	} {
		b.Run(d.Name(), func(b *testing.B) {
			state := make([]uint64, d.Words())
			suspect, fail := d.Levels()
			at := clock.Instant(time.Hour)
			h := &detect.Heartbeat{Period: 100 * ms}
			var until clock.Instant
			b.ReportAllocs()
			for b.Loop() {
				at = at.Add(100 * ms)
				h.Sequence++
				h.Send, h.Arrival = at, at.Add(jitter[h.Sequence%4096])
				detect.Take(d, state, h)
				until = max(d.Deadline(state, suspect), d.Deadline(state, fail))
			}
			if until == 0 {
				b.Fatal("no deadline")
			}
			b.ReportMetric(float64(8*d.Words()), "B/peer")
		})
	}
}
