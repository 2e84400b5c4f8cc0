package main

import (
	"math"
	"slices"
	"strings"
	"testing"

	"systole/bench/internal/qos"
	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/recording"
)

// rows runs a benchmark for so many virtual days and returns its figures by case and column.
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

// Every detector has a row for every model. A few hours suffice for what does not depend on rare
// events: the detection times of fixed × 3 and of Akka are those of their settings.
func TestCalibration(t *testing.T) {
	got := rows(t, "qos", 0.2, 0.05)
	if want := len(qos.Models) * (len(marginDetectors) + len(baselines)); len(got) != want {
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

// Every rule has a row for every link. With detection within 50 ms, and without pauses of the sender, the
// default fails a peer within half a second, and the rule for final failures not before 2 s.
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

// Where only the reader stalls, a detector makes more mistakes on read times than on stamps, at a similar
// detection time. A few hours are too short for the same detection time.
func TestStamps(t *testing.T) {
	got := rows(t, "qos-stamps", 0.2, 0.05)
	if want := len(stampModels) * 2 * (len(tunables) + 3); len(got) != want {
		t.Fatalf("%d rows, want %d", len(got), want)
	}
	ours := got["reading, 1/hour: margin on stamps"]
	for _, r := range tunables {
		theirs := got["reading, 1/hour: "+r.name+" on read times"]
		if math.Abs(theirs["td_ms"]-ours["td_ms"]) > 0.5*ours["td_ms"] || theirs["mistakes"] <= ours["mistakes"] {
			t.Errorf("%s: %v, ours %v", r.name, theirs, ours)
		}
	}
}

// Apart, and with a decrease per poll, the share of empty polls settles where the theory says.
func TestSeedLoopCases(t *testing.T) {
	names := make(map[string]bool)
	for _, c := range loopCases {
		names[c.name()] = true
		if l := c.loop(); !c.coupled && !c.perHeartbeat && c.decrease < 0.99 {
			if got := l.Run(1, 2000).Empty; math.Abs(got-l.Share()) > 0.1*l.Share() {
				t.Errorf("%s: %v, want %v", c.name(), got, l.Share())
			}
		}
	}
	if len(names) != len(loopCases) {
		t.Error("two cases have one name")
	}
}

// No detector allocates on a heartbeat, and the state of the default is small.
func TestCost(t *testing.T) {
	trace, err := newCostTrace()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range slices.Concat(marginDetectors[1:2], baselines) {
		state, i, h := make([]uint64, e.d.Words()), 0, detect.Heartbeat{}
		allocations := testing.AllocsPerRun(len(trace)-1, func() {
			trace.heartbeat(i, &h)
			i++
			detect.Take(e.d, state, &h)
		})
		if allocations != 0 {
			t.Errorf("%s: %v allocations per heartbeat", e.name, allocations)
		}
	}
	if size := 8 * marginDetectors[0].d.Words(); size > 640 {
		t.Errorf("the margin detector has %d bytes per peer, at most 640 are allowed", size)
	}
}

// The trace repeats without a gap: sequences and instants grow from one round to the next as within a
// round.
func TestCostTrace(t *testing.T) {
	trace := costTrace{
		{Beat: recording.Beat{Sequence: 1, Send: qos.Start + 3, NIC: qos.Start + 5}, At: qos.Start},
		{Beat: recording.Beat{Sequence: 3, Send: qos.Start + 2e8 + 4, NIC: qos.Start + 2e8 + 6}, At: qos.Start + 2e8},
	}
	for i, want := range []detect.Heartbeat{
		{Sequence: 1, Send: 3, Arrival: 5}, {Sequence: 3, Send: 2e8 + 4, Arrival: 2e8 + 6},
		{Sequence: 4, Send: 3e8 + 3, Arrival: 3e8 + 5}, {Sequence: 6, Send: 5e8 + 4, Arrival: 5e8 + 6},
		{Sequence: 7, Send: 6e8 + 3, Arrival: 6e8 + 5},
	} {
		want.Send, want.Arrival, want.Period = want.Send+clock.Instant(qos.Start), want.Arrival+clock.Instant(qos.Start), 100*ms
		var got detect.Heartbeat
		if trace.heartbeat(i, &got); got != want {
			t.Errorf("heartbeat %d: %+v, want %+v", i, got, want)
		}
	}
}

// Every detector has a row for every recording, with all figures.
func TestRecorded(t *testing.T) {
	t.Chdir("..")
	table, err := runRecorded(t.Context(), options{})
	if err != nil {
		t.Fatal(err)
	}
	if want := 6 * (1 + len(baselines)); len(table.rows) != want {
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
