package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"time"
)

// The engine beside the floor: the same datagrams, in the same batches, on the same
// tick, pinned alike, by turns in one run.
const (
	enginePeers = 4096
	slowPeriod  = 10 * time.Second
)

// engineCase is the engine's work and the floor's that does the same in bare loops.
type engineCase struct {
	name           string
	period, theirs time.Duration
	rate           int // of the floor
	bothWays       bool
	of             func(a, b floorCounts) float64 // the floor's figure
}

var engineCases = []engineCase{
	{"sending, 40960/s", 100 * time.Millisecond, slowPeriod, 40960, false, func(a, _ floorCounts) float64 { return a.perDatagram() }},
	{"receiving, 40960/s", slowPeriod, 100 * time.Millisecond, 40960, false, func(_, b floorCounts) float64 { return b.perDatagram() }},
	{"both, 40960/s each way", 100 * time.Millisecond, 100 * time.Millisecond, 40960, true, func(a, _ floorCounts) float64 { return a.perDatagram() }},
}

// lastCPU is the CPU of the second end.
func lastCPU() int { return runtime.NumCPU() - 1 }

// runEngine is the benchmark engine.
func runEngine(ctx context.Context, o options) (t *table, err error) {
	f, err := newFloor()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	f.destinations = 1 // the population has one address
	t = &table{
		name: "engine",
		about: fmt.Sprintf("CPU time (user + system of the whole process) per heartbeat of an engine with %d peers over veth, beside the floor "+
			"(see floor; here to one address, as the engine's peers have) measured by turns with it; the cheapest of %d each. Heartbeats of 136 bytes, "+
			"no authentication, Sched.Procs 1. 'Sending' and 'receiving' have one heartbeat in a hundred the other way. "+
			"'Loop' is the owner loop's thread alone: the rest is Go's own monitor thread, which an otherwise idle process wakes with every wait.", enginePeers, o.repeat),
		columns: []string{"engine_ns", "loop_ns", "floor_ns", "ratio", "loop_ratio", "user_share", "calls_per_heartbeat", "false_verdicts", "dropped"},
	}
	for _, c := range engineCases {
		if err := f.beside(ctx, t, c, o); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// beside measures one case of the engine and of the floor by turns.
func (f *floor) beside(ctx context.Context, t *table, c engineCase, o options) error {
	var cheapest counted
	var verdicts, dropped uint64
	least, floorLeast := 0.0, 0.0
	for i := range o.repeat {
		a, b, err := f.measure(ctx, floorCase{c.name, 136, c.rate, 4000, c.bothWays}, o.duration)
		if err != nil {
			return err
		}
		if x := c.of(a, b); i == 0 || x < floorLeast {
			floorLeast = x
		}
		p := pairing{peers: enginePeers, period: c.period, theirs: c.theirs, procs: 1, pinned: true}
		n, _, err := p.run(ctx, o.duration, 0)
		if err != nil {
			return err
		}
		verdicts, dropped = verdicts+n.Suspected+n.Failed, dropped+n.Dropped
		if x := n.perHeartbeat(); i == 0 || x < least {
			least, cheapest = x, n
		}
	}
	loop := float64(cheapest.Loop) / float64(cheapest.Sent+cheapest.Received)
	t.add(c.name, least, loop, floorLeast, least/floorLeast, loop/floorLeast, float64(cheapest.User)/float64(cheapest.CPU),
		float64(cheapest.Calls)/float64(cheapest.Sent+cheapest.Received), float64(verdicts), float64(dropped))
	return nil
}

// perHeartbeat is the CPU time of one heartbeat, sent or received, in nanoseconds.
func (n *counted) perHeartbeat() float64 { return float64(n.CPU) / float64(n.Sent+n.Received) }

// scaleCases are crowds: peers and their period.
var scaleCases = []struct {
	peers  int
	period time.Duration
}{{100_000, time.Second}, {10_000, 100 * time.Millisecond}}

// runScale is the benchmark scale.
func runScale(ctx context.Context, o options) (*table, error) {
	t := &table{
		name: "scale",
		about: fmt.Sprintf("Many peers of one engine with one shard, both ways over veth, for %v: verdicts against living peers, drops, CPU of the "+
			"engine's process in cores, what adding them all took and what each holds of the heap. The median stop of the world "+
			"of %d collections, before the engine was opened and with its peers, as runtime/metrics buckets it.", o.duration, pauseRuns),
		columns: []string{"false_verdicts", "dropped", "missed", "cores", "ns_per_heartbeat", "add_all_ms", "bytes_per_peer", "gc_empty_us", "gc_us"},
	}
	for _, c := range scaleCases {
		p := pairing{peers: c.peers, period: c.period}
		n, _, err := p.run(ctx, o.duration, 0)
		if err != nil {
			return nil, err
		}
		t.add(strconv.Itoa(c.peers)+" peers at "+c.period.String(), float64(n.Suspected+n.Failed), float64(n.Dropped), float64(n.Missed),
			float64(n.CPU)/float64(n.Wall), n.perHeartbeat(), float64(n.AddTime.Microseconds())/1000, n.BytesPerPeer,
			float64(n.PauseEmpty.Nanoseconds())/1000, float64(n.PausePeers.Nanoseconds())/1000)
	}
	return t, nil
}
