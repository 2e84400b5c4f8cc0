package main

import (
	"context"
	"slices"
	"testing"

	"systole/bench/internal/qos"
	"systole/engine/clock"
	"systole/engine/detect"
)

// costBeats is the length of the trace that detectors take again and again: half an hour of a link.
const costBeats = 1 << 14

// runCost is the benchmark cost.
func runCost(ctx context.Context, _ options) (*table, error) {
	t := &table{
		name: "cost",
		about: "Time per heartbeat in each detector, including the deadlines of suspicion and failure that the loop asks for, on the model cloud, with one peer " +
			"in the cache. A detector that learns also learns when it is due, as after a turn. Allocations, and memory per peer.",
		columns: []string{"ns_per_heartbeat", "allocations", "bytes_per_peer"},
	}
	trace, err := newCostTrace()
	if err != nil {
		return nil, err
	}
	for _, e := range slices.Concat(marginDetectors[1:2], baselines) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r := testing.Benchmark(func(b *testing.B) { feed(b, e.d, trace) })
		t.add(e.name, float64(r.T.Nanoseconds())/float64(r.N), float64(r.MemAllocs)/float64(r.N), float64(8*e.d.Words()))
	}
	return t, nil
}

// costTrace is a trace that repeats without end.
type costTrace []qos.Beat

// newCostTrace returns a trace of the model cloud.
func newCostTrace() (costTrace, error) {
	m, err := qos.Find("cloud")
	if err != nil {
		return nil, err
	}
	s := qos.NewSource(m, 1)
	trace := make(costTrace, costBeats)
	for i := range trace {
		s.Next(&trace[i])
	}
	return trace, nil
}

// heartbeat sets h to heartbeat i. Each round of the trace follows the round before, a period after
// its last heartbeat.
func (c costTrace) heartbeat(i int, h *detect.Heartbeat) {
	round, b, last := i/len(c), &c[i%len(c)], &c[len(c)-1]
	h.Period = qos.Models[0].Period
	later := clock.Instant(int64(round) * (last.At + int64(h.Period) - qos.Start))
	h.Sequence = uint64(round)*last.Sequence + b.Sequence
	h.Send, h.Arrival = clock.Instant(b.Send)+later, clock.Instant(b.NIC)+later
}

// feed has d take the heartbeats of a benchmark.
func feed(b *testing.B, d detect.Detector, trace costTrace) {
	state := make([]uint64, d.Words())
	suspect, fail := d.Levels()
	var deadline clock.Instant
	var h detect.Heartbeat
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		trace.heartbeat(i, &h)
		detect.Take(d, state, &h)
		deadline = max(d.Deadline(state, suspect), d.Deadline(state, fail))
	}
	b.StopTimer()
	if deadline == 0 {
		b.Fatal("no deadline")
	}
}
