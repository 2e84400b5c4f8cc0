package main

import (
	"context"
	"testing"

	"systole/bench/qos"
	"systole/engine/clock"
	"systole/engine/detect"
)

// costBeats is how many heartbeats are made beforehand, to be given again and again: half an
// hour of a link.
const costBeats = 1 << 14

// runCost is the benchmark cost.
func runCost(ctx context.Context, _ options) (*table, error) {
	t := &table{
		name: "cost",
		about: "Time of a heartbeat in each detector with the deadlines of suspicion and failure, as the loop asks for them, on the model cloud, one peer " +
			"in the cache. A detector that learns also learns when it is due, as after a turn. Allocations, and memory per peer.",
		columns: []string{"ns_per_heartbeat", "allocations", "bytes_per_peer"},
	}
	beats, err := costTrace()
	if err != nil {
		return nil, err
	}
	for _, c := range append(promising[1:2:2], shipped...) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r := testing.Benchmark(func(b *testing.B) { feed(b, c.d, beats) })
		t.add(c.name, float64(r.T.Nanoseconds())/float64(r.N), float64(r.MemAllocs)/float64(r.N), float64(8*c.d.Words()))
	}
	return t, nil
}

// costTrace makes the heartbeats.
func costTrace() ([]qos.Beat, error) {
	m, err := qos.Find("cloud")
	if err != nil {
		return nil, err
	}
	s := qos.NewSource(m, 1)
	beats := make([]qos.Beat, costBeats)
	for i := range beats {
		s.Next(&beats[i])
	}
	return beats, nil
}

// feed gives d the heartbeats, round after round, each later than the one before by the
// length of the trace.
func feed(b *testing.B, d detect.Detector, beats []qos.Beat) {
	state := make([]uint64, d.Words())
	suspect, fail := d.Levels()
	last := &beats[len(beats)-1]
	var until clock.Instant
	h := detect.Heartbeat{Period: qos.Models[0].Period}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		round, x := int64(i/len(beats)), &beats[i%len(beats)]
		later := clock.Instant(round * (last.At + int64(h.Period) - qos.Start))
		h.Sequence = uint64(round)*last.Sequence + x.Sequence
		h.Send, h.Arrival = clock.Instant(x.Send)+later, clock.Instant(x.NIC)+later
		detect.Take(d, state, &h)
		until = max(d.Deadline(state, suspect), d.Deadline(state, fail))
	}
	b.StopTimer()
	if until == 0 {
		b.Fatal("no deadline")
	}
}
