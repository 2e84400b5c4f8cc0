package detect

import (
	"math/rand/v2"
	"testing"
	"time"

	"systole/engine/clock"
)

// BenchmarkLearn measures one fit, which happens once in 256 heartbeats of a peer.
func BenchmarkLearn(b *testing.B) {
	d := newMargin(MarginOptions{})
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
