package qos

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"systole/engine/detect/published"
)

// poissonSum is the probability of count or less, term by term.
func poissonSum(count int64, mean float64) float64 {
	term, sum := math.Exp(-mean), 0.0
	for i := int64(0); i <= count; i++ {
		sum += term
		term *= mean / float64(i+1)
	}
	return sum
}

func TestPoissonBelow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count, mean := rapid.Int64Range(0, 300).Draw(t, "count"), rapid.Float64Range(0, 300).Draw(t, "mean")
		if got, want := poissonBelow(count, mean), poissonSum(count, mean); math.Abs(got-want) > 1e-9 {
			t.Fatalf("%d or less of %v: %v, want %v", count, mean, got, want)
		}
	})
}

// By definition, a count as high as the one seen has the probability (1-confidence)/2 at the lower bound,
// and one as low has it at the upper.
func TestPoissonBoundsByDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count, confidence := rapid.Int64Range(0, 200).Draw(t, "count"), rapid.Float64Range(0.5, 0.999).Draw(t, "confidence")
		low, high := PoissonBounds(count, confidence)
		side := (1 - confidence) / 2
		if above := 1 - poissonSum(count-1, low); count > 0 && math.Abs(above-side) > 1e-6 || count == 0 && low != 0 {
			t.Fatalf("%d with %v: low %v, where %d or more has %v", count, confidence, low, count, above)
		}
		if below := poissonSum(count, high); math.Abs(below-side) > 1e-6 {
			t.Fatalf("%d with %v: high %v, where %d or less has %v", count, confidence, high, count, below)
		}
		moreLow, moreHigh := PoissonBounds(count+1, confidence)
		wideLow, wideHigh := PoissonBounds(count, (1+confidence)/2)
		if moreLow <= low || moreHigh <= high || wideLow > low || wideHigh < high {
			t.Fatalf("%d with %v: %v to %v; one more %v to %v; more confident %v to %v", count, confidence, low, high, moreLow, moreHigh, wideLow, wideHigh)
		}
	})
}

func TestFigures(t *testing.T) {
	f := Figures{Heartbeats: 100, Observed: 30 * time.Minute, Mistakes: 2, Mistaken: 18 * time.Second, detection: 5e9}
	f.Add(Figures{Heartbeats: 300, Observed: 90 * time.Minute, Mistakes: 4, Mistaken: 18 * time.Second, detection: 35e9})
	if want := (Figures{400, 2 * time.Hour, 6, 36 * time.Second, 40e9}); f != want {
		t.Errorf("sum %+v, want %+v", f, want)
	}
	if f.PerHour() != 3 || f.Detection() != 100*time.Millisecond || f.MistakeMean() != 6*time.Second || f.Accuracy() != 0.995 {
		t.Errorf("%v an hour of %v after %v, accuracy %v", f.PerHour(), f.MistakeMean(), f.Detection(), f.Accuracy())
	}
	var none Figures
	if !math.IsNaN(none.PerHour()) || none.Detection() != 0 || none.MistakeMean() != 0 || none.Accuracy() != 1 {
		t.Errorf("without heartbeats: %v an hour of %v after %v, accuracy %v", none.PerHour(), none.MistakeMean(), none.Detection(), none.Accuracy())
	}
}

// beats are heartbeats that were sent at these milliseconds and arrived one later.
func beats(ms ...int64) (beats []Beat) {
	for i, at := range ms {
		b := Beat{At: Start + at*1e6}
		b.Sequence, b.Send, b.NIC = uint64(i)+1, b.At, b.At+1e6
		b.App = b.NIC + 5e5
		beats = append(beats, b)
	}
	return beats
}

// The first heartbeat after the warm-up is the last that is not judged. A stale one changes nothing.
func TestWarmUp(t *testing.T) {
	trace := beats(0, 10, 50, 60, 100, 110)
	trace = append(trace, trace[3], beats(0, 0, 0, 0, 0, 0, 150)[6])
	for _, c := range []struct {
		warm       time.Duration
		heartbeats int64
		observed   time.Duration
		mistakes   int64
	}{
		{0, 6, 150 * time.Millisecond, 3}, {10 * time.Millisecond, 5, 140 * time.Millisecond, 3}, {11 * time.Millisecond, 4, 100 * time.Millisecond, 2},
		{100 * time.Millisecond, 2, 50 * time.Millisecond, 1}, {150 * time.Millisecond, 0, 0, 0}, {time.Hour, 0, 0, 0},
	} {
		j := NewJudge(published.Fixed(2, 0), App, 10*time.Millisecond, c.warm)
		k := NewFailures(published.Fixed(2, 1.75), 10*time.Millisecond, c.warm)
		for i := range trace {
			j.Beat(&trace[i])
			k.Beat(&trace[i])
		}
		f, g := j.Figures(), k.Figures()
		if f.Heartbeats != c.heartbeats || f.Observed != c.observed || f.Mistakes != c.mistakes || f.Mistaken != time.Duration(c.mistakes)*20*time.Millisecond {
			t.Errorf("warm-up of %v: %+v", c.warm, f)
		}
		// From the send to the deadline: 1.5 ms until it is read, and two periods.
		if c.heartbeats > 0 && f.Detection() != 21500*time.Microsecond {
			t.Errorf("warm-up of %v: detected after %v", c.warm, f.Detection())
		}
		if g.Observed != c.observed || g.Mistakes != c.mistakes || g.Wrong != c.mistakes || g.Mistaken != time.Duration(c.mistakes)*5*time.Millisecond {
			t.Errorf("warm-up of %v: %d mistakes, %d failures for %v in %v", c.warm, g.Mistakes, g.Wrong, g.Mistaken, g.Observed)
		}
	}
}

// One heartbeat in sixteen is a crash.
func TestCrashEvery(t *testing.T) {
	j := NewFailures(published.Fixed(0, 0), 10*time.Millisecond, 0)
	var ms []int64
	for i := range int64(100) {
		ms = append(ms, 10*i)
	}
	for _, b := range beats(ms...) {
		j.Beat(&b)
	}
	sum := int64(0)
	for _, n := range j.times {
		sum += n
	}
	if sum != 100/crashEvery {
		t.Errorf("%d crashes, want %d", sum, 100/crashEvery)
	}
}

// The time to failure is that of the sorted crashes, to one per cent.
func TestFailureTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var j Failures
		var times []float64
		for _, x := range rapid.SliceOfN(rapid.Float64Range(0, 23), 1, 40).Draw(t, "logarithms") {
			d := time.Duration(math.Exp(x) * float64(time.Microsecond))
			j.crash(d)
			times = append(times, float64(d))
		}
		slices.Sort(times)
		share := rapid.Float64Range(0.01, 1).Draw(t, "share")
		want := times[int(math.Ceil(share*float64(len(times))))-1]
		f := FailureFigures{times: j.times}
		if got := float64(f.Time(share)); math.Abs(got-want) > 0.0051*want+1 {
			t.Fatalf("%v of %v: %v, want %v", share, times, time.Duration(got), time.Duration(want))
		}
	})
}

// Times beyond the buckets count in the first and in the last.
func TestFailureTimeBounds(t *testing.T) {
	for _, c := range []struct{ crash, least, most time.Duration }{
		{-time.Second, time.Microsecond, time.Microsecond + 10}, {0, time.Microsecond, time.Microsecond + 10}, {math.MaxInt64, 7 * time.Hour, 8 * time.Hour},
	} {
		var j Failures
		j.crash(c.crash)
		f := FailureFigures{times: j.times}
		if got := f.Time(0.5); got < c.least || got > c.most {
			t.Errorf("%v: %v, want %v to %v", c.crash, got, c.least, c.most)
		}
	}
}

func TestFailureRates(t *testing.T) {
	f := FailureFigures{Observed: 12 * time.Hour, Mistakes: 6, Wrong: 2}
	if f.PerDay() != 4 || f.MistakesPerDay() != 12 {
		t.Errorf("%v failures and %v mistakes a day", f.PerDay(), f.MistakesPerDay())
	}
	if none := (FailureFigures{}); !math.IsNaN(none.PerDay()) || !math.IsNaN(none.MistakesPerDay()) {
		t.Errorf("without time: %v failures and %v mistakes a day", none.PerDay(), none.MistakesPerDay())
	}
}

// counter is a watcher that counts heartbeats.
type counter struct {
	heartbeats int
	last       int64
}

func (c *counter) Beat(b *Beat) { c.heartbeats, c.last = c.heartbeats+1, b.At }

// All watchers get the heartbeats that are sent before the end, or until the context ends.
func TestWatch(t *testing.T) {
	m := Model{Period: 100 * time.Millisecond}
	var a, b counter
	if err := Watch(t.Context(), NewSource(&m, 1), 5*time.Hour, &a, &b); err != nil {
		t.Fatal(err)
	}
	if want := (counter{5 * 36000, Start + int64(5*time.Hour-100*time.Millisecond)}); a != want || b != want {
		t.Errorf("%+v and %+v, want %+v", a, b, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var c counter
	if err := Watch(ctx, NewSource(&m, 1), 1000*time.Hour, &c); !errors.Is(err, context.Canceled) || c.heartbeats > 1<<16 {
		t.Errorf("a context that has ended: %v after %d heartbeats", err, c.heartbeats)
	}
	if err := Watch(t.Context(), NewSource(&m, 1), 0, &c); err != nil || c.heartbeats > 1<<16 {
		t.Errorf("no time: %v after %d heartbeats", err, c.heartbeats)
	}
}

func TestFind(t *testing.T) {
	if m, err := Find("reading"); m != &Reading || err != nil {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := Find("Lan"); err == nil || !strings.Contains(err.Error(), `there is no model "Lan"`) {
		t.Errorf("a model that does not exist: %v", err)
	}
}

// One poll at a time: what arrived until then counts, and the delay stays within its bounds.
func TestSeedLoopTurn(t *testing.T) {
	l := SeedLoop{Increase: 2, Decrease: 0.5, Floor: 1, Cap: 8}
	each := l
	each.PerHeartbeat = true
	for _, c := range []struct {
		name       string
		loop       *SeedLoop
		delay      float64
		in         []float64
		want       float64
		rest       []float64
		empty      float64
		cap, floor float64
	}{
		{"nothing arrived", &l, 3, nil, 6, nil, 1, 0, 0},
		{"only later", &l, 3, []float64{10.5}, 6, []float64{10.5}, 1, 0, 0},
		{"one", &l, 4, []float64{9}, 2, nil, 0, 0, 0},
		{"one at the poll itself", &l, 4, []float64{10}, 2, nil, 0, 0, 0},
		{"two, and one later", &l, 8, []float64{11, 9, 8}, 4, []float64{11}, 0, 0, 0},
		{"two, each counts", &each, 8, []float64{11, 9, 8}, 2, []float64{11}, 0, 0, 0},
		{"to the cap", &l, 5, nil, 8, nil, 1, 1, 0},
		{"to the floor", &each, 3, []float64{7, 8, 9}, 1, nil, 0, 0, 1},
	} {
		for _, counted := range []bool{true, false} {
			p := loopPeer{delay: c.delay, poll: 10, in: slices.Clone(c.in)}
			c.loop.turn(&p, 10, counted)
			if p.delay != c.want || p.poll != 10+c.want || !slices.Equal(p.in, c.rest) {
				t.Errorf("%s: delay %v, next poll at %v, left %v", c.name, p.delay, p.poll, p.in)
			}
			want := Settled{Empty: c.empty, Delay: math.Log(c.want), Capped: c.cap, Floor: c.floor}
			if !counted {
				want = Settled{}
			}
			if p.out != want || p.polls != map[bool]float64{true: 1}[counted] {
				t.Errorf("%s: %+v in %v polls, want %+v", c.name, p.out, p.polls, want)
			}
		}
	}
}

// Only the second half of a run counts: with a delay that cannot change, there is a poll for each.
func TestSeedLoopHalf(t *testing.T) {
	l := SeedLoop{Increase: 2, Decrease: 0.5, First: 1, Floor: 1, Cap: 1, Path: 0.01}
	s := l.Run(1, 100)
	near(t, "heartbeats per second", s.Sent, 1, 0.03)
	if s.Delay != 1 || s.Capped != 1 || s.Floor != 1 {
		t.Errorf("%+v", s)
	}
}

// Shares are shares, the delay is within its bounds, and the same seed gives the same.
func TestSeedLoopProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := SeedLoop{
			Increase: rapid.Float64Range(1.01, 4).Draw(t, "increase"), Decrease: rapid.Float64Range(0.3, 0.99).Draw(t, "decrease"),
			PerHeartbeat: rapid.Bool().Draw(t, "per heartbeat"), Sender: rapid.SampledFrom([]float64{0, 0.1}).Draw(t, "sender"),
			First: 1, Floor: 0.05, Cap: 4, Path: 0.01,
		}
		s := l.Run(3, 100)
		if again := l.Run(3, 100); again != s {
			t.Fatalf("%+v, and %+v again", s, again)
		}
		for _, share := range []float64{s.Empty, s.Capped, s.Floor, s.Capped + s.Floor, l.Share()} {
			if !(share >= 0 && share <= 1) {
				t.Fatalf("%+v, theory %v", s, l.Share())
			}
		}
		if !(s.Delay >= l.Floor*(1-1e-9) && s.Delay <= l.Cap*(1+1e-9)) || !(s.Sent > 0) || l.Sender > 0 && s.Sent != 10 {
			t.Fatalf("%+v", s)
		}
	})
}
