package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"systole/bpf"
	"systole/engine/enginetest/netlab"
)

// absorbRow is what was measured of one way to receive heartbeats. What was not measured is none.
type absorbRow struct {
	node    nodeCounts
	others  populationCounts
	program float64 // ns per heartbeat, of arrivals
	handOff float64 // ns per heartbeat, of hand-offs
}

// received returns the heartbeats that the receiver received.
func (r *absorbRow) received() float64 { return float64(r.node.Received) }

// process is the CPU time of the receiver's process per heartbeat that it received, in nanoseconds.
func (r *absorbRow) process() float64 { return float64(r.node.CPU) / r.received() }

// sender is the CPU time of the others' process per heartbeat that they sent.
func (r *absorbRow) sender() float64 { return float64(r.others.CPU) / float64(r.others.Sent) }

// bothEnds is the CPU time of both processes per heartbeat. On veth the softirqs of the receiver
// run in the process that sends.
func (r *absorbRow) bothEnds() float64 {
	if r.node.Received == 0 {
		return r.sender()
	}
	return r.sender() + r.process()
}

// cheaper takes from another measurement what was cheaper there: other processes only add to the cost.
func (r *absorbRow) cheaper(other *absorbRow, first bool) {
	if first || other.process() < r.process() {
		r.node = other.node
	}
	if first || other.sender() < r.sender() {
		r.others = other.others
	}
}

// absorbColumns are the figures of absorb.
var absorbColumns = []string{
	"heartbeats_per_s", "taken", "program_ns", "handoff_program_ns", "process_ns", "both_ns", "ratio", "above_drop_ns", "above_drop_ratio",
	"cores", "both_ends_cores", "turns_per_s", "calls_per_s", "suspected_per_min", "failed_per_min", "peers_late_per_min", "dropped",
}

// absorbBase is what rows are compared with.
type absorbBase struct{ floor, drop absorbRow }

// figures returns the row beside base, nil if there is none.
func (r *absorbRow) figures(base *absorbBase) []float64 {
	seconds, minutes := r.node.Wall.Seconds(), r.node.Wall.Minutes()
	ratio, above, aboveRatio := none, none, none
	both := r.program + r.process()
	if base != nil {
		ratio = both / base.floor.process()
		above = r.bothEnds() - base.drop.bothEnds()
		aboveRatio = above / (base.floor.bothEnds() - base.drop.bothEnds())
	}
	return []float64{
		r.received() / seconds, float64(r.node.Taken) / r.received(), r.program, r.handOff, r.process(), both, ratio, above, aboveRatio,
		r.node.CPU.Seconds() / seconds, (r.node.CPU + r.others.CPU).Seconds() / seconds, float64(r.node.Turns) / seconds, float64(r.node.Calls) / seconds,
		float64(r.node.Suspected) / minutes, float64(r.node.Failed) / minutes, float64(r.others.Late) / minutes, float64(r.node.Dropped),
	}
}

// runAbsorb is the benchmark absorb.
func runAbsorb(ctx context.Context, o options) (t *table, err error) {
	t = &table{
		name: "absorb",
		about: fmt.Sprintf("Heartbeats that BPF programs take below the sockets, beside today's way through the sockets (tier kernel). "+
			"program_ns is the run time of the BPF program of arrivals per received heartbeat, by the kernel's statistics in a measurement apart, which include some 40 ns of those statistics per run; process_ns is the "+
			"CPU time of the receiving process; both_ns their sum, and ratio that over process_ns of a bare recvmmsg loop (see floor). above_drop_ns is the CPU time of the processes of both ends per heartbeat, of which the sender's has the receiver's softirqs, above "+
			"that where nftables drops the same heartbeats; above_drop_ratio is that over the bare loop's. It has the runs of the program of hand-offs for what the sender sends, handoff_program_ns, because the sender is on this machine. The first rows have %d peers and %d heartbeats per second; measured by turns, the cheapest of %d. "+
			"Reading alone is Source.Next for each peer every 100 ms, without an engine. turns are the wake-ups of the loop. The rows with busy loops have %d peers at %v × %d at equal priority, "+
			"those that spin have four goroutines in the process. Their peers are scheduled by SCHED_FIFO, so that their heartbeats come; peers_late are heartbeats that were sent too late all the same, a silence that is real. Each measurement takes %v.",
			enginePeers, benchRate, o.repeat, o.sessions, birdInterval, birdMultiplier, o.duration),
		columns: absorbColumns,
	}
	tiers := t.tiers(bpf.Kernel, bpf.Absorb)
	if err := addAbsorbCosts(ctx, t, tiers, o); err != nil {
		return nil, err
	}
	for _, c := range absorbCases(o) {
		for _, tier := range tiers {
			c.pairing.tier = tier
			r := absorbRow{program: none, handOff: none}
			if r.node, r.others, err = c.pairing.runFor(ctx, o.duration, c.busy); err != nil {
				return nil, err
			}
			t.add(c.name+", tier "+string(tier), r.figures(nil)...)
		}
	}
	return t, nil
}

// absorbCase is an engine that is measured with each tier.
type absorbCase struct {
	name    string
	busy    int // loops beside
	pairing pairing
}

// absorbCases are those that are compared with nothing but themselves.
func absorbCases(o options) (cases []absorbCase) {
	for _, peers := range []int{10, 100, 1000} {
		cases = append(cases, absorbCase{
			name:    fmt.Sprintf("%d peers at 1s, both ways", peers),
			pairing: pairing{peers: peers, period: time.Second, procs: 1, detector: "fixed"},
		})
	}
	for _, per := range []int{1, 10, 100} {
		const peers = 10
		cases = append(cases, absorbCase{
			name: fmt.Sprintf("%d heartbeats per second, %d of its own, 3 s to detect", peers*per, peers*int(time.Second/wakePeriod)),
			pairing: pairing{
				peers: peers, period: wakePeriod, peersPeriod: time.Second / time.Duration(per), procs: 1, detector: "fixed:" + strconv.Itoa(3*per),
			},
		})
	}
	for _, c := range scaleCases {
		cases = append(cases, absorbCase{
			name:    strconv.Itoa(c.peers) + " peers at " + c.period.String(),
			pairing: pairing{peers: c.peers, period: c.period, detector: "fixed"},
		})
	}
	for _, c := range []struct {
		name       string
		busy, spin int
	}{
		{"8 busy loops", 8, 0}, {"4 goroutines spin inside, Procs 0", 0, 4}, {"8 busy loops, 4 goroutines spin inside, Procs 0", 8, 4},
	} {
		p := (&loadCase{spin: c.spin}).pairing(o.sessions)
		p.punctual = true
		cases = append(cases, absorbCase{c.name, c.busy, *p})
	}
	return cases
}

// wakePeriod is the period of own heartbeats where only the peers' period varies: a peer's heartbeats of that time
// fit into its ring.
const wakePeriod = 30 * time.Millisecond

// addAbsorbCosts measures what a heartbeat costs, by turns.
func addAbsorbCosts(ctx context.Context, t *table, tiers []bpf.Tier, o options) (err error) {
	f, err := newFloor()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	rows := absorbCosts(f, tiers)
	best := make([]absorbRow, len(rows))
	for i := range o.repeat {
		for k, r := range rows {
			got, err := r.measure(ctx, o.duration)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			best[k].cheaper(&got, i == 0)
		}
	}
	for k, r := range rows {
		if r.pairing == nil || r.pairing.tier == bpf.Kernel {
			continue
		}
		n, arrivals, handOffs, err := r.pairing.countRuns(ctx, o.duration)
		if err != nil {
			return err
		}
		best[k].program, best[k].handOff = arrivals.per(n.Received), handOffs.per(n.Received)
	}
	base := &absorbBase{drop: best[0], floor: best[1]}
	for k := range best {
		t.add(rows[k].name, best[k].figures(base)...)
	}
	return nil
}

// absorbCost is one way to receive the same heartbeats.
type absorbCost struct {
	name    string
	pairing *pairing // nil: without a node
	measure func(context.Context, time.Duration) (absorbRow, error)
}

// absorbCosts returns the ways to receive. The first two are the base.
func absorbCosts(f *floor, tiers []bpf.Tier) []absorbCost {
	rows := []absorbCost{
		{name: "dropped by nftables", measure: measureDrop}, {name: "bare recvmmsg loop", measure: f.receiveAlone},
	}
	add := func(name string, p pairing) {
		rows = append(rows, absorbCost{name, &p, func(ctx context.Context, d time.Duration) (r absorbRow, err error) {
			r.node, r.others, err = p.runFor(ctx, d, 0)
			return r, err
		}})
	}
	p := pairing{peers: enginePeers, period: slowPeriod, peersPeriod: absorbPeriod, procs: 1, pinned: true, detector: "fixed"}
	for _, tier := range tiers {
		p.tier = tier
		add("engine, tier "+string(tier), p)
	}
	if slices.Contains(tiers, bpf.Absorb) {
		p.receiver = "reader"
		add("reading alone, tier absorb by tcx", p)
		p.xdp = true
		add("reading alone, tier absorb by native XDP", p)
	}
	return rows
}

// withoutNode measures a population that sends to host A, which prepare prepares to receive. prepare returns what
// ends that.
func withoutNode(ctx context.Context, d time.Duration, prepare func(*netlab.Lab) (end func() error, err error)) (r absorbRow, err error) {
	lab, err := netlab.New()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	p := pairing{peers: enginePeers, peersPeriod: absorbPeriod, pinned: true, lab: lab}
	others, err := startChild(ctx, lab.B, "population", p.populationOptions())
	if err != nil {
		return r, err
	}
	defer others.kill()
	end, err := prepare(lab)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, end()) }()
	var void any
	if err := errors.Join(sleep(ctx, beforeCounting), others.ask(ctx, "begin", &void)); err != nil {
		return r, err
	}
	err = errors.Join(sleep(ctx, d), others.ask(ctx, "end", &r.others))
	return r, err
}

const (
	absorbPeriod   = 100 * time.Millisecond // of the peers' heartbeats
	beforeCounting = time.Second
)

// dropRules drop datagrams before the network stack of host A has them.
const dropRules = "add table netdev bench; add chain netdev bench in { type filter hook ingress device lab0 priority 0; }; " +
	"add rule netdev bench in meta l4proto udp drop"

// measureDrop measures the sending alone.
func measureDrop(ctx context.Context, d time.Duration) (absorbRow, error) {
	r, err := withoutNode(ctx, d, func(lab *netlab.Lab) (func() error, error) {
		return func() error { return nil }, lab.A.Run("nft", dropRules)
	})
	r.node.Wall = d
	return r, err
}

// receiveAlone measures the floor as the receiver of a population.
func (f *floor) receiveAlone(ctx context.Context, d time.Duration) (absorbRow, error) {
	var counts floorCounts
	r, err := withoutNode(ctx, d, func(lab *netlab.Lab) (func() error, error) {
		all := d + 2*beforeCounting
		args := []string{"-R", "-p", strconv.Itoa(childPort), "-c", "0", "-t", "4000", "-T", strconv.FormatFloat(all.Seconds(), 'g', -1, 64)}
		ended := make(chan error, 1)
		go func() { ended <- f.runOn(ctx, lab.A, args, all, &counts) }()
		return func() error { return <-ended }, nil
	})
	r.node.nodeUsage = nodeUsage{
		Received: uint64(counts.Received), Dropped: uint64(counts.Dropped), Calls: uint64(counts.Calls),
		CPU: time.Duration(counts.User + counts.System), Wall: time.Duration(counts.Wall),
	}
	return r, err
}
