package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// The kernel keeps statistics of BPF programs while somebody asks for them. They make each run dearer by two
// readings of a clock, so other figures are measured without.

// programRuns are the runs of BPF programs.
type programRuns struct {
	count uint64
	time  time.Duration
}

// plus returns both runs together.
func (r programRuns) plus(other programRuns) programRuns {
	return programRuns{r.count + other.count, r.time + other.time}
}

// minus returns the runs since earlier ones.
func (r programRuns) minus(earlier programRuns) programRuns {
	return programRuns{r.count - earlier.count, r.time - earlier.time}
}

// per returns the time per heartbeat, in nanoseconds.
func (r programRuns) per(heartbeats uint64) float64 { return float64(r.time) / float64(heartbeats) }

// handOffProgram is the name of package bpf's program for hand-offs; all others are for arrivals.
const handOffProgram = "systole_handoff"

// countRuns measures for d, and counts the runs of the receiver's BPF programs for arrivals and for hand-offs.
func (p *pairing) countRuns(ctx context.Context, d time.Duration) (n nodeCounts, arrivals, handOffs programRuns, err error) {
	n, _, err = p.run(ctx, 0, func(ctx context.Context) error {
		runs, err := countRuns(p.node.cmd.Process.Pid, func() error { return sleep(ctx, d) })
		for name, r := range runs {
			if name == handOffProgram {
				handOffs = r
			} else {
				arrivals = arrivals.plus(r)
			}
		}
		return err
	})
	return n, arrivals, handOffs, err
}

// countRuns counts the runs of the BPF programs of a process while f runs, by their names.
func countRuns(pid int, f func() error) (runs map[string]programRuns, err error) {
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return nil, fmt.Errorf("have the kernel count the runs of BPF programs: %w", err)
	}
	defer func() { err = errors.Join(err, stats.Close()) }()
	before, err := runsOf(pid)
	if err != nil {
		return nil, err
	}
	if err := f(); err != nil {
		return nil, err
	}
	runs, err = runsOf(pid)
	for name := range runs {
		runs[name] = runs[name].minus(before[name])
	}
	return runs, err
}

// runsOf returns the runs of the programs of a process by their names. Programs of one name count together.
func runsOf(pid int) (map[string]programRuns, error) {
	ids, err := programsOf(pid)
	if err != nil {
		return nil, err
	}
	runs := make(map[string]programRuns)
	for _, id := range ids {
		if err := addRuns(runs, id); err != nil {
			return nil, fmt.Errorf("ask for the runs of BPF program %d: %w", id, err)
		}
	}
	return runs, nil
}

// addRuns adds the runs of one program.
func addRuns(runs map[string]programRuns, id ebpf.ProgramID) error {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return err
	}
	defer func() { _ = p.Close() }()
	info, err := p.Info()
	if err != nil {
		return err
	}
	s, err := p.Stats()
	if err != nil {
		return err
	}
	runs[info.Name] = runs[info.Name].plus(programRuns{s.RunCount, s.Runtime})
	return nil
}

// programsOf returns the BPF programs to which a process has descriptors, also of their links.
func programsOf(pid int) (ids []ebpf.ProgramID, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it was closed meanwhile
		}
		if id, ok := programIn(string(text)); ok && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// programIn returns the program in the text of a file of fdinfo.
func programIn(text string) (ebpf.ProgramID, bool) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, "prog_id:"); ok {
			id, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
			return ebpf.ProgramID(id), err == nil
		}
	}
	return 0, false
}
