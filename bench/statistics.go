package main

import (
	"runtime"
	"runtime/metrics"
	"slices"
	"time"
)

// quantile returns the q-quantile of d, the element of rank q·len(d) in ascending order. It returns false
// if d is empty.
func quantile(d []time.Duration, q float64) (time.Duration, bool) {
	if len(d) == 0 {
		return 0, false
	}
	d = slices.Sorted(slices.Values(d))
	return d[min(int(q*float64(len(d))), len(d)-1)], true
}

// quantileMicros returns the q-quantile of d in microseconds, or none if d is empty.
func quantileMicros(d []time.Duration, q float64) float64 {
	x, ok := quantile(d, q)
	if !ok {
		return none
	}
	return micros(x)
}

// meanAndP99 returns the mean and the 0.99-quantile of d in milliseconds, or none if d is empty.
func meanAndP99(d []time.Duration) (mean, p99 float64) {
	p, ok := quantile(d, 0.99)
	if !ok {
		return none, none
	}
	var sum time.Duration
	for _, x := range d {
		sum += x
	}
	return millis(sum) / float64(len(d)), millis(p)
}

// millis returns d in milliseconds, micros in microseconds.
func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// collections is how often medianPause collects.
const collections = 40

// medianPause collects garbage several times and returns the median time for which a collection stopped
// all goroutines, as runtime/metrics buckets it. The maximum says less: on a shared machine the longest
// pauses are those in which the kernel ran another process.
func medianPause() time.Duration {
	sample := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(sample)
	before := slices.Clone(sample[0].Value.Float64Histogram().Counts)
	for range collections {
		runtime.GC()
	}
	metrics.Read(sample)
	h := sample[0].Value.Float64Histogram()
	return time.Duration(histogramMedian(before, h) * float64(time.Second))
}

// histogramMedian returns the median of the values that h has counted since its counts were before, as
// the lower bound of its bucket. The median is 0 without values, and in a bucket that has no lower
// bound.
func histogramMedian(before []uint64, h *metrics.Float64Histogram) float64 {
	var all, sum uint64
	for i, n := range h.Counts {
		all += n - before[i]
	}
	for i, n := range h.Counts {
		sum += n - before[i]
		if all > 0 && 2*sum >= all {
			return max(h.Buckets[i], 0)
		}
	}
	return 0
}
