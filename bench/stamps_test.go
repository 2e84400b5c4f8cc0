package main

import (
	"testing"
	"time"

	"systole/bpf"
	"systole/engine/clock"
)

func TestStampCostFigures(t *testing.T) {
	s := stampCosts{besideCounts: besideCounts{floor: 500, engine: nodeUsage{Received: 1000, CPU: time.Millisecond, Calls: 30}, verdicts: 2}}
	s.during = nodeUsage{Received: 1000, Stamped: [clock.BPF + 1]uint64{clock.BPF: 900}}
	s.arrivals, s.handOffs = programRuns{1000, 100 * us}, programRuns{2000, 60 * us}
	w := stampCost{"", bpf.Stamps, 0}
	if got, want := s.figures(w, false, 800), []float64{1000, 500, 2, 100, 60, 2, 1100.0 / 800, 0.9, 0.03, 2}; !near(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	s.during.Sent, s.during.SendsStamped = 1000, 250
	if got := s.figures(w, true, 800)[7]; got != 0.25 {
		t.Errorf("%v of the sends are stamped", got)
	}
}
