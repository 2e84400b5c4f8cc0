// Package histogram counts durations in the buckets of Prometheus native histograms and of OpenTelemetry's
// exponential histograms, so that an exporter copies counts and computes nothing.
//
// Schema (Prometheus) or scale (OpenTelemetry) is 2: bucket i holds durations above 2^((i-1)/4) s, up to
// 2^(i/4) s. Buckets are numbered as Prometheus numbers them; OpenTelemetry's index is one lower. Durations up to
// ZeroThreshold, about 1 µs, count in the zero bucket. Durations above 16 s count in bucket 17, which so has no
// upper bound. Every histogram has the same buckets, so that histograms of peers, of nodes and of times add up.
package histogram

import (
	"fmt"
	"iter"
	"math"
	"strconv"
	"time"

	"systole/engine/internal/buckets"
)

const (
	// Schema is the schema of the buckets: their bounds grow by a factor of 2^(2^-Schema).
	Schema = 2
	// ZeroThreshold is the upper bound of the zero bucket, in seconds.
	ZeroThreshold = 1.0 / (1 << 20)
)

// Histogram is counts of durations. It takes 800 bytes, and the zero Histogram is empty. A copy is independent.
// Several goroutines may use one at once only if none of them changes it.
type Histogram buckets.Counts

// counts returns the contents of h.
func (h *Histogram) counts() *buckets.Counts { return (*buckets.Counts)(h) }

// Record counts d. Below 0 it counts as 0. It allocates nothing.
func (h *Histogram) Record(d time.Duration) { h.counts().Record(d) }

// Add adds the durations of other to h.
func (h *Histogram) Add(other *Histogram) { h.counts().Add(other.counts()) }

// Sub subtracts the durations of earlier from h. If earlier is what h was at an earlier time, the durations since
// remain.
func (h *Histogram) Sub(earlier *Histogram) { h.counts().Sub(earlier.counts()) }

// Count returns the number of durations.
func (h *Histogram) Count() (n uint64) {
	for place := range buckets.Len {
		n += h.counts().At(place)
	}
	return n
}

// Sum returns the sum of the durations.
func (h *Histogram) Sum() time.Duration {
	sum, _ := h.counts().Total()
	return sum
}

// Zero returns the number of durations in the zero bucket.
func (h *Histogram) Zero() uint64 { return h.counts().At(0) }

// Buckets yields the index and the count of each bucket that is not empty, in order, without the zero bucket.
func (h *Histogram) Buckets() iter.Seq2[int32, uint64] {
	return func(yield func(int32, uint64) bool) {
		for place := 1; place < buckets.Len; place++ {
			n := h.counts().At(place)
			if n > 0 && !yield(int32(place-1+buckets.First), n) {
				return
			}
		}
	}
}

// Quantile returns the duration that a share q of the durations, from 0 to 1, does not exceed; 0 if there are
// none. It interpolates within a bucket as Prometheus's histogram_quantile does, so between 1 µs and 16 s the
// error is below a factor of 2^(1/4). Quantile(1) is the longest duration; after Sub it is an upper bound.
func (h *Histogram) Quantile(q float64) time.Duration {
	count := h.Count()
	_, most := h.counts().Total()
	rank := min(max(q, 0), 1) * float64(count)
	if rank > float64(count)-0.5 {
		return most
	}
	var below uint64
	for place := range buckets.Len {
		n := h.counts().At(place)
		if float64(below+n) >= rank && n > 0 {
			return min(within(place, max(rank-float64(below), 0)/float64(n)), most)
		}
		below += n
	}
	return most
}

// within returns the duration at a share of the way through a place: linear in the zero bucket, exponential in
// the others.
func within(place int, share float64) time.Duration {
	switch place {
	case 0:
		return time.Duration(share * ZeroThreshold * float64(time.Second))
	case buckets.Len - 1:
		return math.MaxInt64 // the caller knows the longest duration
	}
	upper := float64(place - 1 + buckets.First)
	return time.Duration(math.Round(math.Exp2((upper-1+share)/4) * float64(time.Second)))
}

// String returns the count and some quantiles, such as "1000, p50 1.1ms, p99 2.4ms, max 2.6ms".
func (h Histogram) String() string {
	n := h.Count()
	if n == 0 {
		return "none"
	}
	return fmt.Sprintf("%d, p50 %v, p99 %v, max %v", n, h.Quantile(0.5), h.Quantile(0.99), h.Quantile(1))
}

// MarshalJSON returns an object of "schema", "zero_threshold" in seconds, "count", "sum_ns", "max_ns", "zero", and
// "buckets": an object of bucket indices and counts, in order. The last three are absent if 0 or empty.
func (h Histogram) MarshalJSON() ([]byte, error) {
	b := fmt.Appendf(nil, `{"schema":%d,"zero_threshold":%v,"count":%d,"sum_ns":%d`,
		Schema, ZeroThreshold, h.Count(), h.Sum().Nanoseconds())
	if most := h.Quantile(1); most > 0 {
		b = fmt.Appendf(b, `,"max_ns":%d`, most.Nanoseconds())
	}
	if n := h.Zero(); n > 0 {
		b = fmt.Appendf(b, `,"zero":%d`, n)
	}
	separator := `,"buckets":{"`
	for i, n := range h.Buckets() {
		b = append(b, separator...)
		b = strconv.AppendInt(b, int64(i), 10)
		b = append(b, `":`...)
		b = strconv.AppendUint(b, n, 10)
		separator = `,"`
	}
	if separator == `,"` {
		b = append(b, '}')
	}
	return append(b, '}'), nil
}
