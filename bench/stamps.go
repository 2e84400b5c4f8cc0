package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"systole/bpf"
	"systole/engine/clock"
)

// stampCost is a way to stamp heartbeats.
type stampCost struct {
	name       string
	tier       bpf.Tier
	stampSends int
}

// The ways to stamp the heartbeats that an engine receives, and those that it sends. The first of each is
// what others are compared with.
var (
	receiveStamps = []stampCost{{"tier kernel", bpf.Kernel, 0}, {"tier bpf", bpf.Stamps, 0}}
	sendStamps    = []stampCost{
		{"no hand-offs", bpf.Kernel, 0}, {"hand-offs of tier kernel: the error queue", bpf.Kernel, 1}, {"hand-offs of tier bpf", bpf.Stamps, 0},
	}
)

// runStamps is the benchmark stamps.
func runStamps(ctx context.Context, o options) (t *table, err error) {
	f, err := newFloor()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	f.destinations = 1
	t = &table{
		name: "stamps",
		about: fmt.Sprintf("What stamps cost an engine with %d peers, %d heartbeats per second in one direction and one in a hundred in the other, every way by turns with the others and with the floor (see engine); "+
			"the cheapest of %d measurements each. The program_ns are the run times of the BPF programs per heartbeat, by the kernel's statistics in a measurement apart, "+
			"which include some 40 ns of those statistics per run. The program of hand-offs also runs for what the other end sends, because that is on this machine. "+
			"The program of arrivals runs in the softirq, which is no part of engine_ns; against_first is (engine_ns + arrival_program_ns) over engine_ns of the first way. stamped is the share of heartbeats that got the stamp.", enginePeers, benchRate, o.repeat),
		columns: []string{"engine_ns", "floor_ns", "ratio", "arrival_program_ns", "handoff_program_ns", "handoff_runs", "against_first", "stamped", "calls_per_heartbeat", "false_verdicts"},
	}
	tiers := t.tiers(bpf.Kernel, bpf.Stamps)
	for _, g := range []struct {
		c     *engineCase
		sends bool
		ways  []stampCost
	}{{&engineCases[1], false, receiveStamps}, {&engineCases[0], true, sendStamps}} {
		ways := slices.DeleteFunc(slices.Clone(g.ways), func(w stampCost) bool { return !slices.Contains(tiers, w.tier) })
		costs, err := f.stampCosts(ctx, g.c, ways, o)
		if err != nil {
			return nil, err
		}
		for k, w := range ways {
			t.add(g.c.name+", "+w.name, costs[k].figures(w, g.sends, costs[0].engine.perHeartbeat())...)
		}
	}
	return t, nil
}

// stampCosts are the measurements of one way.
type stampCosts struct {
	besideCounts
	arrivals, handOffs programRuns
	during             nodeUsage // while those were counted
}

// stampCosts measures all ways by turns.
func (f *floor) stampCosts(ctx context.Context, c *engineCase, ways []stampCost, o options) ([]stampCosts, error) {
	costs := make([]stampCosts, len(ways))
	for range o.repeat {
		sent, received, err := f.measure(ctx, floorCase{c.name, 136, benchRate, 4000, c.back}, o.duration)
		if err != nil {
			return nil, err
		}
		for k, w := range ways {
			n, _, err := w.pairing(c).runFor(ctx, o.duration, 0)
			if err != nil {
				return nil, err
			}
			costs[k].add(c.floor(sent, received), &n)
		}
	}
	for k, w := range ways {
		if err := costs[k].count(ctx, w, c, o.duration); err != nil {
			return nil, err
		}
	}
	return costs, nil
}

// pairing returns the pairing of an engine that stamps in the way w.
func (w *stampCost) pairing(c *engineCase) *pairing {
	return &pairing{
		peers: c.peers, period: c.period, peersPeriod: c.peersPeriod, procs: 1, pinned: true, detector: c.detector,
		tier: w.tier, stampSends: w.stampSends,
	}
}

// count measures once more, for the runs of BPF programs and for how many heartbeats were stamped.
func (s *stampCosts) count(ctx context.Context, w stampCost, c *engineCase, d time.Duration) (err error) {
	var n nodeCounts
	n, s.arrivals, s.handOffs, err = w.pairing(c).countRuns(ctx, d)
	s.during = n.nodeUsage
	return err
}

// figures returns a row. first is engine_ns of the first way.
func (s *stampCosts) figures(w stampCost, sends bool, first float64) []float64 {
	heartbeats := s.during.Sent + s.during.Received
	arrivals, handOffs := s.arrivals.per(heartbeats), s.handOffs.per(heartbeats)
	stamped := float64(s.during.Stamped[sourceOf[w.tier]]) / float64(s.during.Received)
	if sends {
		stamped = float64(s.during.SendsStamped) / float64(s.during.Sent)
	}
	cost := s.engine.perHeartbeat()
	return []float64{
		cost, s.floor, cost / s.floor, arrivals, handOffs, float64(s.handOffs.count) / float64(heartbeats), (cost + arrivals) / first, stamped,
		float64(s.engine.Calls) / s.engine.heartbeats(), float64(s.verdicts),
	}
}

// sourceOf is where the heartbeats of a tier are stamped.
var sourceOf = map[bpf.Tier]clock.Source{bpf.Kernel: clock.Kernel, bpf.Stamps: clock.BPF, bpf.Absorb: clock.BPF}
