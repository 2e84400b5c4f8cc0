package detect

import (
	"math"
	"testing"
	"time"

	"systole/engine/clock"
)

// next returns the heartbeat after h by a perfect sender, late by this much on the path.
func next(h Heartbeat, late time.Duration) Heartbeat {
	h.Sequence++
	h.Send = h.Send.Add(h.Period)
	h.Arrival = h.Send.Add(ms + late)
	return h
}

// What this node stood still is not in the margin that the peer is granted.
func TestMarginPausedTeachesNothing(t *testing.T) {
	taught := func(paused time.Duration) time.Duration {
		d := &Margin{Floor: time.Minute}
		state := make([]uint64, d.Words())
		h := beats(d, state, 1, 5000, 100*ms, ms)
		late := next(h, 5*time.Second)
		late.Paused = paused
		Take(d, state, &late)
		return time.Duration(state[marginMost]>>32) << marginUnit
	}
	if got := taught(0); got < 4900*ms || got > 5000*ms {
		t.Errorf("a heartbeat 5s late taught %v", got)
	}
	if got := taught(5 * time.Second); got > ms {
		t.Errorf("a heartbeat that our pause of 5s made late taught %v", got)
	}
}

// The next heartbeat is expected by the later of the last offset and the long mean: one that
// was faster than usual does not bring it forward, and one that was slower puts it off.
func TestMarginExpectsTheLater(t *testing.T) {
	for _, tt := range []struct{ late, want time.Duration }{{-500 * time.Microsecond, 0}, {0, 0}, {30 * ms, 30 * ms}} {
		d := &Margin{}
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

// A generation is eight of the promised time: what is two of them old is forgotten.
func TestMarginForgets(t *testing.T) {
	d := &Margin{MistakeEvery: 10 * time.Minute, Final: true} // 6000 heartbeats, so a generation is 48000
	state := make([]uint64, d.Words())
	h := beats(d, state, 1, 1000, 100*ms, ms)
	late := next(h, time.Second)
	Take(d, state, &late)
	most := func() time.Duration {
		return time.Duration(max(state[marginMost]>>32, state[marginMost]&math.MaxUint32)) << marginUnit
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

// A peer is failed no sooner than after X deadlines: X margins, and X-1 periods between.
func TestMarginFailsAfterXDeadlines(t *testing.T) {
	d := &Margin{Final: true, X: 20, Floor: 200 * ms, FailAfter: 2, FailFloor: 1}
	state := make([]uint64, d.Words())
	h := beats(d, state, 1, 1, 100*ms, ms)
	suspect, fail := d.Levels()
	margin := d.Deadline(state, suspect).Sub(h.Arrival) - 100*ms
	want := 20 * (margin + 100*ms)
	if got := d.Deadline(state, fail).Sub(h.Arrival); got < want || got > want+want/500 {
		t.Errorf("failed after %v, %v is 20 deadlines", got, want)
	}
}

// Where failure heals a deadline of suspicion counts X times only as far as it was granted
// unseen; of what was shown a quarter is added. Where it is final, all of it counts X times.
func TestMarginFailsSoonerWhereItHeals(t *testing.T) {
	const within, period = 50 * ms, 10 * ms
	for _, tt := range []struct {
		name  string
		d     *Margin
		shown time.Duration // once among a thousand heartbeats; 0: only one was heard
		want  time.Duration // from the last arrival
	}{
		{"the floor", &Margin{}, 0, 400 * ms},
		{"four deadlines", &Margin{FailFloor: 1}, 0, 200 * ms},
		{"a quarter beyond what was shown", &Margin{}, 350 * ms, (357 + 10) * ms * 5 / 4},
		{"final, the floor", &Margin{Final: true}, 0, 2 * time.Second},
		{"final, ten deadlines", &Margin{Final: true, FailFloor: 1}, 0, 500 * ms},
		{"final, ten of what was shown", &Margin{Final: true}, 350 * ms, (357 + 10) * ms * 10},
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

// fitted returns the margin at the level of suspicion after 1000 heartbeats, of which one was
// late by this much.
func fitted(d *Margin, late time.Duration) time.Duration {
	state := make([]uint64, d.Words())
	h := beats(d, state, 1, 998, 100*ms, ms)
	h = next(h, late)
	Take(d, state, &h)
	h = next(h, 0)
	Take(d, state, &h)
	d.Learn(state, nil)
	return knot(state, marginSuspect)
}

// A thousand samples vouch for φ 3. From there to one mistake a day, 5.94, the margin grows
// as the floor's line does, 300 ms over 5.94 levels, from what was seen at most; and Within
// bounds what is not vouched for, but not below what was seen.
func TestMarginBeyondItsSamples(t *testing.T) {
	line := 300 * ms * 294 / 594
	for _, tt := range []struct {
		name       string
		d          *Margin
		late, want time.Duration
	}{
		{"nothing seen", &Margin{}, 0, line},
		{"400 ms seen", &Margin{}, 400 * ms, 408*ms + line},
		{"bounded", &Margin{Within: 200 * ms}, 50 * ms, 51*ms + 100*ms*294/594},
		{"bounded, and more was seen", &Margin{Within: 200 * ms}, 150 * ms, 153 * ms},
		{"bounded whole", &Margin{Within: 200 * ms}, 90 * ms, 100 * ms},
	} {
		if got := fitted(tt.d, tt.late); got < tt.want-2*ms || got > tt.want+2*ms {
			t.Errorf("%s: margin %v, want %v", tt.name, got, tt.want)
		}
	}
}

// The prior is what the class has shown as far as it vouches, and goes on from there by the
// floor's line, from what the class saw at most.
func TestPriorBeyondItsClass(t *testing.T) {
	var pool Pool
	for i := range 1000 {
		late := time.Duration(0)
		if i == 300 || i == 400 || i == 500 { // the last of three peers' counts whole
			late = 400 * ms
		}
		pool.Note(&Gap{Peer: uint32(i), Arrival: clock.Instant(i) * clock.Instant(time.Second), Interval: 100*ms + late, Period: 100 * ms})
	}
	var class curve
	pool.late.curve(&class)
	p := newPrior(&class, float64(50*ms))
	for level, want := range map[float64]float64{2: class.at(2), 3: class.at(3), 5: float64(max(400*ms, time.Duration(class.at(3))) + 100*ms)} {
		if got := p.at(level, shareAt(level)); math.Abs(got-want) > 1 {
			t.Errorf("level %v: %v, want %v", level, time.Duration(got), time.Duration(want))
		}
	}
}

// The mean excess of exponential margins is their mean, wherever it is taken from. The middle
// of a bucket, a quarter wide, stands for what is in it, so it is a fifth off at most.
func TestExcessIsTheMean(t *testing.T) {
	const n, mean = 1e6, float64(50 * ms)
	c := curve{n: n}
	for i := 1; i < marginBuckets; i++ {
		c.counts[i] = n * (math.Exp(-marginEdge(i-1)/mean) - math.Exp(-marginEdge(i)/mean))
	}
	for _, samples := range []float64{10, 100, 1000} {
		if margin, excess := c.beyond(samples); math.Abs(excess/mean-1) > 0.2 {
			t.Errorf("beyond %v, which %v of a million exceed, the mean excess is %v, want %v",
				time.Duration(margin), samples, time.Duration(excess), time.Duration(mean))
		}
	}
}

// Beyond failure φ grows no faster than by the prior, however steady the peer is.
func TestMarginSlopeIsThePriors(t *testing.T) {
	d := &Margin{Floor: 594 * ms}
	state := make([]uint64, d.Words())
	beats(d, state, 1, 2000, 100*ms, ms)
	if got := time.Duration(state[marginSlope]); got < 99*ms || got > 101*ms {
		t.Errorf("%v per level, the floor's line is 100ms", got)
	}
}

// An offset is a step beyond two minutes, in either direction, and a path up to there.
func TestOffsetStepLedger(t *testing.T) {
	for _, tt := range []struct {
		off  time.Duration
		step bool
	}{{2 * time.Minute, false}, {2*time.Minute + 1, true}, {-2 * time.Minute, false}, {-2*time.Minute - 1, true}} {
		d := &Chen{}
		state := make([]uint64, d.Words())
		h := beats(d, state, 1, 40, 10*ms, ms)
		h = next(h, tt.off)
		Take(d, state, &h)
		if got := state[chenOffsets+offsetsCount] == 1; got != tt.step {
			t.Errorf("an offset of %v: the window started anew: %v", tt.off, got)
		}
	}
}

// A pool halves all that it remembers, so its shares and its rate stay.
func TestPoolHalves(t *testing.T) {
	var p Pool
	for i := range 1000 {
		p.Note(&Gap{Interval: time.Duration(100+i%10) * ms, Period: 100 * ms, Lost: uint64(i % 4)})
	}
	before := p
	p.halve()
	if p.late.n != 500 || p.net.n != 500 || p.time != before.time/2 || p.late.most != before.late.most/2 {
		t.Errorf("%d and %d heartbeats, %v, most %v; before 1000, %v, %v", p.late.n, p.net.n, p.time, p.late.most, before.time, before.late.most)
	}
	for k, n := range before.runs {
		if p.runs[k] != n/2 {
			t.Errorf("%d runs of %d, before %d", p.runs[k], k, n)
		}
	}
}

// Runs of losses longer than any seen go on as the seen ones did: where each lost heartbeat is
// followed by another in half the cases, a margin of k periods is exceeded by runs from k+1 on.
func TestRunsBeyondTheSeen(t *testing.T) {
	var p Pool
	for range 10 {
		for run, times := range []int{960, 20, 10, 5, 5} {
			for range times {
				p.Note(&Gap{Interval: time.Duration(run+1) * 100 * ms, Period: 100 * ms, Lost: uint64(run)})
			}
		}
	}
	w := newWeigh(&Known{Pool: &p})
	// Runs of one and more 400, of two 200, three 100, four 50: ratio 1 - 400/750.
	more := 1 - 400.0/750
	for _, k := range []int{6, 8, 12} {
		want := 0.04 * math.Pow(more, float64(k))
		if got := w.share(100*ms, time.Duration(k)*100*ms); math.Abs(got-want) > 1e-9 {
			t.Errorf("beyond %d periods: %v, want %v", k, got, want)
		}
	}
}

// Two lost heartbeats in a row are three or seven an hour here, all of the same margin, two
// periods: whether it is granted or not must not hang on where in its bucket that lies.
func TestMarginCoversALump(t *testing.T) {
	const hours, warmup = 100.0, 12.0
	for _, tt := range []struct {
		period time.Duration
		loss   float64
	}{{100 * ms, 0.0085}, {103 * ms, 0.01}, {106 * ms, 0.015}} {
		p := path{"lump", lognormal(200e-6, 500e-6, 0.7), independent(tt.loss), stalls(0, 0, 0)}
		mistakes, detection := p.drive(&Margin{MistakeEvery: time.Hour, Period: tt.period}, 1, tt.period, warmup, hours)
		t.Logf("period %v, loss %v: %d mistakes in %v hours, mean detection time %v", tt.period, tt.loss, mistakes, hours, detection)
		if mistakes > 2*hours {
			t.Errorf("period %v, loss %v: %d mistakes in %v hours, promised one an hour", tt.period, tt.loss, mistakes, hours)
		}
	}
}

// Where the tail rises the end of the bucket counts, for at and for share; where it falls, and
// in the body, samples lie evenly.
func TestLumpLedger(t *testing.T) {
	const i = 30 // a bucket
	low, high := marginEdge(i-1), marginEdge(i)
	middle := (low + high) / 2
	for _, tt := range []struct {
		name        string
		below, here float64
		all         float64 // samples
		lump        bool
	}{
		{"rises", 0, 40, 1e6, true}, {"falls", 80, 40, 1e6, false}, {"rises by chance", 30, 40, 1e6, false},
		{"rises in the body", 0, 40, 100, false},
	} {
		c := curve{n: tt.all}
		c.counts[i-1], c.counts[i], c.counts[i+1] = tt.below, tt.here, 10
		want, beyond := middle, 30.0
		if tt.lump {
			want, beyond = high, 50
		}
		if got, _ := c.beyond(30); got != want {
			t.Errorf("%s: 30 samples lie beyond %v of the bucket, want %v", tt.name, (got-low)/(high-low), (want-low)/(high-low))
		}
		if got := c.share(middle) * tt.all; math.Abs(got-beyond) > 1e-6 {
			t.Errorf("%s: %v samples lie beyond the middle, want %v", tt.name, got, beyond)
		}
	}
}
