package histogram

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const (
	us = time.Microsecond
	ms = time.Millisecond
)

// of returns a histogram of durations.
func of(durations ...time.Duration) (h Histogram) {
	for _, d := range durations {
		h.Record(d)
	}
	return h
}

// Durations at known bounds are in the buckets that Prometheus has for them in schema 2.
func TestBuckets(t *testing.T) {
	for _, test := range []struct {
		d      time.Duration
		bucket int32
	}{
		{954, -79}, {1_134, -79}, {1_135, -78}, {us, -79}, {time.Second / 2, -4}, {time.Second/2 + 1, -3},
		{ms, -39}, {time.Second, 0}, {time.Second + 1, 1}, {1_189_207_115, 1}, {1_189_207_116, 2}, {2 * time.Second, 4},
		{16 * time.Second, 16}, {16*time.Second + 1, 17}, {time.Hour, 17}, {math.MaxInt64, 17},
	} {
		h := of(test.d)
		for bucket, n := range h.Buckets() {
			if bucket != test.bucket || n != 1 {
				t.Errorf("%v: %d in bucket %d, not in %d", test.d, n, bucket, test.bucket)
			}
		}
		if h.Zero() != 0 || h.Count() != 1 {
			t.Errorf("%v: %d in the zero bucket", test.d, h.Zero())
		}
	}
	zero := of(-1, 0, 1, 953)
	for range zero.Buckets() {
		t.Error("a duration of 0 is in a bucket")
	}
	if zero.Zero() != 4 || zero.Sum() != 954 {
		t.Errorf("%d in the zero bucket, %v", zero.Zero(), zero.Sum())
	}
}

// Buckets ends where the loop over it ends.
func TestBucketsEnd(t *testing.T) {
	h := of(us, ms, time.Second)
	seen := 0
	for range h.Buckets() {
		if seen++; seen == 2 {
			break
		}
	}
	if seen != 2 {
		t.Errorf("%d buckets", seen)
	}
}

// durations draws up to 200 durations of any size.
func durations(t *rapid.T, label string) []time.Duration {
	bits := rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.Int64Range(0, 1<<rapid.IntRange(0, 36).Draw(t, "bits")).Draw(t, "ns"))
	})
	return rapid.SliceOfN(bits, 0, 200).Draw(t, label)
}

// A sum is the histogram of both, and a difference is what the sum had more.
func TestAddSub(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := durations(t, "a"), durations(t, "b")
		ha, hb, both := of(a...), of(b...), of(slices.Concat(a, b)...)
		sum := ha
		sum.Add(&hb)
		if sum != both {
			t.Fatalf("%v and %v are %v, not %v", ha, hb, sum, both)
		}
		sum.Sub(&ha)
		if sum.Count() != hb.Count() || sum.Sum() != hb.Sum() || sum.Zero() != hb.Zero() || sum.Quantile(1) < hb.Quantile(1) {
			t.Fatalf("%v instead of %v", sum, hb)
		}
		if most := hb.Quantile(1); most > us && most < 16*time.Second && float64(sum.Quantile(1)) > float64(most)*factor {
			t.Fatalf("the longest of %v is %v", hb, sum.Quantile(1))
		}
		hb.Sub(&both)
		if hb != (Histogram{}) {
			t.Fatalf("%v remains", hb)
		}
	})
}

// factor is the width of a bucket, and a little for rounding to nanoseconds.
const factor = 1.1892071150027212 * 1.002

// Quantiles are within a bucket of those of the sorted durations, and grow with the share.
func TestQuantiles(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for _, most := range []time.Duration{3 * us, 40 * us, 7 * ms, 900 * ms, 15 * time.Second} {
		all := make([]time.Duration, 1000)
		for i := range all {
			all[i] = us + time.Duration(r.Int64N(int64(most)))
		}
		h := of(all...)
		slices.Sort(all)
		last := time.Duration(0)
		for i := range 1001 {
			got := h.Quantile(float64(i) / 1000)
			want := float64(all[max(i-1, 0)])
			if float64(got) > want*factor || float64(got) < want/factor {
				t.Errorf("quantile %d/1000 of up to %v: %v, want %v", i, most, got, time.Duration(want))
			}
			if got < last {
				t.Errorf("quantile %d/1000 is %v after %v", i, got, last)
			}
			last = got
		}
		if last != all[999] {
			t.Errorf("the longest is %v, not %v", last, all[999])
		}
	}
}

// Quantiles of nothing, of one duration, and of durations beyond the buckets.
func TestQuantilesAtTheEdges(t *testing.T) {
	var none Histogram
	one, hour, zero := of(3*ms), of(time.Hour), of(0)
	for _, q := range []float64{-1, 0, 0.5, 1, 2, math.NaN()} {
		if d := none.Quantile(q); d != 0 {
			t.Errorf("quantile %v of nothing is %v", q, d)
		}
		if d := one.Quantile(q); float64(d) < 3e6/factor || d > 3*ms {
			t.Errorf("quantile %v of 3 ms is %v", q, d)
		}
		if d := hour.Quantile(q); d != time.Hour {
			t.Errorf("quantile %v of an hour is %v", q, d)
		}
		if d := zero.Quantile(q); d != 0 {
			t.Errorf("quantile %v of 0 is %v", q, d)
		}
	}
}

// The form in JSON, also of a value within another.
func TestJSON(t *testing.T) {
	for _, test := range []struct {
		h    Histogram
		want string
	}{
		{Histogram{}, `{"schema":2,"zero_threshold":9.5367431640625e-07,"count":0,"sum_ns":0}`},
		{of(0), `{"schema":2,"zero_threshold":9.5367431640625e-07,"count":1,"sum_ns":0,"zero":1}`},
		{of(0, ms, ms, time.Minute), `{"schema":2,"zero_threshold":9.5367431640625e-07,"count":4,"sum_ns":60002000000,` +
			`"max_ns":60000000000,"zero":1,"buckets":{"-39":2,"17":1}}`},
	} {
		got, err := json.Marshal(struct{ H Histogram }{test.h})
		if err != nil || string(got) != `{"H":`+test.want+`}` {
			t.Errorf("%s, %v", got, err)
		}
	}
	if got := of(ms).String() + "; " + of().String(); got != "1, p50 1ms, p99 1ms, max 1ms; none" {
		t.Error(got)
	}
}

// Recording allocates nothing.
func TestAllocatesNothing(t *testing.T) {
	var h, other Histogram
	if n := testing.AllocsPerRun(100, func() {
		h.Record(ms)
		h.Add(&other)
		_ = h.Quantile(0.99)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
