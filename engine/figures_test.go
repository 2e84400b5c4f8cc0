package engine

import (
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"systole/engine/clock"
	"systole/engine/histogram"
)

// counted is a duration and when it was counted.
type counted struct {
	at clock.Instant
	d  time.Duration
}

// naive returns the histogram of what was counted at or after from.
func naive(all []counted, from clock.Instant) (h histogram.Histogram) {
	for _, c := range all {
		if c.at >= from {
			h.Record(c.d)
		}
	}
	return h
}

// alike reports whether two histograms have the same counts and sum. The longest duration of the last minute is
// only bounded by its bucket.
func alike(a, b histogram.Histogram) bool {
	a.Sub(&b)
	return a.Count() == 0 && a.Sum() == 0
}

// A distribution has what was counted since the beginning, and since a span that began 60 to 90 s ago, however
// long it was silent.
func TestDistribution(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		var q distribution
		var all []counted
		now := clock.Instant(r.Int64N(int64(time.Hour)))
		for range 400 {
			now = now.Add(time.Duration(1) << r.IntN(37))
			if r.IntN(3) > 0 {
				d := time.Duration(r.Int64N(1 << r.IntN(36)))
				q.record(d, spanOf(now))
				all = append(all, counted{now, d})
			}
			from := now/clock.Instant(spanLength)*clock.Instant(spanLength) - clock.Instant(2*spanLength)
			var whole, recent histogram.Histogram
			q.addTo(&whole, 0)
			q.addTo(&recent, recentFrom(now))
			if want := naive(all, 0); whole != want {
				t.Fatalf("%v instead of %v", whole, want)
			}
			want := naive(all, from)
			if !alike(recent, want) || !alike(want, recent) || recent.Quantile(1) < want.Quantile(1) {
				t.Fatalf("at %v since %v: %v instead of %v", now, from, recent, want)
			}
		}
		q.clear()
		var none histogram.Histogram
		q.addTo(&none, 0)
		q.addTo(&none, recentFrom(now))
		if none != (histogram.Histogram{}) {
			t.Fatalf("%v after clear", none)
		}
	}
}

// Readers see no more than was counted, and no less than before, while the owner counts and marks spans.
func TestDistributionHasReaders(t *testing.T) {
	var q distribution
	var now, counts atomic.Int64
	now.Store(int64(time.Hour))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 200_000 {
			at := now.Add(int64(7 * time.Millisecond))
			q.record(time.Duration(i%1000)*time.Microsecond, spanOf(clock.Instant(at)))
			counts.Add(1)
			if i%64 == 0 {
				runtime.Gosched()
			}
		}
	}()
	last := uint64(0)
	for {
		var whole, recent histogram.Histogram
		before := uint64(counts.Load())
		q.addTo(&recent, recentFrom(clock.Instant(now.Load())))
		q.addTo(&whole, 0)
		after := uint64(counts.Load()) + 1
		if n := whole.Count(); n < before || n > after || n < last || recent.Count() > after {
			t.Fatalf("%d and %d of %d to %d, %d before", n, recent.Count(), before, after, last)
		}
		last = whole.Count()
		select {
		case <-done:
			return
		default:
		}
	}
}

// A loop that was stopped for seconds is on time again in the figures of the last minute, and they are those of
// 60 to 90 s.
func TestLatenessRecovers(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{}), w.start(Config{})
	a.watch(b)
	b.watch(a)
	w.run(time.Minute)
	if s := a.Stats(); s.Loop.LatenessRecent.Quantile(1) > time.Millisecond {
		t.Fatalf("late from the start: %v", s.Loop.LatenessRecent)
	}
	for range 40 { // more than one turn in a hundred is late
		a.host.Stop()
		w.run(200 * time.Millisecond)
		a.host.Continue()
		w.run(200 * time.Millisecond)
	}
	s := a.Stats()
	if p99 := s.Loop.LatenessRecent.Quantile(0.99); p99 < 50*time.Millisecond {
		t.Errorf("after stalls the 99th percentile is %v: %v", p99, s.Loop.LatenessRecent)
	}
	w.run(59 * time.Second)
	if s = a.Stats(); s.Loop.LatenessRecent.Quantile(1) < 100*time.Millisecond {
		t.Errorf("the stalls are forgotten after 59 s: %v", s.Loop.LatenessRecent)
	}
	w.run(31 * time.Second)
	s = a.Stats()
	if s.Loop.LatenessRecent.Quantile(1) > time.Millisecond || s.Loop.LatenessRecent.Count() == 0 {
		t.Errorf("late after 90 s: %v", s.Loop.LatenessRecent)
	}
	if s.Loop.Lateness.Quantile(1) < 150*time.Millisecond || s.Loop.Lateness.Count() != s.Loop.Turns {
		t.Errorf("since Open: %v of %d turns", s.Loop.Lateness, s.Loop.Turns)
	}
	a.host.Stop()
	w.run(2 * time.Minute)
	if s = a.Stats(); s.Loop.LatenessRecent.Count() != 0 {
		t.Errorf("a loop that stood still for two minutes had turns: %v", s.Loop.LatenessRecent)
	}
}
