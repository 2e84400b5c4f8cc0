package oneway

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"systole/engine/clock"
)

// world is a path between two hosts that send heartbeats to each other. Times are true times in
// seconds, and our clock shows them. Delays are 200 µs to us and 150 µs from us, jitter of
// exponential distribution, and bursts of up to 5 ms for 0.3 s, twice a minute on either way.
type world struct {
	period  float64                 // of the sender
	ours    float64                 // our period, in periods of the sender
	ahead   func(t float64) float64 // what the sender's clock shows more than ours
	queue   func(t float64) float64 // of the way to us, besides bursts; nil: 0
	deaf    bool                    // the sender gets nothing from us
	smooth  bool                    // without bursts
	silence [2]float64              // the sender is silent in between
	random  *rand.Rand
	in, out way
}

// way is one direction of the path.
type way struct{ next, end float64 }

const (
	leastIn  = 200e-6
	leastOut = 150e-6
	jitters  = 20e-6 // mean
	uptime   = 5e4   // of our host at the start
)

func newWorld(seed uint64, period float64, ahead func(float64) float64) *world {
	return &world{period: period, ours: 1.00001, ahead: ahead, random: rand.New(rand.NewPCG(seed, 1))}
}

// wait returns what a datagram sent at t waits on a way, besides w.queue.
func (w *world) wait(on *way, t float64) float64 {
	wait := w.random.ExpFloat64() * jitters
	if w.smooth {
		return wait
	}
	for t >= on.next {
		on.end = on.next + 0.3
		on.next += w.random.ExpFloat64() * 30
	}
	if t < on.end {
		wait += w.random.Float64() * 5e-3
	}
	return wait
}

// mine and theirs are what the clocks show at t.
func (w *world) mine(t float64) clock.Instant {
	return clock.Instant(math.Round((uptime + t) * 1e9))
}

func (w *world) theirs(t float64) clock.Instant { return w.mine(t + w.ahead(t)) }

// estimate is one estimate of a queue.
type estimate struct{ at, queued, estimated float64 }

// err returns the error in µs.
func (e estimate) err() float64 { return math.Abs(e.estimated-e.queued) * 1e6 }

// run runs the world for some seconds.
func (w *world) run(length float64) (out []estimate) {
	var q Estimator
	var l Line
	type ours struct{ sent, arrives float64 }
	var newest, flying ours
	nextOurs, last := 0.37*w.period, 0.0
	for n := range int(length / w.period) {
		t := float64(n) * w.period
		for ; nextOurs < t; nextOurs += w.period * w.ours { // the phase of both goes round
			if flying.arrives <= nextOurs {
				newest = flying
			}
			flying = ours{nextOurs, nextOurs + leastOut + w.wait(&w.out, nextOurs)}
		}
		if flying.arrives <= t {
			newest = flying
		}
		if w.silence[0] <= t && t < w.silence[1] {
			continue
		}
		arrival := t + leastIn + w.wait(&w.in, t)
		if w.queue != nil {
			arrival += w.queue(t)
		}
		arrival = max(arrival, last)
		last = arrival
		h := Heartbeat{Arrival: w.mine(arrival), Send: w.theirs(t), Exchanged: newest.sent > 0 && !w.deaf}
		if h.Exchanged {
			h.Residence = h.Send.Sub(w.theirs(newest.arrives))
			h.RoundTrip = h.Arrival.Sub(w.mine(newest.sent)) - h.Residence
		}
		out = append(out, estimate{t, arrival - t - leastIn, q.Arrived(&l, &h).Seconds()})
	}
	return out
}

// errors returns the median and the 99th percentile of the errors, in µs.
func errors(all []estimate) (p50, p99 float64) {
	var errs []float64
	for _, e := range all {
		errs = append(errs, e.err())
	}
	slices.Sort(errs)
	return errs[len(errs)/2], errs[len(errs)*99/100]
}

// worst returns the worst error of the estimates from one instant to another, in µs.
func worst(all []estimate, from, to float64) (most float64) {
	for _, e := range all {
		if e.at >= from && e.at < to {
			most = max(most, e.err())
		}
	}
	return most
}

// skewed is a clock with a skew, in ppm, that wanders by some ppm to either side, in half an hour.
func skewed(ppm, wander float64) func(float64) float64 {
	return func(t float64) float64 {
		const rad = 1800 / (2 * math.Pi)
		return 12.5 + t*ppm*1e-6 + wander*1e-6*rad*(1-math.Cos(t/rad))
	}
}

// slewed is a clock that NTP slews by some ppm for 20 s.
func slewed(of func(float64) float64, ppm float64) func(float64) float64 {
	return func(t float64) float64 { return of(t) + ppm*1e-6*min(max(t-1500, 0), 20) }
}

// stepped is a clock that jumps by some seconds after 1500.3 s.
func stepped(of func(float64) float64, by float64) func(float64) float64 {
	return func(t float64) float64 {
		if t > 1500.3 {
			return of(t) + by
		}
		return of(t)
	}
}

// standing is a queue of some seconds from 1500 s on, for a time.
func standing(queue, length float64) func(float64) float64 {
	return func(t float64) float64 {
		if 1500 <= t && t < 1500+length {
			return queue
		}
		return 0
	}
}

// The errors over an hour, with the start and bursts: median and 99th percentile, in µs. Clocks that lose look
// like queues where no round trips are known.
func TestErrors(t *testing.T) {
	type bounds struct{ p50, p99 float64 }
	for _, test := range []struct {
		name         string
		ahead, queue func(float64) float64
		fast, slow   bounds // every 0.1 s, every second
		fastOneWay   bounds
		slowOneWay   bounds
	}{
		{"skew", skewed(20, 0), nil, bounds{1, 4}, bounds{2, 10}, bounds{2.5, 6}, bounds{5, 18}},
		{"skew of 100 ppm", skewed(-100, 0), nil, bounds{1, 4}, bounds{2, 10}, bounds{2.5, 6}, bounds{5, 18}},
		{"wander", skewed(20, 1), nil, bounds{1, 4}, bounds{2, 10}, bounds{2.5, 6}, bounds{5, 18}},
		{"slewed ahead", slewed(skewed(20, 0), 500), nil, bounds{1, 5}, bounds{2, 12}, bounds{2.5, 6}, bounds{5, 20}},
		{"slewed back", slewed(skewed(20, 0), -500), nil, bounds{1, 5}, bounds{2, 12}, bounds{3, 10_100}, bounds{6, 10_100}},
		{"wander, slewed back", slewed(skewed(20, 1), -500), nil, bounds{1, 5}, bounds{2, 12}, bounds{3, 10_100}, bounds{6, 10_100}},
		{"wander, standing queue", skewed(20, 1), standing(5e-3, 300), bounds{1, 130}, bounds{2.5, 130}, bounds{2.5, 250}, bounds{5, 250}},
	} {
		t.Run(test.name, func(t *testing.T) {
			check := func(seed uint64, period float64, deaf bool, most bounds) {
				w := newWorld(seed, period, test.ahead)
				w.queue, w.deaf = test.queue, deaf
				if p50, p99 := errors(w.run(3600)); p50 > most.p50 || p99 > most.p99 {
					t.Errorf("every %v s, one way only %v: %.2f and %.2f, at most %v wanted", period, deaf, p50, p99, most)
				}
			}
			for seed := range uint64(5) {
				check(seed, 0.1, false, test.fast)
				check(seed, 1, false, test.slow)
				check(seed, 0.1, true, test.fastOneWay)
				check(seed, 1, true, test.slowOneWay)
			}
		})
	}
}

// Either side may send more often than the other.
func TestPeriods(t *testing.T) {
	for _, test := range []struct{ period, ours, p50, p99 float64 }{{0.1, 10, 2, 8}, {1, 0.1, 2, 8}, {0.01, 10, 1, 4}, {0.01, 100, 2, 8}} {
		w := newWorld(1, test.period, slewed(skewed(100, 0), 500))
		w.ours = test.ours * 1.00001
		all := w.run(3600)
		if p50, p99 := errors(all); p50 > test.p50 || p99 > test.p99 {
			t.Errorf("every %v s, %v as often: errors of %.2f and %.2f µs", test.period, test.ours, p50, p99)
		}
	}
}

// A clock jumps when its host was suspended. This makes no queue that lasts.
func TestJump(t *testing.T) {
	for _, by := range []float64{3600, 2, 0.3, 0.01, 0.001, 0.0003, -0.0003, -0.001, -0.01, -0.3, -2, -3600} {
		for _, period := range []float64{0.1, 1} {
			w := newWorld(1, period, stepped(skewed(20, 0), by))
			w.smooth = true
			all := w.run(3600)
			bucket := max(1, bucketCount*period)
			if e := worst(all, 1500.3+2*period, 3600); e > 150 {
				t.Errorf("by %v s, every %v s: error of %.0f µs from the third heartbeat on", by, period, e)
			}
			if e := worst(all, 1500.3+4*bucket, 3600); e > 40 {
				t.Errorf("by %v s, every %v s: error of %.0f µs from the fourth second on", by, period, e)
			}
		}
	}
}

// Without round trips a clock that jumps ahead has no queue either. One that jumps back looks like a queue
// for a while, unless it jumps further than any queue is long.
func TestJumpOneWay(t *testing.T) {
	for by, most := range map[float64]float64{3600: 10, 0.01: 10, -0.01: 1100, -3600: 10} {
		w := newWorld(1, 0.1, stepped(skewed(20, 0), by))
		w.smooth, w.deaf = true, true
		if e := worst(w.run(3600), 1500.3+most, 3600); e > 150 {
			t.Errorf("by %v s: error of %.0f µs after %v s", by, e, most)
		}
	}
}

// A shorter route makes no queue, and is the base after two buckets. A longer one looks like a queue until
// the base has expired.
func TestRoute(t *testing.T) {
	for _, period := range []float64{0.1, 1} {
		bucket := max(1, bucketCount*period)
		w := newWorld(1, period, skewed(20, 0.1))
		w.smooth = true
		w.queue = func(t float64) float64 { return 5e-3 - standing(5e-3, 1000)(t) }
		all := w.run(4000)
		for i := range all {
			if e := &all[i]; e.at < 1500 || e.at > 2500+2*549.8+bucket {
				e.queued -= 5e-3
			}
		}
		for _, part := range []struct{ from, to, most float64 }{
			{0, 5, 100}, {5, 1500, 50}, {1500, 1500 + 3*bucket, 400}, {1500 + 3*bucket, 2500, 50}, {2500, 2500 + 549, 150},
			{2500 + 2*549.8 + 2*bucket, 4000, 50},
		} {
			if e := worst(all, part.from, part.to); e > part.most {
				t.Errorf("every %v s, from %v to %v s: error of %.0f µs, at most %v wanted", period, part.from, part.to, e, part.most)
			}
		}
	}
}

// The line lasts through a silence.
func TestSilence(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		w := newWorld(1, 1, skewed(50, 0.2))
		w.deaf, w.silence = deaf, [2]float64{1000, 1600}
		w.smooth = true
		if e := worst(w.run(3600), 100, 3600); e > 150 {
			t.Errorf("deaf %v: error of %.0f µs", deaf, e)
		}
	}
}
