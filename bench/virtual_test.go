package main

import (
	"math"
	"strings"
	"testing"

	"systole/bench/qos"
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
