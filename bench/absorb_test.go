package main

import (
	"testing"
	"time"
)

func TestAbsorbFigures(t *testing.T) {
	row := func(received, sent uint64, cpu, sender time.Duration) absorbRow {
		r := absorbRow{program: 100, handOff: 50}
		r.node.nodeUsage = nodeUsage{Received: received, Taken: received / 2, CPU: cpu, Wall: 2 * time.Second, Turns: 20, Calls: 40}
		r.node.verdicts = verdicts{Suspected: 1, Failed: 2}
		r.others = populationCounts{Sent: sent, Late: 3, CPU: sender}
		return r
	}
	base := &absorbBase{floor: row(1000, 1000, ms, 4*ms), drop: row(0, 1000, 0, 3*ms)}
	r := row(1000, 2000, 200*us, 7*ms)
	if got, want := r.figures(base), []float64{500, 0.5, 100, 50, 200, 300, 0.3, 700, 0.35, 0.0001, 0.0036, 10, 20, 30, 60, 90, 0}; !near(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := r.figures(nil); meaningful(got[6]) || meaningful(got[8]) || len(got) != len(absorbColumns) {
		t.Errorf("without a base: %v", got)
	}
}

// Both processes are cheapest in different measurements.
func TestCheaper(t *testing.T) {
	row := func(cpu, sender time.Duration) *absorbRow {
		return &absorbRow{node: nodeCounts{nodeUsage: nodeUsage{Received: 1, CPU: cpu}}, others: populationCounts{Sent: 1, CPU: sender}}
	}
	var best absorbRow
	for i, r := range []*absorbRow{row(5, 50), row(4, 60), row(6, 40), row(4, 40)} {
		best.cheaper(r, i == 0)
	}
	if best.process() != 4 || best.sender() != 40 || best.bothEnds() != 44 {
		t.Errorf("%v and %v", best.process(), best.sender())
	}
}
