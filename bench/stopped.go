package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"systole/bpf"
	"systole/engine"
	"systole/engine/clock"
	"systole/engine/enginetest/netlab"
)

// The benchmark stopped stops an engine for a second, and kills some of its peers meanwhile. Nobody who lives may
// be accused. Those who died must be listed, with the instant of their last heartbeat.

const (
	stoppedPeriod    = 10 * time.Millisecond
	stoppedRounds    = 5
	stoppedTime      = time.Second
	stoppedKill      = 300 * time.Millisecond // after the beginning
	stoppedAfter     = 2 * time.Second        // from the end to the last verdict that counts
	stoppedDead      = 20
	stoppedSurvivors = 80
	stoppedBuffer    = 16 << 20 // bytes; holds what arrives while the engine is stopped
)

// firstDead is the id of the first peer that dies, and deadPort the port of those.
const (
	firstDead = firstPeerID + stoppedSurvivors
	deadPort  = childPort + 1
)

// runStopped is the benchmark stopped.
func runStopped(ctx context.Context, _ options) (*table, error) {
	t := &table{
		name: "stopped",
		about: fmt.Sprintf("An engine with %d peers at %v × 3 is stopped for %v (SIGSTOP). %v after the beginning, %d of them are killed. Of %d rounds: survivors who were suspected; "+
			"those who died, and who of them was suspected after the stop, and how often once more after later heartbeats had been read; by how much the last arrival that the event tells differs from the last heartbeat that a packet socket saw of the peer; and "+
			"how long after the stop they were suspected and failed.",
			stoppedSurvivors+stoppedDead, stoppedPeriod, stoppedTime, stoppedKill, stoppedDead, stoppedRounds),
		columns: []string{
			"accused", "died", "listed", "revised", "last_arrival_error_us_p50", "last_arrival_error_us_max", "suspected_ms_p50", "suspected_ms_max", "failed_ms_max",
		},
	}
	for _, tier := range t.tiers(bpf.Kernel, bpf.Stamps, bpf.Absorb) {
		for _, buffer := range []int{0, stoppedBuffer} {
			var r stoppedResult
			for range stoppedRounds {
				if err := r.round(ctx, tier, buffer); err != nil {
					return nil, err
				}
			}
			name := "tier " + string(tier)
			if buffer > 0 {
				name += fmt.Sprintf(", receive buffer of %d MiB", buffer>>20)
			}
			t.add(name, r.figures()...)
		}
	}
	return t, nil
}

// stoppedResult are the rounds of one tier.
type stoppedResult struct {
	accused, died              int
	listed, revised            int
	arrival, suspected, failed []time.Duration // see the columns
}

// round stops an engine once, in a lab of its own.
func (r *stoppedResult) round(ctx context.Context, tier bpf.Tier, buffer int) (err error) {
	lab, err := netlab.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	tap, err := openTap(lab.A, lab.A.Device, incoming)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tap.close()) }()
	dead := portAfter(hostAddr(lab.B), deadPort-childPort)
	var children [4]*child
	defer func() {
		for _, c := range children {
			if c != nil {
				c.kill()
			}
		}
	}()
	for i, start := range []struct {
		host       *netlab.Host
		subcommand string
		options    any
	}{
		{lab.B, "population", populationOptions{Local: hostAddr(lab.B), Target: hostAddr(lab.A), FirstID: firstPeerID, Count: stoppedSurvivors, Period: stoppedPeriod}},
		{lab.B, "population", populationOptions{Local: dead, Target: hostAddr(lab.A), FirstID: firstDead, Count: stoppedDead, Period: stoppedPeriod}},
		{lab.A, "node", nodeOptions{
			Local: hostAddr(lab.A), Peers: hostAddr(lab.B), Count: stoppedSurvivors, More: morePeers{dead, stoppedDead},
			Period: stoppedPeriod, Detector: birdDetector, Tier: tier, RecvBuffer: buffer, Procs: 1,
		}},
		{lab.A, "hog", scheduling{FIFO: hogPriority}},
	} {
		if children[i], err = startChild(ctx, start.host, start.subcommand, start.options); err != nil {
			return err
		}
	}
	killed, node, hog := children[1], children[2], children[3]
	var void any
	if err := errors.Join(sleep(ctx, time.Second), node.ask(ctx, "begin", &void)); err != nil {
		return err
	}
	begin := clock.Now().Add(10 * time.Millisecond)
	time.AfterFunc(stoppedKill, func() { _ = killed.cmd.Process.Kill() })
	stopped, err := stop(ctx, hog, node, span{begin, begin.Add(stoppedTime)})
	if err != nil {
		return err
	}
	var events []engine.Event
	if err := errors.Join(sleep(ctx, stoppedAfter), node.ask(ctx, "events", &events)); err != nil {
		return err
	}
	passed, err := tap.passed()
	if err == nil {
		r.judge(events, lastArrivals(passed), stopped)
	}
	return err
}

// lastArrivals returns the last arrival from each sender.
func lastArrivals(passed []passing) map[uint64]clock.Instant {
	last := make(map[uint64]clock.Instant)
	for _, p := range passed {
		last[p.h.Sender] = max(last[p.h.Sender], p.at)
	}
	return last
}

// judge compares the events of a round with the last arrivals. Of several suspicions of a peer the last counts.
func (r *stoppedResult) judge(events []engine.Event, last map[uint64]clock.Instant, stopped span) {
	r.died += stoppedDead
	suspicions := make(map[uint64]*engine.Event)
	for i := range events {
		ev := &events[i]
		switch {
		case ev.ID < firstDead && (ev.To == engine.Suspect || ev.To == engine.Failed):
			r.accused++
		case ev.ID >= firstDead && ev.To == engine.Suspect && ev.At >= stopped.End:
			if suspicions[ev.ID] != nil {
				r.revised++
			}
			suspicions[ev.ID] = ev
		case ev.ID >= firstDead && ev.To == engine.Failed:
			r.failed = append(r.failed, ev.At.Sub(stopped.End))
		}
	}
	r.listed += len(suspicions)
	for id, ev := range suspicions {
		r.suspected = append(r.suspected, ev.At.Sub(stopped.End))
		r.arrival = append(r.arrival, ev.At.Add(-ev.Silence).Sub(last[id]).Abs())
	}
}

// figures returns a row of stopped.
func (r *stoppedResult) figures() []float64 {
	return []float64{
		float64(r.accused), float64(r.died), float64(r.listed), float64(r.revised), quantileMicros(r.arrival, 0.5), quantileMicros(r.arrival, 1),
		quantileMicros(r.suspected, 0.5) / 1000, quantileMicros(r.suspected, 1) / 1000, quantileMicros(r.failed, 1) / 1000,
	}
}
