package detect

import (
	"math"
	"testing"
	"time"

	"systole/engine/clock"
	"systole/engine/internal/margins"
)

// next returns the heartbeat after h of a perfect sender, with this much delay on the path beyond 1
// ms.
func next(h Heartbeat, late time.Duration) Heartbeat {
	h.Sequence++
	h.Send = h.Send.Add(h.Period)
	h.Arrival = h.Send.Add(ms + late)
	return h
}

// A pause of this node does not increase the peer's margin.
func TestMarginIgnoresPauses(t *testing.T) {
	learned := func(paused time.Duration) time.Duration {
		d := newMargin(MarginOptions{Floor: time.Minute})
		state := make([]uint64, d.Words())
		h := beats(d, state, 1, 5000, 100*ms, ms)
		late := next(h, 5*time.Second)
		late.Paused = paused
		Take(d, state, &late)
		return time.Duration(state[marginMost]>>32) << margins.Unit
	}
	if got := learned(0); got < 4900*ms || got > 5000*ms {
		t.Errorf("a heartbeat 5s late: learned %v", got)
	}
	if got := learned(5 * time.Second); got > ms {
		t.Errorf("a heartbeat 5s late by our pause: learned %v", got)
	}
}

// The next heartbeat is expected by the later of the last offset and the long mean: an early
// heartbeat does not move the expected arrival, and a late one does.
func TestMarginExpectsLaterMean(t *testing.T) {
	for _, tt := range []struct{ late, want time.Duration }{{-500 * time.Microsecond, 0}, {0, 0}, {30 * ms, 30 * ms}} {
		d := newMargin(MarginOptions{})
		state := make([]uint64, d.Words())
		h := beats(d, state, 1, 5000, 100*ms, ms)
		usual := h.Arrival.Add(200 * ms)
		h = next(h, tt.late)
		Take(d, state, &h)
		got := clock.Instant(state[marginExpected]).Sub(usual)
		if got < tt.want-time.Microsecond || got > tt.want+time.Microsecond {
			t.Errorf("a heartbeat %v later than usual: the next is expected %v later", tt.late, got)
		}
	}
}

// A generation is eight times MistakeEvery. A margin is forgotten after two generations.
func TestMarginForgets(t *testing.T) {
	d := newMargin(MarginOptions{MistakeEvery: 10 * time.Minute, Final: true}) // a generation is 8 · 6000 heartbeats
	state := make([]uint64, d.Words())
	h := beats(d, state, 1, 1000, 100*ms, ms)
	late := next(h, time.Second)
	Take(d, state, &late)
	most := func() time.Duration {
		return time.Duration(max(state[marginMost]>>32, state[marginMost]&math.MaxUint32)) << margins.Unit
	}
	for _, tt := range []struct {
		heartbeats uint64
		remembered bool
	}{{48_000, true}, {95_000, true}, {97_000, false}} {
		h = beats(d, state, h.Sequence+1, tt.heartbeats-h.Sequence, 100*ms, ms)
		if got := most() > 900*ms; got != tt.remembered {
			t.Errorf("after %d heartbeats the greatest margin is %v", tt.heartbeats, most())
		}
	}
}

// A peer is failed after X deadlines: X margins and X-1 periods.
func TestMarginFailsAfterXDeadlines(t *testing.T) {
	d := newMargin(MarginOptions{Final: true, X: 20, Floor: 200 * ms, FailAfter: 2, FailFloor: 1})
	state := make([]uint64, d.Words())
	h := beats(d, state, 1, 1, 100*ms, ms)
	suspect, fail := d.Levels()
	margin := d.Deadline(state, suspect).Sub(h.Arrival) - 100*ms
	want := 20 * (margin + 100*ms)
	if got := d.Deadline(state, fail).Sub(h.Arrival); got < want || got > want+want/500 {
		t.Errorf("failed after %v, %v is 20 deadlines", got, want)
	}
}

// Without Final a deadline of suspicion counts X times only up to Within or Floor, and a quarter is
// added to a learned one. With Final all of it counts X times.
func TestMarginFailsSoonerUnlessFinal(t *testing.T) {
	const within, period = 50 * ms, 10 * ms
	for _, tt := range []struct {
		name  string
		d     *marginDetector
		shown time.Duration // lateness of one of a thousand heartbeats; 0: there is only one
		want  time.Duration // from the last arrival
	}{
		{"the floor", newMargin(MarginOptions{}), 0, 400 * ms},
		{"four deadlines", newMargin(MarginOptions{FailFloor: 1}), 0, 200 * ms},
		{"a quarter beyond the learned margin", newMargin(MarginOptions{}), 350 * ms, (357 + 10) * ms * 5 / 4},
		{"final, the floor", newMargin(MarginOptions{Final: true}), 0, 2 * time.Second},
		{"final, ten deadlines", newMargin(MarginOptions{Final: true, FailFloor: 1}), 0, 500 * ms},
		{"final, ten learned deadlines", newMargin(MarginOptions{Final: true}), 350 * ms, (357 + 10) * ms * 10},
	} {
		d := tt.d
		d.Period, d.Within = period, within
		state := make([]uint64, d.Words())
		h := beats(d, state, 1, 1, period, ms)
		if tt.shown != 0 {
			h = beats(d, state, 2, 997, period, ms)
			h = next(h, tt.shown)
			Take(d, state, &h)
			h = next(h, 0)
			Take(d, state, &h)
		}
		d.Learn(state, nil)
		_, fail := d.Levels()
		if got := d.Deadline(state, fail).Sub(h.Arrival); got < tt.want-tt.want/100 || got > tt.want+tt.want/100 {
			t.Errorf("%s: failed after %v, want %v", tt.name, got, tt.want)
		}
	}
}

// fitted returns the margin of suspicion after 1000 heartbeats, one of which was late.
func fitted(d *marginDetector, late time.Duration) time.Duration {
	state := make([]uint64, d.Words())
	h := beats(d, state, 1, 998, 100*ms, ms)
	h = next(h, late)
	Take(d, state, &h)
	h = next(h, 0)
	Take(d, state, &h)
	d.Learn(state, nil)
	return knot(state, marginSuspect)
}

// A thousand samples support φ 3. From there to one mistake a day, φ 5.94, the margin grows from
// the greatest sample as the floor does: 300 ms over 5.94 levels. Within bounds the margin at
// levels without support, but not below the greatest sample.
func TestMarginBeyondSamples(t *testing.T) {
	line := 300 * ms * 294 / 594
	for _, tt := range []struct {
		name       string
		d          *marginDetector
		late, want time.Duration
	}{
		{"none late", newMargin(MarginOptions{}), 0, line},
		{"400 ms late", newMargin(MarginOptions{}), 400 * ms, 408*ms + line},
		{"bounded", newMargin(MarginOptions{Within: 200 * ms}), 50 * ms, 51*ms + 100*ms*294/594},
		{"bounded, and later than that", newMargin(MarginOptions{Within: 200 * ms}), 150 * ms, 153 * ms},
		{"bounded, and nearly as late", newMargin(MarginOptions{Within: 200 * ms}), 90 * ms, 100 * ms},
	} {
		if got := fitted(tt.d, tt.late); got < tt.want-2*ms || got > tt.want+2*ms {
			t.Errorf("%s: margin %v, want %v", tt.name, got, tt.want)
		}
	}
}

// Beyond the samples of the class, the prior grows from their greatest as the floor does.
func TestPriorBeyondClass(t *testing.T) {
	var pool margins.Pool
	for i := range 1000 {
		late := time.Duration(0)
		if i == 300 || i == 400 || i == 500 { // three peers, so the last counts
			late = 400 * ms
		}
		pool.Note(&margins.Gap{Peer: uint32(i), Arrival: clock.Instant(i) * clock.Instant(time.Second), Interval: 100*ms + late, Period: 100 * ms})
	}
	class := pool.Late()
	p := newPrior(&class, float64(50*ms))
	for level, want := range map[float64]float64{2: class.At(2), 3: class.At(3), 5: float64(max(400*ms, time.Duration(class.At(3))) + 100*ms)} {
		if got := p.at(level, margins.ShareAt(level)); math.Abs(got-want) > 1 {
			t.Errorf("level %v: %v, want %v", level, time.Duration(got), time.Duration(want))
		}
	}
}

// Beyond failure, φ grows no faster than in the prior, however steady the peer is.
func TestMarginSlope(t *testing.T) {
	d := newMargin(MarginOptions{Floor: 594 * ms})
	state := make([]uint64, d.Words())
	beats(d, state, 1, 2000, 100*ms, ms)
	if got := time.Duration(state[marginSlope]); got < 99*ms || got > 101*ms {
		t.Errorf("%v per level, want the floor's 100ms", got)
	}
}

// Runs of losses longer than any measured one have a geometric tail. A margin of k periods is
// exceeded by runs from k+1 on.
func TestRunsBeyondMeasured(t *testing.T) {
	var p margins.Pool
	for range 10 {
		for run, times := range []int{960, 20, 10, 5, 5} {
			for range times {
				p.Note(&margins.Gap{Interval: time.Duration(run+1) * 100 * ms, Period: 100 * ms, Lost: uint64(run)})
			}
		}
	}
	w := newForecast(&Known{Pool: &p})
	// 400 runs of at least one, 200 of two, 100 of three, 50 of four: ratio 1 - 400/750.
	more := 1 - 400.0/750
	for _, k := range []int{6, 8, 12} {
		want := 0.04 * math.Pow(more, float64(k))
		if got := w.share(100*ms, time.Duration(k)*100*ms); math.Abs(got-want) > 1e-9 {
			t.Errorf("beyond %d periods: %v, want %v", k, got, want)
		}
	}
}

// Two lost heartbeats in a row happen three or seven times an hour here, each with the same margin
// of two periods. The promise is kept wherever that margin lies in its bucket.
func TestMarginCoversLump(t *testing.T) {
	const hours, warmup = 100.0, 12.0
	for _, tt := range []struct {
		period time.Duration
		loss   float64
	}{{100 * ms, 0.0085}, {103 * ms, 0.01}, {106 * ms, 0.015}} {
		p := path{"lump", lognormal(200e-6, 500e-6, 0.7), independent(tt.loss), stalls(0, 0, 0)}
		mistakes, detection := p.drive(newMargin(MarginOptions{MistakeEvery: time.Hour, Period: tt.period}), 1, tt.period, warmup, hours)
		t.Logf("period %v, loss %v: %d mistakes in %v hours, mean detection time %v", tt.period, tt.loss, mistakes, hours, detection)
		if mistakes > 2*hours {
			t.Errorf("period %v, loss %v: %d mistakes in %v hours, promised one an hour", tt.period, tt.loss, mistakes, hours)
		}
	}
}
