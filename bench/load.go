package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"systole/engine"
	"systole/engine/enginetest/netlab"
)

// The engine where BIRD is measured: as many sessions, at the same period and
// multiplier, under the same busy loops.

// loadCase is one way to run the engine.
type loadCase struct {
	name     string
	class    engine.SchedClass
	priority int
	spin     int
	procs    int
}

// loadCases are run under every load; spinCases have their load inside.
var (
	loadCases = []loadCase{
		{name: "equal priority"},
		{name: "equal priority, Procs 1", procs: 1},
		{name: "nice -20", class: engine.Nice, priority: -20},
		{name: "SCHED_FIFO", class: engine.FIFO, priority: 10},
	}
	spinCases = []loadCase{
		{name: "as it comes", spin: 4},
		{name: "Procs 1", spin: 4, procs: 1},
		{name: "Procs 2", spin: 4, procs: 2},
		{name: "Procs 2, nice -20", spin: 4, procs: 2, class: engine.Nice, priority: -20},
		{name: "Procs 2, SCHED_FIFO", spin: 4, procs: 2, class: engine.FIFO, priority: 10},
	}
)

// runLoad is the benchmark load.
func runLoad(ctx context.Context, o options) (*table, error) {
	t := &table{
		name: "load",
		about: fmt.Sprintf("An engine with %d peers at %v × %d, both ends on this machine, each for %v, while busy loops run at normal priority or "+
			"goroutines spin in the engine's own process. All peers live: every suspicion and every failure is false. "+
			"The other end is a loop of the same scheduling that judges by silence alone: naive_end is what it took for dead.", o.sessions, birdInterval, birdMultiplier, o.duration),
		columns: []string{"suspected_per_min", "failed_per_min", "local_pauses_per_min", "naive_end_per_min", "cpu_us_per_packet", "packets_per_s"},
	}
	for _, c := range loadCases {
		for _, busy := range o.loads {
			if err := addLoad(ctx, t, c, busy, o); err != nil {
				return nil, err
			}
		}
	}
	for _, c := range spinCases {
		if err := addLoad(ctx, t, c, 0, o); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// addLoad measures one row.
func addLoad(ctx context.Context, t *table, c loadCase, busy int, o options) error {
	p := pairing{
		peers: o.sessions, period: birdInterval, detector: birdDetector,
		class: c.class, priority: c.priority, spin: c.spin, procs: c.procs,
	}
	n, q, err := p.run(ctx, o.duration, busy)
	if err != nil {
		return err
	}
	name := c.name + ", " + loadName(busy)
	cpu := float64(n.CPU.Nanoseconds()) / 1000 / float64(n.Sent+n.Received)
	if c.spin > 0 {
		name, cpu = fmt.Sprintf("%s, %d goroutines spin inside", c.name, c.spin), none
	}
	minutes := n.Wall.Minutes()
	t.add(name, float64(n.Suspected)/minutes, float64(n.Failed)/minutes, float64(n.LocalPauses)/minutes,
		float64(q.Mistakes)/minutes, cpu, float64(n.Sent+n.Received)/n.Wall.Seconds())
	return nil
}

// runLateness is the benchmark lateness.
func runLateness(ctx context.Context, o options) (*table, error) {
	t := &table{
		name: "lateness",
		about: fmt.Sprintf("Time from the deadline of a suspicion to the suspicion, and to the subscriber's goroutine, at %v × %d: all %d peers are "+
			"stopped for %v each second (SIGSTOP), for %v.", birdInterval, birdMultiplier, o.sessions, stopTime, o.duration),
		columns: []string{"verdicts", "verdict_us_p50", "verdict_us_p99", "event_us_p50", "event_us_p99"},
	}
	busy := []int{0, 2 * (lastCPU() + 1)}
	for _, c := range loadCases {
		for _, b := range busy {
			n, err := lateness(ctx, c, b, o)
			if err != nil {
				return nil, err
			}
			t.add(c.name+", "+loadName(b), float64(len(n.Lag)), quantile(n.Lag, 0.5), quantile(n.Lag, 0.99),
				quantile(n.Delivery, 0.5), quantile(n.Delivery, 0.99))
		}
	}
	return t, nil
}

// stopTime is how long the peers are stopped, and stopEvery how often.
const (
	stopTime  = 200 * time.Millisecond
	stopEvery = time.Second
)

// lateness stops the population again and again while a node counts.
func lateness(ctx context.Context, c loadCase, busy int, o options) (n counted, err error) {
	p := pairing{peers: o.sessions, period: birdInterval, detector: birdDetector, class: c.class, priority: c.priority}
	if p.lab, err = netlab.New(); err != nil {
		return n, err
	}
	defer func() { err = errors.Join(err, p.lab.Close()) }()
	defer p.stop()
	if err := p.start(ctx); err != nil {
		return n, err
	}
	if busy > 0 {
		stop, err := startBusy(busy)
		if err != nil {
			return n, err
		}
		defer func() { _ = stop() }() // they die with this program
	}
	n, _, err = p.measure(ctx, o.duration, func(ctx context.Context) error {
		for end := time.Now().Add(o.duration); time.Now().Before(end); {
			if err := p.population.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				return err
			}
			stopped := sleep(ctx, stopTime)
			if err := errors.Join(stopped, p.population.cmd.Process.Signal(syscall.SIGCONT)); err != nil {
				return err
			}
			if err := sleep(ctx, stopEvery-stopTime); err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

// quantile returns the q-quantile in microseconds.
func quantile(d []time.Duration, q float64) float64 {
	if len(d) == 0 {
		return none
	}
	d = slices.Clone(d)
	slices.Sort(d)
	return float64(d[min(int(q*float64(len(d))), len(d)-1)].Nanoseconds()) / 1000
}
