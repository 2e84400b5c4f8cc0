package margins

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A packed margin is rounded up by at most 0.1 % and a unit. Codes are in the order of margins.
func TestPackedMargins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "margin") >> rapid.IntRange(0, 42).Draw(t, "shift"))
		code := Pack(m)
		if got := Unpack(code); got < m || got > m+m/1000+1<<Unit {
			t.Fatalf("%v is packed as %v", m, got)
		}
		if code > math.MaxUint16 || Pack(Unpack(code)) != code {
			t.Fatalf("%v has code %d, and that again %d", m, code, Pack(Unpack(code)))
		}
		if next := Pack(m + 1); next < code || next > code+1 {
			t.Fatalf("after code %d comes %d", code, next)
		}
		if Unpack(code+1) <= Unpack(code) {
			t.Fatalf("code %d is not above code %d", code+1, code)
		}
	})
}

// Counts are exact below 32 and unbiased above. The deviation of one counter is about 15 %, so it
// is seldom wrong by half.
func TestPackedCounts(t *testing.T) {
	const counters = 400
	r := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{1, 31, 32, 100, 5000, 100_000} {
		sum, off := 0.0, 0
		counts := make([]uint64, counters/8)
		for i := range counters {
			for range n {
				AddCount(counts, i, Scramble(r.Uint64()))
			}
			got := CountAt(counts, i)
			sum += got
			if n < 32 && got != float64(n) {
				t.Fatalf("%d counted as %v", n, got)
			}
			if math.Abs(got-float64(n)) > float64(n)/2 {
				off++
			}
		}
		if mean := sum / counters; math.Abs(mean-float64(n)) > 0.03*float64(n) {
			t.Errorf("%d counted as %v on average", n, mean)
		}
		if off > counters/100 {
			t.Errorf("%d: %d of %d counters are half off", n, off, counters)
		}
	}
}

// A full counter stays full and does not change its neighbours.
func TestPackedCountsEnd(t *testing.T) {
	counts := []uint64{0x00ff00}
	for range 100 {
		AddCount(counts, 1, 0)
	}
	if counts[0] != 0x00ff00 {
		t.Errorf("%x", counts[0])
	}
}
