package main

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"systole/bench/internal/qos"
	"systole/engine/clock"
	"systole/engine/detect/published"
	"systole/engine/recording"
)

// near reports whether each figure is as wanted to 12 digits; none is near none.
func near(got, want []float64) bool {
	return slices.EqualFunc(got, want, func(a, b float64) bool {
		return !meaningful(a) && !meaningful(b) || math.Abs(a-b) <= 1e-12*math.Abs(b)
	})
}

func TestCalibrationFigures(t *testing.T) {
	f := qos.Figures{Heartbeats: 10, Observed: 50 * time.Hour, Mistakes: 10, Mistaken: 18 * time.Second}
	low, high := qos.PoissonBounds(10, 0.95)
	promising, silent := entrant{promised: 0.1}, entrant{promised: none}
	if got, want := promising.figures(&f), []float64{0.1, 10, 0.2, 2, low / 5, high / 5, 0, 1800, 100}; !near(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got, want := silent.figures(&f), []float64{none, 10, 0.2, none, none, none, 0, 1800, 100}; !near(got, want) {
		t.Errorf("without a promise: %v, want %v", got, want)
	}
	f.Mistakes, f.Mistaken = 0, 0
	_, high = qos.PoissonBounds(0, 0.95)
	if got, want := promising.figures(&f), []float64{0.1, 0, 0, 0, 0, high / 5, 0, none, 0}; !near(got, want) {
		t.Errorf("without mistakes: %v, want %v", got, want)
	}
	if got := promising.figures(&qos.Figures{}); meaningful(got[2]) || meaningful(got[3]) {
		t.Errorf("without time: %v", got)
	}
}

func TestFailNames(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{failRule{4, 400 * ms}.name(), "X 4, floor 400ms"},
		{failRule{2, time.Nanosecond}.name(), "X 2, floor 0s"},
		{(&failCase{model: qos.Model{Name: "lan"}}).name(), "no bound, lan, no pause"},
		{(&failCase{model: qos.Model{Name: "wan"}, pause: 500 * ms, within: 50 * ms}).name(), "within 50ms, wan, 500ms/h"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

// A case with a pause has a stall more than its model, which stays as it is; one with a promise has the
// period that keeps it. A promise that nothing keeps is refused.
func TestNewFailCase(t *testing.T) {
	m := qos.Models[0]
	stalls := len(m.Stalls)
	c, err := newFailCase(m, 0, 0, 0)
	if err != nil || c.model.Period != m.Period || len(c.model.Stalls) != stalls || len(c.judges) != len(failRules) {
		t.Errorf("%+v, %v", c, err)
	}
	c, err = newFailCase(m, time.Second, 50*ms, 0)
	if err != nil || c.model.Period >= 50*ms || len(c.model.Stalls) != stalls+1 || len(m.Stalls) != stalls {
		t.Errorf("%+v, %v", c, err)
	}
	if added := c.model.Stalls[stalls]; added.Every != time.Hour || added.Length.Base != time.Second {
		t.Errorf("added %+v", added)
	}
	if _, err := newFailCase(m, 0, -time.Second, 0); err == nil || !strings.Contains(err.Error(), "plan a detection within -1s") {
		t.Errorf("a promise that cannot be kept: %v", err)
	}
}

func TestFailFigures(t *testing.T) {
	f := qos.FailureFigures{Observed: 48 * time.Hour, Mistakes: 10, Wrong: 4, Mistaken: 48 * 36 * time.Second}
	if got, want := failFigures(&f), []float64{0, 0, 2, 5, 10_000}; !near(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestStampFigures(t *testing.T) {
	first := stampEntry{param: 24, Figures: qos.Figures{Observed: 24 * time.Hour, Mistakes: 5}}
	other := stampEntry{param: 8, Figures: qos.Figures{Observed: 24 * time.Hour, Mistakes: 50}}
	_, most := qos.PoissonBounds(5, 0.95)
	if got, want := other.figures(&first), []float64{8, 0, 50, 50, 10, 50 / most}; !near(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got, want := first.figures(&first), []float64{24, 0, 5, 5, none, none}; !near(got, want) {
		t.Errorf("the first: %v, want %v", got, want)
	}
	first.Mistakes = 0
	_, most = qos.PoissonBounds(0, 0.95)
	if got, want := other.figures(&first), []float64{8, 0, 50, 50, none, 50 / most}; !near(got, want) {
		t.Errorf("the first without mistakes: %v, want %v", got, want)
	}
}

func TestTune(t *testing.T) {
	square := func(x float64) time.Duration { return time.Duration(x * x * float64(time.Second)) }
	if got := tune(1e-3, 1e3, 4*time.Second, square); math.Abs(got-2) > 2e-3 {
		t.Errorf("parameter %v, want 2", got)
	}
	for wanted, bound := range map[time.Duration]float64{time.Nanosecond: 1e-3, 1000 * time.Hour: 1e3} {
		if got := tune(1e-3, 1e3, wanted, square); got != bound {
			t.Errorf("%v: %v, want the bound %v", wanted, got, bound)
		}
	}
}

// The parameter is within the bounds, and as near as promised to that of the detection time wanted,
// however steep the detection time is.
func TestTuneProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		low := math.Exp(rapid.Float64Range(-9, 5).Draw(t, "low"))
		high := low * math.Exp(rapid.Float64Range(0, 9).Draw(t, "range"))
		power := rapid.Float64Range(0.1, 3).Draw(t, "power")
		detection := func(x float64) time.Duration {
			if x < low || x > high {
				t.Fatalf("parameter %v beyond %v to %v", x, low, high)
			}
			return time.Duration(float64(time.Hour) * math.Pow(x/high, power))
		}
		wanted := time.Duration(rapid.Float64Range(float64(time.Second), float64(2*time.Hour)).Draw(t, "wanted"))
		got := tune(low, high, wanted, detection)
		want := high * math.Pow(float64(wanted)/float64(time.Hour), 1/power)
		want = min(max(want, low), high)
		byTime := math.Abs(float64(detection(got)-wanted)) <= 1.01e-3*float64(wanted)
		if math.Abs(got-want) > 1.1e-4*want && !byTime {
			t.Fatalf("parameter %v, want %v", got, want)
		}
	})
}

// Every job runs once, and not more at once than there are CPUs.
func TestParallel(t *testing.T) {
	ran := make([]atomic.Int32, 100)
	if err := parallel(t.Context(), len(ran), func(_ context.Context, i int) error {
		ran[i].Add(1)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for i := range ran {
		if n := ran[i].Load(); n != 1 {
			t.Errorf("job %d ran %d times", i, n)
		}
	}
	if err := parallel(t.Context(), 0, nil); err != nil {
		t.Error(err)
	}
}

// The first error is returned, and ends the other jobs. So does the end of the context.
func TestParallelFails(t *testing.T) {
	broken := errors.New("no such luck")
	var started atomic.Int32
	err := parallel(t.Context(), 10_000, func(ctx context.Context, i int) error {
		if started.Add(1); i == 0 {
			return broken
		}
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, broken) || started.Load() > 1000 {
		t.Errorf("%v after %d jobs", err, started.Load())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := parallel(ctx, 5, func(ctx context.Context, _ int) error { return ctx.Err() }); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
}

func TestLoopNames(t *testing.T) {
	for want, c := range map[string]loopCase{
		"apart × 2, × 0.9, from 3 s":                       {2, 0.9, false, 3, false},
		"coupled × 1.25, × 0.9 per heartbeat, from 0.05 s": {1.25, 0.9, true, 0.05, true},
	} {
		if got := c.name(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if l := c.loop(); (l.Sender == 0) != c.coupled || l.Increase != c.increase || l.Decrease != c.decrease || l.PerHeartbeat != c.perHeartbeat || l.First != c.first {
			t.Errorf("%s: loop %+v", want, l)
		}
	}
}

// The row is that of the first seed, with the extremes of all.
func TestLoopFigures(t *testing.T) {
	l := (&loopCase{2, 0.9, true, 3, true}).loop()
	got := loopFigures(l, 200)
	var delays []float64
	for seed := range uint64(loopSeeds) {
		delays = append(delays, 1000*l.Run(seed+1, 200).Delay)
	}
	s := l.Run(1, 200)
	want := []float64{l.Share(), s.Empty, delays[0], slices.Min(delays), slices.Max(delays), s.Sent, s.Capped, s.Floor}
	if !slices.Equal(got, want) || got[3] == got[4] {
		t.Errorf("%v, want %v", got, want)
	}
}

// record writes a recording of one life for each slice of heartbeats.
func record(t *testing.T, lives ...[]recording.Beat) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "made.sysrec")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := recording.New(f, recording.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, trace := range lives {
		for _, b := range trace {
			rec.Record(&recording.Heartbeat{
				Peer: uint64(i + 1), Incarnation: 1, Sequence: b.Sequence, Period: uint32(recordedPeriod / time.Microsecond),
				Send: clock.Instant(b.Send), Arrival: clock.Instant(b.NIC), Read: clock.Instant(b.App), Source: clock.Kernel,
			})
		}
	}
	if err := errors.Join(rec.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return name
}

// madeTrace is heartbeats each 10 ms, of which three in a row are lost in each hundred, and of which each
// 150th is read 45 ms after its arrival, and no other before it.
func madeTrace() (trace []recording.Beat) {
	read := int64(0)
	for s := uint64(1); s <= 1000; s++ {
		if s%100 < 3 {
			continue
		}
		b := recording.Beat{Sequence: s, Send: int64(s) * int64(recordedPeriod)}
		b.NIC = b.Send + int64(ms)
		if read = max(read, b.NIC); s%150 == 50 {
			read = b.NIC + int64(45*ms)
		}
		b.App = read
		trace = append(trace, b)
	}
	return trace
}

// On a recording whose mistakes are known, fixed × 3 makes those and detects after three periods.
func TestRecordedFigures(t *testing.T) {
	table := &table{name: "traces", columns: []string{"nic_mistakes", "nic_td_ms", "app_mistakes", "app_td_ms"}}
	if err := addRecording(t.Context(), table, record(t, madeTrace())); err != nil {
		t.Fatal(err)
	}
	if len(table.rows) != 1+len(baselines) || table.rows[0].name != "made, margin, 1/hour" || table.rows[1].name != "made, fixed × 3" {
		t.Fatalf("rows %v", table.rows)
	}
	// From heartbeat 301 on, 400, 500 and so on to 900 are lost with two after: six gaps of 40 ms. In
	// addition, 350, 500, 650, 800 and 950 are read late; of these, 500 and 800 are lost.
	got := table.rows[1].figures
	if got[0] != 6 || math.Abs(got[1]-30) > 0.001 || got[2] != 9 || got[3] < 30 {
		t.Errorf("fixed × 3: %v", got)
	}
}

func TestRecordingMistakes(t *testing.T) {
	garbage := filepath.Join(t.TempDir(), "garbage.sysrec")
	if err := os.WriteFile(garbage, []byte("no recording"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		garbage:                               "recording: line 1",
		filepath.Join(t.TempDir(), "missing"): "no such file",
		record(t, madeTrace(), madeTrace()):   "the recording has 2 streams, want one",
	} {
		if err := addRecording(t.Context(), &table{}, file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", filepath.Base(file), err, want)
		}
	}
	if _, err := runRecorded(t.Context(), options{}); err == nil || !strings.Contains(err.Error(), "run the benchmark from the top of the repository") {
		t.Errorf("without recordings: %v", err)
	}
	short := madeTrace()[:recordedWarmup]
	if got, err := recordedFigures(short, published.Fixed(0, 0)); err != nil || len(got) != 4 || slices.ContainsFunc(got, meaningful) {
		t.Errorf("a recording that is all warm-up: %v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := addRecording(ctx, &table{}, record(t, madeTrace())); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
}
