package main

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"systole/bench/qos"
	"systole/engine/clock"
	"systole/engine/detect"
)

// rows runs a benchmark for a few virtual hours and returns its rows by case, each figure
// by its column.
func rows(t *testing.T, name string, days, warm float64) map[string]map[string]float64 {
	t.Helper()
	chosen, err := choose([]string{name})
	if err != nil {
		t.Fatal(err)
	}
	table, err := chosen[0].run(t.Context(), options{days: days, warm: warm})
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]map[string]float64)
	for _, r := range table.rows {
		found[r.name] = make(map[string]float64)
		for i, x := range r.figures {
			found[r.name][table.columns[i]] = x
		}
	}
	if len(found) != len(table.rows) {
		t.Errorf("%s: two cases have one name", name)
	}
	return found
}

// Every detector is on every model, and what a few hours tell already is so: the
// detection times of fixed × 3 and of Akka are what their settings say.
func TestCalibration(t *testing.T) {
	got := rows(t, "qos", 0.2, 0.05)
	if want := len(qos.Models) * (len(promising) + len(shipped)); len(got) != want {
		t.Fatalf("%d rows, want %d", len(got), want)
	}
	for name, r := range got {
		if r["mistakes"] < 0 || !(r["per_hour"] >= 0) || !(r["td_ms"] > 50) || !(r["wrong_ppm"] >= 0) {
			t.Errorf("%s: %v", name, r)
		}
		if strings.Contains(name, "margin") != !math.IsNaN(r["ratio"]) || r["ratio"] < r["ratio_low"] || r["ratio"] > r["ratio_high"] {
			t.Errorf("%s: %v", name, r)
		}
	}
	for name, want := range map[string]float64{"lan, fixed × 3": 300, "lan, phi (Akka)": 3623} {
		if td := got[name]["td_ms"]; math.Abs(td-want) > want/100 {
			t.Errorf("%s: detected after %v ms, want %v", name, td, want)
		}
	}
}

// Every rule is on every link; within 50 ms, on a link whose sender does not pause, the default
// fails within half a second, and the rule for what is final not before 2 s.
func TestFailed(t *testing.T) {
	got := rows(t, "qos-failed", 0.5, 0.5)
	if want := len(failPromises) * len(qos.Models) * len(failPauses) * len(failRules); len(got) != want {
		t.Fatalf("%d rows, want %d", len(got), want)
	}
	for name, r := range got {
		if !(r["failed_p50_ms"] > 0) || r["failed_p99_ms"] < r["failed_p50_ms"] || r["wrong_per_day"] > r["mistakes_per_day"] || !(r["wrong_ppm"] >= 0) {
			t.Errorf("%s: %v", name, r)
		}
	}
	const link = "within 50ms, lan, no pause, "
	if p50 := got[link+failRules[2].name()]["failed_p50_ms"]; p50 > 500 {
		t.Errorf("failed after %v ms", p50)
	}
	if p50 := got[link+failRules[0].name()]["failed_p50_ms"]; p50 < 1990 {
		t.Errorf("final, and failed after %v ms", p50)
	}
}

// At detection times that are alike (a few hours are too short to tune to more than
// that), read times err more than stamps, where only the reader stalls.
func TestStamps(t *testing.T) {
	got := rows(t, "stamps", 0.4, 0.05)
	if want := len(stampModels) * 2 * (len(rivals) + 3); len(got) != want {
		t.Fatalf("%d rows, want %d", len(got), want)
	}
	ours := got["reading, 1/hour: margin on stamps"]
	for _, r := range rivals {
		theirs := got["reading, 1/hour: "+r.name+" on read times"]
		if math.Abs(theirs["td_ms"]-ours["td_ms"]) > 0.5*ours["td_ms"] || theirs["mistakes"] < ours["mistakes"] {
			t.Errorf("%s: %v, ours %v", r.name, theirs, ours)
		}
	}
}

func TestTune(t *testing.T) {
	square := func(x float64) time.Duration { return time.Duration(x * x * float64(time.Second)) }
	got, err := tune(1e-3, 1e3, 4*time.Second, square)
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(got-2) > 2e-3 {
		t.Errorf("parameter %v, want 2", got)
	}
	for _, wanted := range []time.Duration{time.Nanosecond, 1000 * time.Hour} {
		if x, err := tune(1e-3, 1e3, wanted, square); !errors.Is(err, errReach) {
			t.Errorf("%v: %v, %v", wanted, x, err)
		}
	}
}

// The cases of the table settle where the theory says, apart and falling once per poll.
func TestSeedLoopCases(t *testing.T) {
	names := make(map[string]bool)
	for _, c := range loopCases {
		names[c.name()] = true
		if l := c.loop(); !c.coupled && !c.each && c.decrease < 0.99 {
			if got := l.Run(1, 2000).Empty; math.Abs(got-l.Share()) > 0.1*l.Share() {
				t.Errorf("%s: %v, want %v", c.name(), got, l.Share())
			}
		}
	}
	if len(names) != len(loopCases) {
		t.Error("two cases have one name")
	}
}

// Heartbeats allocate nothing in any detector, and the default's state is small.
func TestCost(t *testing.T) {
	beats, err := costTrace()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range append(promising[1:2:2], shipped...) {
		state, i, h := make([]uint64, c.d.Words()), 0, detect.Heartbeat{Period: qos.Models[0].Period}
		allocations := testing.AllocsPerRun(len(beats)-1, func() {
			x := &beats[i]
			i++
			h.Sequence, h.Send, h.Arrival = x.Sequence, clock.Instant(x.Send), clock.Instant(x.NIC)
			detect.Take(c.d, state, &h)
		})
		if allocations != 0 {
			t.Errorf("%s: %v allocations per heartbeat", c.name, allocations)
		}
	}
	if size := 8 * promising[0].d.Words(); size > 640 {
		t.Errorf("the margin detector has %d bytes per peer, at most 640 are allowed", size)
	}
}

// Every detector gets a row of every recording, and nothing is judged on less than most of it.
func TestRecorded(t *testing.T) {
	t.Chdir("..")
	table, err := runRecorded(t.Context(), options{})
	if err != nil {
		t.Fatal(err)
	}
	if want := 6 * (1 + len(shipped)); len(table.rows) != want {
		t.Errorf("%d rows, want %d", len(table.rows), want)
	}
	for _, r := range table.rows {
		for i, figure := range r.figures {
			if !(figure >= 0) {
				t.Errorf("%s: %s is %v", r.name, table.columns[i], figure)
			}
		}
	}
}
