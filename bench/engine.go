package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"time"
)

// The engine beside the floor: the same datagrams both ways, in the same batches, on the same
// tick, pinned alike, by turns in one run.
const (
	enginePeers  = 4096
	benchRate    = 40960            // heartbeats a second: 4096 peers at 10 Hz
	slowPeriod   = 10 * time.Second // one heartbeat in a hundred goes the other way
	learnedAfter = 30 * time.Second // 300 heartbeats of each peer
)

// engineCase is the engine's work and the floor's that does the same in bare loops.
type engineCase struct {
	name           string
	peers          int
	period, theirs time.Duration
	detector       string // empty: the default
	warm           time.Duration
	back           int                            // of the floor: datagrams a second from the receiver to the sender
	of             func(a, b floorCounts) float64 // the floor's figure
}

// sender and receiver are the floor's figures of its two ends.
func sender(a, _ floorCounts) float64   { return a.perDatagram() }
func receiver(_, b floorCounts) float64 { return b.perDatagram() }

var engineCases = []engineCase{
	{"sending", enginePeers, 100 * time.Millisecond, slowPeriod, "fixed", 0, benchRate / 100, sender},
	{"receiving", enginePeers, slowPeriod, 100 * time.Millisecond, "fixed", 0, benchRate / 100, receiver},
	{"receiving, default detector, learned", enginePeers, slowPeriod, 100 * time.Millisecond, "", learnedAfter, benchRate / 100, receiver},
	{"both ways", enginePeers, 100 * time.Millisecond, 100 * time.Millisecond, "fixed", 0, benchRate, sender},
}

// growthCases receive at one rate from more and more peers, each of which writes the more
// rarely. One heartbeat in a hundred goes the other way, or one a minute and peer.
var growthCases = func() (cases []engineCase) {
	for _, peers := range []int{512, 4096, 32768, 100_000} {
		theirs := time.Duration(peers) * time.Second / benchRate
		ours := min(100*theirs, time.Minute)
		back := int(time.Duration(peers) * time.Second / ours)
		cases = append(cases, engineCase{strconv.Itoa(peers) + " peers", peers, ours, theirs, "fixed", 0, back, receiver})
	}
	return cases
}()

// lastCPU is the CPU of the second end.
func lastCPU() int { return runtime.NumCPU() - 1 }

// runEngine is the benchmark engine.
func runEngine(ctx context.Context, o options) (*table, error) {
	return runBeside(ctx, o, engineCases, &table{
		name: "engine",
		about: fmt.Sprintf("An engine with %d peers, %d heartbeats a second. 'Sending' and 'receiving' have one heartbeat in a hundred "+
			"the other way, also at the floor. 'Learned' is counted after %v, by when each peer has sent 300 heartbeats. %s",
			enginePeers, benchRate, learnedAfter, besideAbout(o)),
	})
}

// runGrowth is the benchmark growth.
func runGrowth(ctx context.Context, o options) (*table, error) {
	return runBeside(ctx, o, growthCases, &table{
		name: "growth",
		about: fmt.Sprintf("An engine that receives %d heartbeats a second from more and more peers, each of which writes the more rarely: "+
			"what a heartbeat costs more is the memory of its peer. %s", benchRate, besideAbout(o)),
	})
}

// besideAbout says how the cases of runBeside are measured.
func besideAbout(o options) string {
	return fmt.Sprintf("CPU time (user + system of the whole process) per heartbeat, sent or received, over veth, beside the floor "+
		"(see floor; here to one address, as the engine's peers have) measured by turns with it; the cheapest of %d each. Heartbeats of 136 bytes, "+
		"no authentication, Sched.Procs 1. 'Loop' is the owner loop's thread alone: the rest is Go's own monitor thread, which an otherwise "+
		"idle process wakes with every wait. 'User' is the process's time in user mode, as the kernel estimates it.", o.repeat)
}

// runBeside measures cases of the engine beside the floor.
func runBeside(ctx context.Context, o options, cases []engineCase, t *table) (_ *table, err error) {
	f, err := newFloor()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	f.destinations = 1 // the population has one address
	t.columns = []string{"engine_ns", "loop_ns", "user_ns", "floor_ns", "ratio", "loop_ratio", "calls_per_heartbeat", "false_verdicts", "dropped"}
	for _, c := range cases {
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
		a, b, err := f.measure(ctx, floorCase{c.name, 136, benchRate, 4000, c.back}, o.duration)
		if err != nil {
			return err
		}
		if x := c.of(a, b); i == 0 || x < floorLeast {
			floorLeast = x
		}
		p := pairing{peers: c.peers, period: c.period, theirs: c.theirs, procs: 1, pinned: true, detector: c.detector, warm: c.warm}
		n, _, err := p.run(ctx, o.duration, 0)
		if err != nil {
			return err
		}
		verdicts, dropped = verdicts+n.Suspected+n.Failed, dropped+n.Dropped
		if x := n.perHeartbeat(); i == 0 || x < least {
			least, cheapest = x, n
		}
	}
	heartbeats := float64(cheapest.Sent + cheapest.Received)
	loop, user := float64(cheapest.Loop)/heartbeats, float64(cheapest.User)/heartbeats
	t.add(c.name, least, loop, user, floorLeast, least/floorLeast, loop/floorLeast,
		float64(cheapest.Calls)/heartbeats, float64(verdicts), float64(dropped))
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
		p := pairing{peers: c.peers, period: c.period, detector: "fixed"}
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
