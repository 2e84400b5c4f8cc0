package replay

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"systole/engine/detect/published"
	"systole/engine/recording"
)

// sent returns n heartbeats with a period of 100 ms and these delays. The receiver's clock is an
// hour ahead at first and gains ppm.
func sent(n int, ppm float64, delay func(i int) time.Duration) []recording.Beat {
	trace := make([]recording.Beat, 0, n)
	for i := range n {
		send := int64(i) * 100 * ms
		at := float64(send) + float64(delay(i))
		nic := int64(time.Hour) + int64(math.Round(at*(1+ppm*1e-6)))
		trace = append(trace, recording.Beat{Sequence: uint64(i), Send: send, NIC: nic, App: nic, Period: 100 * ms})
	}
	return trace
}

// queues returns models of a path: the delay of each of n heartbeats.
func queues(n int) map[string]func(i int) time.Duration {
	const us = time.Microsecond
	r := rand.New(rand.NewPCG(5, 6))
	jitter := func(mean time.Duration) time.Duration { return time.Duration(r.ExpFloat64() * float64(mean)) }
	walk := make([]time.Duration, n) // of steps of 5 µs
	for i := 1; i < n; i++ {
		walk[i] = max(walk[i-1]+time.Duration(r.IntN(2)*10-5)*us, 0)
	}
	return map[string]func(i int) time.Duration{
		"constant": func(int) time.Duration { return 5 * time.Millisecond },
		"jitter":   func(int) time.Duration { return 5*time.Millisecond + jitter(2*time.Millisecond) },
		"rough":    func(int) time.Duration { return 5*time.Millisecond + jitter(40*time.Millisecond) },
		"longer by 20 ms from the middle on": func(i int) time.Duration {
			return 5*time.Millisecond + jitter(time.Millisecond) + time.Duration(i*2/n)*20*time.Millisecond
		},
		"shorter by 20 ms from the middle on": func(i int) time.Duration {
			return 25*time.Millisecond + jitter(time.Millisecond) - time.Duration(i*2/n)*20*time.Millisecond
		},
		"longer by 20 ms twice": func(i int) time.Duration {
			return 5*time.Millisecond + jitter(time.Millisecond) + time.Duration(i*3/n)*20*time.Millisecond
		},
		"longer by 10 ms five times": func(i int) time.Duration {
			return 5*time.Millisecond + jitter(time.Millisecond) + time.Duration(i*6/n)*10*time.Millisecond
		},
		"longer by 20 ms for a tenth": func(i int) time.Duration {
			return 5*time.Millisecond + jitter(time.Millisecond) + time.Duration(i*10/n/9)*20*time.Millisecond
		},
		"busier by day": func(i int) time.Duration {
			day := 1 - math.Cos(2*math.Pi*float64(i)/float64(n))
			return 5*time.Millisecond + time.Duration(day*20*float64(time.Millisecond)) + jitter(time.Millisecond)
		},
		"a queue that fills at the end": func(i int) time.Duration {
			return 5*time.Millisecond + jitter(time.Millisecond) + time.Duration(max(i-n*3/4, 0))*60*time.Millisecond/time.Duration(n/4)
		},
		"wandering": func(i int) time.Duration { return 5*time.Millisecond + walk[i] },
	}
}

// detection returns the mean T_D of Fixed if the difference of the clocks is the least delay.
func detection(trace []recording.Beat, multiplier float64) (mean time.Duration) {
	least := int64(math.MaxInt64)
	for _, b := range trace {
		least = min(least, b.NIC-b.Send)
	}
	var sum float64
	judged, newest := 0, uint64(0)
	for _, b := range sorted(trace, false) {
		if b.Sequence > newest { // the first has sequence 0 and is not judged
			newest = b.Sequence
			sum += float64(b.NIC-b.Send-least) + multiplier*float64(b.Period)
			judged++
		}
	}
	return time.Duration(sum / float64(judged))
}

// Between clocks of the same rate, no path looks like skew, and T_D is relative to the least delay.
func TestNoSkew(t *testing.T) {
	for _, n := range []int{50, 150, 2000, 36_000} {
		paths := queues(n)
		for _, name := range slices.Sorted(maps.Keys(paths)) {
			trace := sent(n, 0, paths[name])
			r, err := Run(trace, published.Fixed(0, 0), Options{})
			if err != nil || r.Skew != 0 {
				t.Errorf("%d, %s: %+v, %v", n, name, r, err)
				continue
			}
			if want := detection(trace, 3); (r.DetectionMean - want).Abs() > 1 {
				t.Errorf("%d, %s: T_D %v, by the least delay %v", n, name, r.DetectionMean, want)
			}
		}
	}
}

// Skew changes T_D by no more than the range of the path's least delays. Uncorrected, it would
// change T_D by half of the gain.
func TestSkewIsCorrected(t *testing.T) {
	const n = 36_000 // an hour, in which 100 ppm are 360 ms
	for _, ppm := range []float64{100, -100, 300, -60} {
		paths := queues(n)
		for _, name := range slices.Sorted(maps.Keys(paths)) {
			even := sent(n, 0, paths[name])
			skewed := make([]recording.Beat, 0, n)
			for _, b := range even {
				b.NIC = b.Send + int64(math.Round(float64(b.NIC-b.Send)+float64(b.NIC-int64(time.Hour))*ppm*1e-6))
				skewed = append(skewed, b)
			}
			want, err := Run(even, published.Fixed(0, 0), Options{})
			if err != nil {
				t.Fatal(err)
			}
			got, err := Run(skewed, published.Fixed(0, 0), Options{})
			if err != nil {
				t.Fatal(err)
			}
			within := want.Wander + 300*time.Microsecond
			if got.Skew == 0 || (got.DetectionMean-want.DetectionMean).Abs() > within || (got.DetectionP99-want.DetectionP99).Abs() > within {
				t.Errorf("%v ppm, %s: skew %v, T_D %v, p99 %v; with even clocks %v, %v",
					ppm, name, got.Skew*1e6, got.DetectionMean, got.DetectionP99, want.DetectionMean, want.DetectionP99)
			}
		}
	}
}

// A few heartbeats with too small delays do not change the skew.
func TestSkewWithOutliers(t *testing.T) {
	trace := sent(36_000, 100, func(i int) time.Duration {
		if i == 100 || i == 35_900 {
			return -20 * time.Millisecond
		}
		return 5 * time.Millisecond
	})
	r, err := Run(trace, published.Fixed(0, 0), Options{})
	if err != nil || math.Abs(r.Skew-100e-6) > 1e-6 || (r.DetectionMean-325*time.Millisecond).Abs() > time.Millisecond {
		t.Errorf("%+v, %v", r, err)
	}
}

// The step of a clock that was set is in Wander and not in Skew.
func TestWander(t *testing.T) {
	for _, test := range []struct {
		name   string
		least  time.Duration
		change func(i int) time.Duration
	}{
		{"nothing", 0, func(int) time.Duration { return 0 }},
		{"the clock an hour forward", time.Hour, func(i int) time.Duration { return time.Duration(i/1000) * time.Hour }},
		{"the clock half a second forward, soon after the beginning", time.Second / 2, func(i int) time.Duration { return time.Duration(min(i/200, 1)) * time.Second / 2 }},
	} {
		r, err := Run(sent(2000, 0, test.change), published.Fixed(0, 0), Options{})
		if err != nil || r.Skew != 0 || r.Wander != test.least {
			t.Errorf("%s: %+v, %v", test.name, r, err)
		}
	}
	few := sent(99, 0, func(i int) time.Duration { return time.Duration(i) * time.Second })
	if r, err := Run(few, published.Fixed(0, 0), Options{}); err != nil || r.Wander != 0 || r.Skew != 0 {
		t.Errorf("few: %+v, %v", r, err)
	}
}
