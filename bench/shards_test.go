package main

import (
	"slices"
	"testing"
	"time"

	"systole/engine"
	"systole/engine/clock"
)

func TestBacklogFigures(t *testing.T) {
	b := backlogCounts{took: 200 * time.Millisecond}
	b.node.Received, b.node.Dropped = 1000, 3
	b.node.CPU, b.node.User = 2*time.Millisecond, time.Millisecond
	if got, want := b.figures(2500), []float64{5000, 2, 2000, 1000, 3}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if never := (&backlogCounts{}).rate(); never != 0 {
		t.Errorf("%v heartbeats per second in no time", never)
	}
}

// The last heartbeat read is not always the last one that arrived.
func TestReadAt(t *testing.T) {
	peer := func(arrival clock.Instant, read time.Duration) engine.PeerStats {
		return engine.PeerStats{Last: engine.Sample{Arrival: arrival, Delays: engine.Delays{Read: read}}}
	}
	if got := readAt([]engine.PeerStats{peer(10, 5), peer(12, 2), peer(3, 20), {}}); got != 23 {
		t.Errorf("%d, want 23", got)
	}
	if got := readAt(nil); got != 0 {
		t.Errorf("without peers: %d", got)
	}
}

// A node with several shards has as many CPUs, from its own on.
func TestShardsHaveCPUs(t *testing.T) {
	for shards, want := range map[int][]int{0: {1}, 1: {1}, 3: {1, 2, 3}} {
		o := nodeOptions{Shards: shards, scheduling: scheduling{Pinned: true, CPU: 1}}
		cfg, err := o.config()
		if err != nil || !slices.Equal(cfg.Sched.CPUs, want) || cfg.Shards != shards {
			t.Errorf("%d shards: CPUs %v, %v", shards, cfg.Sched.CPUs, err)
		}
	}
}
