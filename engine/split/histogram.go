package split

import (
	"math"
	"math/bits"
	"time"
)

// Histogram counts durations in buckets of a sixteenth of an octave, so a quantile is at most 1/32 off.
// Longer durations than 4.29 s count as such. The zero Histogram is empty; it takes 4 KiB.
type Histogram struct {
	buckets [buckets]uint64
	count   uint64
	max     time.Duration
}

const (
	subBits = 4
	sub     = 1 << subBits
	buckets = sub * (32 - subBits + 1)
)

// Add counts a duration. It allocates nothing.
func (h *Histogram) Add(d time.Duration) {
	d = min(max(d, 0), math.MaxUint32)
	h.buckets[bucket(d)]++
	h.count++
	h.max = max(h.max, d)
}

// bucket returns the bucket of d.
func bucket(d time.Duration) int {
	if d < sub {
		return int(d)
	}
	octave := bits.Len32(uint32(d)) - subBits - 1
	return octave*sub + int(d>>octave)
}

// middle returns the middle of bucket i.
func middle(i int) time.Duration {
	if i < 2*sub {
		return time.Duration(i)
	}
	octave := i/sub - 1
	return time.Duration(i-octave*sub)<<octave + 1<<octave/2
}

// Count returns how many durations were counted.
func (h *Histogram) Count() uint64 { return h.count }

// Max returns the longest duration, exactly.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile returns the duration that a share q of the durations, from 0 to 1, does not exceed; 0 if there are
// none.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := max(uint64(math.Ceil(q*float64(h.count))), 1)
	var below uint64
	for i, n := range h.buckets {
		if below += n; below >= rank {
			return min(middle(i), h.max)
		}
	}
	return h.max
}
