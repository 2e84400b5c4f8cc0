package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"time"
)

// The engine and the floor run the same traffic by turns: the same datagrams both ways, in the same
// batches, on the same tick, pinned to the same CPUs.
const (
	enginePeers  = 4096
	benchRate    = 40960            // heartbeats per second: 4096 peers at 10 Hz
	slowPeriod   = 10 * time.Second // one heartbeat in a hundred goes the other way
	learnedAfter = 30 * time.Second // 300 heartbeats of each peer
)

// engineCase is the work of an engine, and the same work of the floor.
type engineCase struct {
	name                string
	peers               int
	period, peersPeriod time.Duration
	detector            string // empty: the default
	warm                time.Duration
	back                int                            // datagrams per second that the floor's receiver sends
	floor               func(a, b floorCounts) float64 // the floor's figure, ns
}

// sender and receiver are the figures of the floor's two ends.
func sender(a, _ floorCounts) float64   { return a.perDatagram() }
func receiver(_, b floorCounts) float64 { return b.perDatagram() }

var engineCases = []engineCase{
	{"sending", enginePeers, 100 * time.Millisecond, slowPeriod, "fixed", 0, benchRate / 100, sender},
	{"receiving", enginePeers, slowPeriod, 100 * time.Millisecond, "fixed", 0, benchRate / 100, receiver},
	{"receiving, default detector, learned", enginePeers, slowPeriod, 100 * time.Millisecond, "", learnedAfter, benchRate / 100, receiver},
	{"both ways", enginePeers, 100 * time.Millisecond, 100 * time.Millisecond, "fixed", 0, benchRate, sender},
}

// growthCases receive benchRate heartbeats per second, from more and more peers. The node sends one
// heartbeat for a hundred that it receives, but one a minute to each peer at least.
var growthCases = func() (cases []engineCase) {
	for _, peers := range []int{512, 4096, 32768, 100_000} {
		peersPeriod := time.Duration(peers) * time.Second / benchRate
		period := min(100*peersPeriod, time.Minute)
		back := int(time.Duration(peers) * time.Second / period)
		cases = append(cases, engineCase{strconv.Itoa(peers) + " peers", peers, period, peersPeriod, "fixed", 0, back, receiver})
	}
	return cases
}()

// lastCPU returns the CPU of a measurement's second end.
func lastCPU() int { return runtime.NumCPU() - 1 }

// runEngine is the benchmark engine.
func runEngine(ctx context.Context, o options) (*table, error) {
	return runBeside(ctx, o, engineCases, &table{
		name: "engine",
		about: fmt.Sprintf("An engine with %d peers and %d heartbeats per second. In 'sending' and 'receiving', one heartbeat in a hundred goes the other "+
			"way, as at the floor. In 'learned', the detector has learned for %v, from 300 heartbeats of each peer. %s",
			enginePeers, benchRate, learnedAfter, aboutBeside(o)),
	})
}

// runGrowth is the benchmark growth.
func runGrowth(ctx context.Context, o options) (*table, error) {
	return runBeside(ctx, o, growthCases, &table{
		name: "growth",
		about: fmt.Sprintf("An engine that receives %d heartbeats per second, from more and more peers: the memory of a peer is what makes its heartbeat "+
			"cost more. %s", benchRate, aboutBeside(o)),
	})
}

// aboutBeside describes the measurements of runBeside.
func aboutBeside(o options) string {
	return fmt.Sprintf("CPU time (user + system of the whole process) per heartbeat, sent or received, over veth, measured by turns with the floor "+
		"(see floor; here to one address, as the engine's peers have one); the cheapest of %d measurements each. Heartbeats of 136 bytes, "+
		"no authentication, Sched.Procs 1. 'Loop' is the thread of the owner loop alone; the rest is the monitor thread of Go's runtime, which wakes "+
		"with every wait of an otherwise idle process. 'User' is the time of the process in user mode, as the kernel estimates it.", o.repeat)
}

// runBeside measures cases of the engine beside the floor.
func runBeside(ctx context.Context, o options, cases []engineCase, t *table) (_ *table, err error) {
	f, err := newFloor()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	f.destinations = 1 // a population has one address
	t.columns = []string{"engine_ns", "loop_ns", "user_ns", "floor_ns", "ratio", "loop_ratio", "calls_per_heartbeat", "false_verdicts", "dropped"}
	for i := range cases {
		b, err := f.beside(ctx, &cases[i], o)
		if err != nil {
			return nil, err
		}
		t.add(cases[i].name, b.figures()...)
	}
	return t, nil
}

// beside measures a case of the engine and of the floor by turns.
func (f *floor) beside(ctx context.Context, c *engineCase, o options) (b besideCounts, err error) {
	for range o.repeat {
		sent, received, err := f.measure(ctx, floorCase{c.name, 136, benchRate, 4000, c.back}, o.duration)
		if err != nil {
			return b, err
		}
		p := pairing{peers: c.peers, period: c.period, peersPeriod: c.peersPeriod, procs: 1, pinned: true, detector: c.detector, warm: c.warm}
		n, _, err := p.runFor(ctx, o.duration, 0)
		if err != nil {
			return b, err
		}
		b.add(c.floor(sent, received), &n)
	}
	return b, nil
}

// besideCounts are the measurements of one case. The cheapest of the engine and of the floor count,
// because other processes only add to the cost, but the false verdicts and drops of all count.
type besideCounts struct {
	measured          int
	floor             float64 // ns per datagram
	engine            nodeUsage
	verdicts, dropped uint64
}

// add adds a measurement.
func (b *besideCounts) add(floor float64, n *nodeCounts) {
	if b.measured == 0 || floor < b.floor {
		b.floor = floor
	}
	if b.measured == 0 || n.perHeartbeat() < b.engine.perHeartbeat() {
		b.engine = n.nodeUsage
	}
	b.verdicts += n.Suspected + n.Failed
	b.dropped += n.Dropped
	b.measured++
}

// figures returns the row.
func (b *besideCounts) figures() []float64 {
	cost, heartbeats := b.engine.perHeartbeat(), b.engine.heartbeats()
	loop, user := float64(b.engine.Loop)/heartbeats, float64(b.engine.User)/heartbeats
	return []float64{
		cost, loop, user, b.floor, cost / b.floor, loop / b.floor,
		float64(b.engine.Calls) / heartbeats, float64(b.verdicts), float64(b.dropped),
	}
}

// scaleCases are crowds: peers, and the period of their heartbeats.
var scaleCases = []struct {
	peers  int
	period time.Duration
}{{100_000, time.Second}, {10_000, 100 * time.Millisecond}}

// runScale is the benchmark scale.
func runScale(ctx context.Context, o options) (*table, error) {
	t := &table{
		name: "scale",
		about: fmt.Sprintf("An engine with one shard and many peers, both ways over veth, for %v: verdicts against living peers, drops, heartbeats that were skipped, the CPU "+
			"time of the engine's process in cores, the time to add all peers, and the heap that each holds. gc is the median pause of %d garbage collections, "+
			"before the engine is opened and with all peers, as runtime/metrics buckets it.", o.duration, collections),
		columns: []string{"false_verdicts", "dropped", "missed", "cores", "ns_per_heartbeat", "add_all_ms", "bytes_per_peer", "gc_empty_us", "gc_us"},
	}
	for _, c := range scaleCases {
		p := pairing{peers: c.peers, period: c.period, detector: "fixed"}
		n, _, err := p.runFor(ctx, o.duration, 0)
		if err != nil {
			return nil, err
		}
		t.add(strconv.Itoa(c.peers)+" peers at "+c.period.String(), scaleFigures(&n)...)
	}
	return t, nil
}

// scaleFigures returns a row of scale.
func scaleFigures(n *nodeCounts) []float64 {
	return []float64{
		float64(n.Suspected + n.Failed), float64(n.Dropped), float64(n.Missed),
		float64(n.CPU) / float64(n.Wall), n.perHeartbeat(), millis(n.AddTime), n.BytesPerPeer,
		micros(n.PauseEmpty), micros(n.PausePeers),
	}
}
