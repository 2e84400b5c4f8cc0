package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// load measures the engine as bird measures BIRD: as many sessions, at the same period and
// multiplier, beside the same busy loops.

// loadCase is how an engine is scheduled.
type loadCase struct {
	name  string
	nice  int
	fifo  int
	spin  int // goroutines that spin in the process of the engine
	procs int
}

var (
	// loadCases are measured with every number of busy loops, spinCases without.
	loadCases = []loadCase{
		{name: "equal priority"},
		{name: "equal priority, Procs 1", procs: 1},
		{name: "nice -20", nice: -20},
		{name: "SCHED_FIFO", fifo: 10},
	}
	spinCases = []loadCase{
		{name: "Procs 0", spin: 4},
		{name: "Procs 1", spin: 4, procs: 1},
		{name: "Procs 2", spin: 4, procs: 2},
		{name: "Procs 2, nice -20", spin: 4, procs: 2, nice: -20},
		{name: "Procs 2, SCHED_FIFO", spin: 4, procs: 2, fifo: 10},
	}
)

// rowName returns the name of a row beside busy loops.
func (c *loadCase) rowName(busy int) string {
	if c.spin > 0 {
		return fmt.Sprintf("%s, %d goroutines spin inside", c.name, c.spin)
	}
	return c.name + ", " + loadName(busy)
}

// pairing returns the pairing of a case.
func (c *loadCase) pairing(peers int) *pairing {
	return &pairing{
		peers: peers, period: birdInterval, detector: birdDetector,
		nice: c.nice, fifo: c.fifo, spin: c.spin, procs: c.procs,
	}
}

// runLoad is the benchmark load.
func runLoad(ctx context.Context, o options) (*table, error) {
	t := &table{
		name: "load",
		about: fmt.Sprintf("An engine with %d peers at %v × %d, both ends on this machine, each case for %v, beside busy loops at normal priority or with "+
			"goroutines that spin in the engine's process. All peers live, so every suspicion and every failure is false. "+
			"The other end is a loop with the same scheduling that judges by silence alone: naive_end counts its false suspicions, and peers_late those of its heartbeats that it sent more than two periods late: a silence that is real.",
			o.sessions, birdInterval, birdMultiplier, o.duration),
		columns: []string{"suspected_per_min", "failed_per_min", "peers_late_per_min", "local_pauses_per_min", "naive_end_per_min", "cpu_us_per_packet", "packets_per_s"},
	}
	for _, c := range loadCases {
		for _, busy := range o.loads {
			if err := addLoad(ctx, t, &c, busy, o); err != nil {
				return nil, err
			}
		}
	}
	for _, c := range spinCases {
		if err := addLoad(ctx, t, &c, 0, o); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// addLoad measures one row.
func addLoad(ctx context.Context, t *table, c *loadCase, busy int, o options) error {
	n, q, err := c.pairing(o.sessions).runFor(ctx, o.duration, busy)
	if err != nil {
		return err
	}
	t.add(c.rowName(busy), c.figures(&n, &q)...)
	return nil
}

// figures returns a row of load. The CPU time has no meaning where goroutines spin.
func (c *loadCase) figures(n *nodeCounts, q *populationCounts) []float64 {
	cpu := n.perHeartbeat() / 1000
	if c.spin > 0 {
		cpu = none
	}
	minutes := n.Wall.Minutes()
	return []float64{
		float64(n.Suspected) / minutes, float64(n.Failed) / minutes, float64(q.Late) / minutes, float64(n.LocalPauses) / minutes,
		float64(q.Mistakes) / minutes, cpu, n.heartbeats() / n.Wall.Seconds(),
	}
}

// lateness stops all peers for stopTime, every stopEvery.
const (
	stopTime  = 200 * time.Millisecond
	stopEvery = time.Second
)

// runLateness is the benchmark lateness.
func runLateness(ctx context.Context, o options) (*table, error) {
	t := &table{
		name: "lateness",
		about: fmt.Sprintf("Time from the deadline of a suspicion to the suspicion, and to the subscriber's goroutine, at %v × %d: all %d peers are "+
			"stopped for %v each second (SIGSTOP), for %v.", birdInterval, birdMultiplier, o.sessions, stopTime, o.duration),
		columns: []string{"verdicts", "verdict_us_p50", "verdict_us_p99", "event_us_p50", "event_us_p99"},
	}
	for _, c := range loadCases {
		for _, busy := range []int{0, 2 * (lastCPU() + 1)} {
			p := c.pairing(o.sessions)
			n, _, err := p.run(ctx, busy, func(ctx context.Context) error { return p.stopPeers(ctx, o.duration) })
			if err != nil {
				return nil, err
			}
			t.add(c.rowName(busy), latenessFigures(&n.verdicts)...)
		}
	}
	return t, nil
}

// latenessFigures returns a row of lateness.
func latenessFigures(v *verdicts) []float64 {
	return []float64{
		float64(len(v.Lag)), quantileMicros(v.Lag, 0.5), quantileMicros(v.Lag, 0.99),
		quantileMicros(v.Delivery, 0.5), quantileMicros(v.Delivery, 0.99),
	}
}

// stopPeers stops the population again and again, for d in all.
func (p *pairing) stopPeers(ctx context.Context, d time.Duration) error {
	signal := p.population.cmd.Process.Signal
	for end := time.Now().Add(d); time.Now().Before(end); {
		if err := signal(syscall.SIGSTOP); err != nil {
			return err
		}
		stopped := sleep(ctx, stopTime)
		if err := errors.Join(stopped, signal(syscall.SIGCONT)); err != nil {
			return err
		}
		if err := sleep(ctx, stopEvery-stopTime); err != nil {
			return err
		}
	}
	return nil
}
