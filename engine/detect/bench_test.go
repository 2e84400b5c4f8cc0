package detect

import (
	"math/rand/v2"
	"testing"
	"time"

	"systole/engine/clock"
)

// BenchmarkHeartbeat measures a heartbeat and both deadlines, over a path with jitter. A Learner
// also learns when it is due.
func BenchmarkHeartbeat(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	jitter := make([]time.Duration, 4096)
	for i := range jitter {
		jitter[i] = time.Duration(r.ExpFloat64() * float64(2*ms))
	}
	for _, d := range []Detector{
		&Margin{}, &Fixed{}, &Chen{}, &TwoWindow{}, &Bertier{}, &PhiNormal{}, &PhiExponential{}, &Oz{},
	} {
		b.Run(d.Name(), func(b *testing.B) {
			state := make([]uint64, d.Words())
			suspect, fail := d.Levels()
			at := clock.Instant(time.Hour)
			h := &Heartbeat{Period: 100 * ms}
			var until clock.Instant
			b.ReportAllocs()
			for b.Loop() {
				at = at.Add(100 * ms)
				h.Sequence++
				h.Send, h.Arrival = at, at.Add(jitter[h.Sequence%4096])
				Take(d, state, h)
				until = max(d.Deadline(state, suspect), d.Deadline(state, fail))
			}
			if until == 0 {
				b.Fatal("no deadline")
			}
			b.ReportMetric(float64(8*d.Words()), "B/peer")
		})
	}
}

// BenchmarkLearn measures one fit, which happens once in 256 heartbeats of a peer.
func BenchmarkLearn(b *testing.B) {
	d := &Margin{}
	state := make([]uint64, d.Words())
	pool := observe(1, 100_000, 100*ms, 0.01, 1e-3)
	r := rand.New(rand.NewPCG(1, 1))
	at := clock.Instant(time.Hour)
	for s := range uint64(10_000) {
		at = at.Add(100 * ms)
		Take(d, state, &Heartbeat{Sequence: s + 1, Send: at, Arrival: at.Add(time.Duration(r.ExpFloat64() * 1e6)), Period: 100 * ms})
	}
	b.ReportAllocs()
	for b.Loop() {
		d.Learn(state, pool)
	}
}
