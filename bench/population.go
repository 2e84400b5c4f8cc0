package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/enginetest/load"
)

// populationOptions are the options of a population, the peers of a node.
type populationOptions struct {
	Local, Target netip.AddrPort
	FirstID       uint64        // of the peers
	Count         int           // peers
	Period        time.Duration // of the heartbeats of each
	scheduling
	ForReader bool // the target is a reader, and not a node
}

// populationCounts are the answer of a population to "end".
type populationCounts struct {
	Sent, Received uint64
	Mistakes       uint64        // suspicions of the node, which lives
	Late           uint64        // see load.Counts
	CPU            time.Duration // of the process, with the softirqs that its sends raise
}

// minus returns the counts since earlier ones.
func (c populationCounts) minus(earlier populationCounts) populationCounts {
	return populationCounts{c.Sent - earlier.Sent, c.Received - earlier.Received, c.Mistakes - earlier.Mistakes, c.Late - earlier.Late, c.CPU - earlier.CPU}
}

// runPopulation is the subcommand population.
func runPopulation(options string) error {
	var o populationOptions
	if err := decodeOptions(options, &o); err != nil {
		return err
	}
	cfg := load.Config{Local: o.Local, Target: o.Target, FirstID: o.FirstID, Nodes: o.Count, Period: o.Period}
	if o.ForReader {
		cfg.Known = readerDiscriminator
	}
	p, err := load.Open(cfg)
	if err != nil {
		return err
	}
	go func() {
		runtime.LockOSThread()
		exitWith("population", errors.Join(o.apply(), p.Run(context.Background())))
	}()
	var before populationCounts
	counts := func() populationCounts {
		cpu, _ := rusage()
		c := p.Counts()
		return populationCounts{c.Sent, c.Received, c.Mistakes, c.Late, cpu}
	}
	return commands{
		"begin": func(string) (any, error) {
			before = counts()
			return nil, nil
		},
		"end": func(string) (any, error) { return counts().minus(before), nil },
	}.serve(os.Stdin, os.Stdout)
}

// scheduling is how the kernel schedules the loop of a child.
type scheduling struct {
	Nice   int // 0: as it is
	FIFO   int // priority in SCHED_FIFO; 0: not in that class
	Pinned bool
	CPU    int // if pinned
}

// apply schedules the calling thread as an engine schedules its loop.
func (s *scheduling) apply() error {
	const self, slice = 0, 100_000
	if s.Pinned {
		var set unix.CPUSet
		set.Set(s.CPU)
		if err := unix.SchedSetaffinity(self, &set); err != nil {
			return fmt.Errorf("pin a thread to CPU %d: %w", s.CPU, err)
		}
	}
	a := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Runtime: slice}
	a.Nice = int32(s.Nice)
	if s.FIFO != 0 {
		a.Policy, a.Priority, a.Runtime = unix.SCHED_FIFO, uint32(s.FIFO), 0
	}
	if err := unix.SchedSetAttr(self, a, 0); err != nil {
		return fmt.Errorf("schedule a thread by nice %d and SCHED_FIFO %d: %w", s.Nice, s.FIFO, err)
	}
	return nil
}
