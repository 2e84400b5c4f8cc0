package silence

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"systole/engine/clock"
)

// LinearDeadline is exact to the nanosecond at every magnitude, even where the resolution of a
// float64 is coarser.
func TestLinearDeadlineIsExact(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		from := clock.Instant(1 + random.Int64N(1<<random.IntN(62)))
		unit := time.Duration(1 + random.Int64N(1<<random.IntN(60)))
		level := float64(clock.Never-from) / float64(unit)
		switch random.IntN(2) {
		case 0:
			level *= math.Exp2(-40 * random.Float64())
		case 1: // near clock.Never
			level *= 1 - math.Exp2(-48)*random.Float64()
		}
		at := LinearDeadline(from, unit, level)
		if at == clock.Never {
			if got := Linear(from, unit, clock.Never-1<<14); got >= level {
				t.Fatalf("from %d, unit %d: level %v is never, but %v just before that", from, unit, level, got)
			}
			continue
		}
		if before, there := Linear(from, unit, at-1), Linear(from, unit, at); before >= level || there < level {
			t.Fatalf("from %d, unit %d: %v at the deadline of %v, %v before it", from, unit, there, level, before)
		}
	}
}
