package engine

import (
	"math/rand/v2"
	"testing"
	"time"

	"systole/engine/clock"
)

// What is told of the age of a heartbeat is never more than its age, and exact where it says so: else a
// true peer would be held back for it.
func TestAgeIsNoMoreThanTrue(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 3))
		var q sends
		q.begin()
		now, at := clock.Instant(time.Hour), []clock.Instant{0}
		scale := []time.Duration{time.Microsecond, time.Millisecond, 100 * time.Millisecond, time.Second, time.Minute}[r.IntN(5)]
		lag := 1 + r.IntN(3000)
		for range r.IntN(6000) {
			now = now.Add(time.Duration(r.Int64N(int64(scale))))
			q.wrote(now)
			at = append(at, now)
			if r.IntN(50) == 0 {
				q.refused(now)
				at = at[:q.sequence.Get()+1]
				continue
			}
			n := uint64(len(at) - 1 - min(r.IntN(lag), len(at)-2))
			when := now.Add(time.Duration(r.Int64N(int64(scale))))
			away, exact := q.since(n, when)
			truth := when.Sub(at[n])
			if away > truth+1<<sentUnit || exact && away < truth-1<<sentUnit && scale <= time.Second {
				t.Fatalf("seed %d: heartbeat %d of %d was sent %v ago; told %v, exact %v", seed, n, len(at)-1, truth, away, exact)
			}
		}
	}
}

// Of a lag that stays, or grows, a third is told, or of what the ring can span.
func TestLagIsTold(t *testing.T) {
	const period, spanned = 100 * time.Millisecond, 4 * time.Minute
	for _, slope := range []float64{0, 0.02, 0.1, 0.5, 0.9} {
		for _, lag := range []time.Duration{time.Second, 10 * time.Second, 100 * time.Second, 270 * time.Second, 280 * time.Second, 600 * time.Second} {
			var q sends
			q.begin()
			start := clock.Instant(time.Hour)
			begin := int(lag / period)
			worst := 1.0
			for k := range 4*begin + 400 {
				now := start.Add(time.Duration(k) * period)
				q.wrote(now)
				n := uint64(float64(k-begin)*(1-slope)) + 1
				if k <= begin {
					q.since(uint64(k+1), now) // in touch until then
					continue
				}
				age := now.Sub(start.Add(time.Duration(n-1) * period))
				away, _ := q.since(n, now)
				if k > 3*begin+200 {
					worst = min(worst, float64(away)/float64(min(age, spanned)))
				}
			}
			if worst < 0.3 {
				t.Errorf("of a lag of %v that grows by %v, %.2f is told", lag, slope, worst)
			}
		}
	}
}
