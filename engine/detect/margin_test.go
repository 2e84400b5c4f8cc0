package detect

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"systole/engine/clock"
	"systole/engine/internal/margins"
)

// path is a model of a sender and its network.
type path struct {
	name  string
	delay func(r *rand.Rand) float64 // seconds
	loss  func(r *rand.Rand, bad *bool) bool
	stall func(r *rand.Rand) float64 // seconds for which the sender stalls now, mostly 0
}

// independent loses each heartbeat with probability p.
func independent(p float64) func(*rand.Rand, *bool) bool {
	return func(r *rand.Rand, _ *bool) bool { return r.Float64() < p }
}

// bursts is Gilbert's model of loss (1960): p and q are the probabilities to enter and to leave the
// bad state, in which all heartbeats are lost.
func bursts(p, q float64) func(*rand.Rand, *bool) bool {
	return func(r *rand.Rand, bad *bool) bool {
		if *bad {
			*bad = r.Float64() >= q
		} else {
			*bad = r.Float64() < p
		}
		return *bad
	}
}

// lognormal returns delays of base plus a lognormal part.
func lognormal(base, median, sigma float64) func(*rand.Rand) float64 {
	return func(r *rand.Rand) float64 { return base + median*math.Exp(sigma*r.NormFloat64()) }
}

// stalls returns stalls of least plus an exponential time with this mean, with probability p per
// heartbeat.
func stalls(p, least, mean float64) func(*rand.Rand) float64 {
	return func(r *rand.Rand) float64 {
		if r.Float64() >= p {
			return 0
		}
		return least + mean*r.ExpFloat64()
	}
}

var paths = []path{
	{"lan", lognormal(100e-6, 20e-6, 0.8), independent(1e-5), stalls(1e-3, 0, 5e-3)},
	{"wan", lognormal(70e-3, 2e-3, 0.7), bursts(5e-4, 0.5), stalls(1e-4, 0, 20e-3)},
	{"cloud", lognormal(300e-6, 100e-6, 1), bursts(2e-5, 0.3), stalls(1e-3, 1e-3, 10e-3)},
	{"gc", lognormal(150e-6, 30e-6, 0.8), independent(1e-5), stalls(1e-2, 5e-3, 20e-3)},
	{"lossy", lognormal(20e-3, 3e-3, 0.8), independent(0.05), stalls(0, 0, 0)},
}

// drive sends heartbeats over a path to d for some hours after a warm-up, in hours too. It returns
// the number of mistakes after the warm-up, and the mean detection time, from a send to the
// deadline that the heartbeat sets.
func (p *path) drive(d Detector, seed uint64, period time.Duration, warmup, hours float64) (mistakes int, detection time.Duration) {
	r := rand.New(rand.NewPCG(seed, 9))
	state := make([]uint64, d.Words())
	suspect, _ := d.Levels()
	start := clock.Instant(time.Hour)
	counted := start.Add(time.Duration(warmup * float64(time.Hour)))
	deadline, latest := clock.Never, clock.Instant(0)
	bad, free := false, 0.0 // the sender is stalled until free, seconds from start
	var sum, n float64
	for s := uint64(1); ; s++ {
		due := start.Add(time.Duration(s) * period)
		if due > counted.Add(time.Duration(hours*float64(time.Hour))) {
			return mistakes, time.Duration(sum / n)
		}
		at := due.Sub(start).Seconds()
		if stall := p.stall(r); stall > 0 {
			free = max(free, at) + stall
		}
		send := start.Add(time.Duration(max(at, free) * 1e9))
		if p.loss(r, &bad) {
			continue
		}
		arrival := max(send.Add(time.Duration(p.delay(r)*1e9)), latest)
		latest = arrival
		if arrival > deadline && due > counted {
			mistakes++
		}
		// Late is 0: a stalled sender does not know about its stall.
		Take(d, state, &Heartbeat{Sequence: s, Send: due, Arrival: arrival, Period: period})
		deadline = d.Deadline(state, suspect)
		if due > counted {
			sum += float64(deadline.Sub(send))
			n++
		}
	}
}

// After a day of warm-up there are less than twice the promised mistakes, on paths of all kinds,
// without parameters for any of them.
func TestMarginPromise(t *testing.T) {
	const hours, warmup = 200.0, 24.0
	for i, p := range paths {
		mistakes, detection := p.drive(newMargin(MarginOptions{MistakeEvery: time.Hour}), uint64(i)+1, 100*ms, warmup, hours)
		perHour := float64(mistakes) / hours
		t.Logf("%-6s %.2f mistakes per hour promised 1, mean detection time %v", p.name, perHour, detection.Round(10*time.Microsecond))
		if perHour > 2 {
			t.Errorf("%s: %.2f mistakes per hour, promised 1", p.name, perHour)
		}
	}
}

// Of all arrivals, 10^-level come after φ has reached level, for levels that the samples support.
func TestMarginLevelsAreShares(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	d := newMargin(MarginOptions{})
	state := make([]uint64, d.Words())
	beyond := make([]float64, 5)
	const n, warmup = 400_000, 20_000
	start := clock.Instant(time.Hour)
	for s := uint64(1); s <= n; s++ {
		due := start.Add(time.Duration(s) * 100 * ms)
		arrival := due.Add(time.Duration((2e-3 + 5e-3*r.ExpFloat64()) * 1e9))
		if s > warmup {
			for level := range beyond {
				if level > 0 && arrival > d.Deadline(state, float64(level)) {
					beyond[level]++
				}
			}
		}
		Take(d, state, &Heartbeat{Sequence: s, Send: due, Arrival: arrival, Period: 100 * ms})
	}
	for level := 1; level < len(beyond); level++ {
		want := (n - warmup) * math.Pow(10, -float64(level))
		if got := beyond[level]; got > 1.5*want+3*math.Sqrt(want) || got < want/1.5-3*math.Sqrt(want) {
			t.Errorf("φ %d: exceeded %v times of %d, want %v", level, got, n-warmup, want)
		}
	}
}

// Quantiles of the histogram are within a bucket of the exact ones, and share is their inverse.
func TestMarginQuantiles(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	state := make([]uint64, marginWords)
	var all []float64
	for range 20_000 {
		m := math.Exp(math.Log(1e5) + math.Log(1e5)*r.Float64()) // 0.1 ms to 10 s
		all = append(all, m)
		margins.AddCount(state[marginNow:marginBefore], margins.Bucket(time.Duration(m)), r.Uint64())
	}
	state[marginSamples] = uint64(len(all)) << 32
	slices.Sort(all)
	var c margins.Curve
	gather(state, &c)
	for _, beyond := range []int{20, 100, 2000, 15_000} {
		want := all[len(all)-1-beyond]
		if got, _ := c.Beyond(float64(beyond)); got < want/1.3 || got > want*1.3 {
			t.Errorf("%d samples lie beyond %v, exact %v", beyond, got, want)
		}
	}
	for level := 0.1; level < 8; level += 0.1 {
		if got := -math.Log10(c.Share(c.At(level))); math.Abs(got-level) > 0.02 {
			t.Errorf("level %v: a share of 10^-%v lies beyond the margin", level, got)
		}
	}
	for i := 1; i < margins.Buckets-1; i++ {
		at := time.Duration(margins.Edge(i))
		if low, high := margins.Bucket(at-at/500), margins.Bucket(at+at/500); low != i || high != i+1 {
			t.Errorf("around the upper end of bucket %d: %d, %d", i, low, high)
		}
	}
}

// A new peer gets the floor. A silence that was judged a failure counts only up to the margin of
// failure.
func TestMarginPrior(t *testing.T) {
	d := newMargin(MarginOptions{Floor: 250 * ms})
	state := make([]uint64, d.Words())
	h := beats(d, state, 1, 1, 100*ms, ms)
	suspect, fail := d.Levels()
	if got := d.Deadline(state, suspect).Sub(h.Arrival); got < 350*ms || got > 352*ms {
		t.Errorf("a new peer is suspect after %v, want a period and the floor", got)
	}
	h = beats(d, state, 2, 1000, 100*ms, ms)
	before := d.Deadline(state, fail).Sub(h.Arrival)
	h.Sequence += 36000
	h.Send, h.Arrival = h.Send.Add(time.Hour), h.Arrival.Add(time.Hour)
	Take(d, state, &h)
	if after := d.Deadline(state, suspect).Sub(h.Arrival); after > 2*before {
		t.Errorf("after an hour of silence, suspect after %v; failed after %v before", after, before)
	}
}

// The promise is kept for senders with shorter and longer periods than the detector's.
func TestMarginPromiseForEveryPeriod(t *testing.T) {
	for _, period := range []time.Duration{20 * ms, time.Second} {
		mistakes, detection := paths[1].drive(newMargin(MarginOptions{MistakeEvery: time.Hour}), 3, period, 50, 100)
		t.Logf("period %v: %d mistakes in 100 hours, mean detection time %v", period, mistakes, detection)
		if mistakes > 2*100 {
			t.Errorf("period %v: %d mistakes in 100 hours, promised one an hour", period, mistakes)
		}
	}
}

// The deadline stays near Within when the period changes, and for late heartbeats within the
// promise, even if most margins lie in one bucket.
func TestMarginGrantsWithin(t *testing.T) {
	const within = 200 * time.Millisecond
	for name, of := range map[string]func(i int) (period, late time.Duration){
		"slower":     func(i int) (time.Duration, time.Duration) { return time.Duration(10+i/12*40) * time.Millisecond, 0 },
		"faster":     func(i int) (time.Duration, time.Duration) { return time.Duration(130-i/12*40) * time.Millisecond, 0 },
		"one bucket": func(int) (time.Duration, time.Duration) { return 10 * time.Millisecond, 180 * time.Millisecond },
	} {
		d := newMargin(MarginOptions{MistakeEvery: time.Hour, Period: 10 * time.Millisecond, Within: within})
		suspect, _ := d.Levels()
		state := make([]uint64, d.Words())
		at := clock.Instant(time.Hour)
		for i := range 48 {
			period, late := of(i)
			at = at.Add(period + late)
			Take(d, state, &Heartbeat{Sequence: uint64(i + 1), Send: at, Arrival: at, Period: period})
			if granted := d.Deadline(state, suspect).Sub(at); granted > within+within/100 || granted < within/2 {
				t.Errorf("%s: %v granted after heartbeat %d, of %v", name, granted, i+1, within)
			}
		}
	}
}

// The promise is kept on a path that is ten times noisier for half of each day.
func TestMarginPromiseThroughTheDay(t *testing.T) {
	const hours, warmup = 144.0, 24.0
	beats := 0
	calm, noisy := lognormal(200e-6, 1e-3, 1), lognormal(200e-6, 10e-3, 1)
	day := path{"day", func(r *rand.Rand) float64 {
		if beats++; beats/(12*36000)%2 == 0 {
			return calm(r)
		}
		return noisy(r)
	}, independent(0), stalls(0, 0, 0)}
	mistakes, detection := day.drive(newMargin(MarginOptions{MistakeEvery: time.Hour}), 1, 100*ms, warmup, hours)
	t.Logf("%.2f mistakes per hour promised 1, mean detection time %v", float64(mistakes)/hours, detection)
	if float64(mistakes) > 2*hours {
		t.Errorf("%d mistakes in %v hours, promised one an hour", mistakes, hours)
	}
}

// The bucket of mistakes by hand: it holds 47 ticks, a mistake adds eight, and one leaks per tick.
func TestSurpriseByHand(t *testing.T) {
	const tick = time.Minute
	for _, tt := range []struct {
		name  string
		every time.Duration // between two mistakes
		want  int           // the mistake that fills the bucket; 0: none of 1000
	}{
		{"at once", 0, 6}, {"four ticks apart", 4 * tick, 11}, {"seven", 7 * tick, 41},
		{"twice the promise", 8 * tick, 0}, {"as promised", 16 * tick, 0}, {"seldom", 1000 * tick, 0},
	} {
		state := make([]uint64, marginWords)
		const others = marginDue | 1<<marginSurprise - 1
		state[marginNotes] = others
		at, got := clock.Instant(100*tick), 0
		for n := 1; n <= 1000 && got == 0; n++ {
			if surprise(state, at, tick) {
				got = n
			}
			at = at.Add(tt.every)
			if state[marginNotes]&others != others {
				t.Fatalf("%s: the other notes changed: %x", tt.name, state[marginNotes])
			}
		}
		if got != tt.want {
			t.Errorf("%s: mistake %d fills the bucket, want %d", tt.name, got, tt.want)
		}
		if got != 0 && surprise(state, at, tick) {
			t.Errorf("%s: it was not emptied", tt.name)
		}
	}
}
