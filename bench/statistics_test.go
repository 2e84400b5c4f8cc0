package main

import (
	"math"
	"runtime/metrics"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestQuantile(t *testing.T) {
	five := []time.Duration{50, 10, 40, 20, 30}
	for _, c := range []struct {
		d    []time.Duration
		q    float64
		want time.Duration
	}{{five, 0, 10}, {five, 0.19, 10}, {five, 0.2, 20}, {five, 0.5, 30}, {five, 0.99, 50}, {five, 1, 50}, {five[:1], 0.5, 50}, {five[:2], 0.5, 50}} {
		if got, ok := quantile(c.d, c.q); got != c.want || !ok {
			t.Errorf("%v-quantile of %v: %d, want %d", c.q, c.d, got, c.want)
		}
	}
	if five[0] != 50 {
		t.Errorf("the durations were sorted: %v", five)
	}
	if got, ok := quantile(nil, 0.5); ok {
		t.Errorf("%v of no durations", got)
	}
}

// A quantile is one of the durations, with at most a share q of them below it and at most 1-q above.
func TestQuantileByDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d []time.Duration
		for _, x := range rapid.SliceOfN(rapid.Int64Range(-20, 20), 1, 50).Draw(t, "durations") {
			d = append(d, time.Duration(x))
		}
		q := rapid.Float64Range(0, 1).Draw(t, "q")
		got, ok := quantile(d, q)
		below, above := 0, 0
		for _, x := range d {
			if x < got {
				below++
			}
			if x > got {
				above++
			}
		}
		n := float64(len(d))
		if !ok || !slices.Contains(d, got) || float64(below) > q*n || float64(above) > (1-q)*n {
			t.Fatalf("%v-quantile %d of %v: %d below, %d above", q, got, d, below, above)
		}
	})
}

func TestMeanAndP99(t *testing.T) {
	var hundred []time.Duration
	for i := range 200 {
		hundred = append(hundred, time.Duration(i)*ms/2)
	}
	for _, c := range []struct {
		d         []time.Duration
		mean, p99 float64
	}{{[]time.Duration{3 * ms}, 3, 3}, {[]time.Duration{0, ms, 5 * ms}, 2, 5}, {hundred, 49.75, 99}} {
		if mean, p99 := meanAndP99(c.d); math.Abs(mean-c.mean) > 1e-9 || p99 != c.p99 {
			t.Errorf("%d durations: %v and %v, want %v and %v", len(c.d), mean, p99, c.mean, c.p99)
		}
	}
	if mean, p99 := meanAndP99(nil); meaningful(mean) || meaningful(p99) {
		t.Errorf("%v and %v of no durations", mean, p99)
	}
	if got := quantileMicros([]time.Duration{1500, 2500}, 0); got != 1.5 {
		t.Errorf("%v µs, want 1.5", got)
	}
	if got := quantileMicros(nil, 0.5); meaningful(got) {
		t.Errorf("%v µs of no durations", got)
	}
	if got := millis(1500 * time.Microsecond); got != 1.5 {
		t.Errorf("%v ms, want 1.5", got)
	}
}

func TestHistogramMedian(t *testing.T) {
	h := &metrics.Float64Histogram{Counts: []uint64{5, 3, 2, 4}, Buckets: []float64{math.Inf(-1), 1, 2, 4, math.Inf(1)}}
	for _, c := range []struct {
		before []uint64
		want   float64
	}{
		{[]uint64{0, 0, 0, 0}, 1},
		{[]uint64{5, 3, 0, 4}, 2},
		{[]uint64{5, 2, 1, 3}, 2}, // one in each of three
		{[]uint64{5, 2, 2, 3}, 1}, // half of them
		{[]uint64{0, 3, 2, 4}, 0}, // below all bounds
		{[]uint64{5, 3, 2, 4}, 0}, // none
	} {
		if got := histogramMedian(c.before, h); got != c.want {
			t.Errorf("since %v: %v, want %v", c.before, got, c.want)
		}
	}
}

// A median is within the bucket of the median element.
func TestHistogramMedianByDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &metrics.Float64Histogram{Counts: make([]uint64, 4), Buckets: []float64{0, 10, 20, 30, 40}}
		before := make([]uint64, 4)
		var values []int
		for _, x := range rapid.SliceOfN(rapid.IntRange(0, 39), 1, 40).Draw(t, "values") {
			h.Counts[x/10]++
			if rapid.Bool().Draw(t, "before") {
				before[x/10]++
			} else {
				values = append(values, x)
			}
		}
		want := 0.0
		if len(values) > 0 {
			slices.Sort(values)
			want = float64(values[(len(values)-1)/2] / 10 * 10)
		}
		if got := histogramMedian(before, h); got != want {
			t.Fatalf("%v of %v, want %v", got, values, want)
		}
	})
}

// Forced collections are counted.
func TestMedianPause(t *testing.T) {
	if got := medianPause(); got <= 0 || got > time.Second {
		t.Errorf("median pause %v", got)
	}
}
