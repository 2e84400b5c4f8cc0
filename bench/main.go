// Command bench measures the engine on this machine, beside the kernel's floor and beside BIRD.
//
//	go run ./bench [flags] [benchmark ...]
//
// go run ./bench -h lists the flags and the benchmarks; all benchmarks run unless some are named.
// Each prints a table and a line of JSON per row. -results keeps both in one page per kind of
// machine.
//
// Benchmarks on sockets need root, because their hosts are network namespaces. Compare figures of
// one run only: machines, kernels and their other users differ.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"
)

// benchmark is one thing to measure.
type benchmark struct {
	name  string
	about string   // one line for -h
	flags []string // flags that change its result
	run   func(context.Context, options) (*table, error)
}

// benchmarks are in the order in which they run.
var benchmarks = []benchmark{
	{"floor", "bare sendmmsg and recvmmsg loops between two hosts", []string{"time", "repeat"}, runFloor},
	{"engine", "CPU time per heartbeat of the engine, beside the floor", []string{"time", "repeat"}, runEngine},
	{"growth", "the same with 512 to 100,000 peers", []string{"time", "repeat"}, runGrowth},
	{"shards", "how fast one and more shards read a backlog", []string{"repeat"}, runShards},
	{"scale", "100,000 peers: false verdicts, memory, CPU time, garbage collection", []string{"time"}, runScale},
	{"load", "false verdicts of the engine beside busy loops", []string{"time", "sessions", "loads"}, runLoad},
	{"bird", "false verdicts of BIRD's BFD beside busy loops", []string{"time", "sessions", "loads"}, runBird},
	{"lateness", "time from a deadline to the verdict", []string{"time", "sessions"}, runLateness},
	{"solicit", "soliciting a silent peer, where datagrams are lost", []string{"time", "sessions"}, runSolicit},
	{"phases", "heartbeats against requests and answers", []string{"time", "sessions"}, runPhases},
	{"stamps", "what stamps cost, by their tier", []string{"time", "repeat"}, runStamps},
	{"split", "each cause of a delay in its own part", nil, runSplit},
	{"absorb", "heartbeats taken below the sockets: cost, wake-ups, false verdicts", []string{"time", "repeat", "sessions"}, runAbsorb},
	{"stopped", "who is accused, and who died, while an engine was stopped", nil, runStopped},
	{"qos", "promises against mistakes, on models of links", []string{"days", "warm"}, runCalibration},
	{"qos-failed", "time to failure against wrong failures, on models of links", []string{"days", "warm"}, runFailed},
	{"qos-stamps", "kernel stamps against read times, where the reader stalls", []string{"days", "warm"}, runQoSStamps},
	{"seedloop", "the seed's loop, with its two periods coupled and apart", nil, runSeedLoop},
	{"cost", "time per heartbeat and memory per peer of each detector", nil, runCost},
	{"traces", "every detector on the committed recordings", nil, runRecorded},
}

// subcommands are what this program runs itself as, on the hosts of a measurement: see child.go. Each has
// its options as JSON.
var subcommands = map[string]func(options string) error{
	"node": runNode, "population": runPopulation, "exchange": runExchange, "group": runGroup, "reader": runReader, "hog": runHog, "path-end": runPathEnd,
}

func main() {
	// The kernel kills children when the thread that started them ends (PR_SET_PDEATHSIG).
	runtime.LockOSThread()
	if len(os.Args) == 3 {
		if sub, ok := subcommands[os.Args[1]]; ok {
			if err := sub(os.Args[2]); err != nil {
				fmt.Fprintf(os.Stderr, "bench: %s: %v\n", os.Args[1], err)
				os.Exit(1)
			}
			return
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run executes the command line.
func run(ctx context.Context, args []string, out io.Writer) error {
	o, names, err := parseOptions(args)
	if errors.Is(err, flag.ErrHelp) {
		_, err := io.WriteString(out, usage())
		return err
	}
	if err != nil {
		return err
	}
	chosen, err := choose(names)
	if err != nil {
		return err
	}
	for i := range chosen {
		t, err := chosen[i].run(ctx, o)
		if err != nil {
			return fmt.Errorf("%s: %w", chosen[i].name, err)
		}
		t.command = o.command(&chosen[i])
		if err := publish(t, o, out); err != nil {
			return err
		}
	}
	return nil
}

// choose returns the named benchmarks, or all if no name is given.
func choose(names []string) ([]benchmark, error) {
	if len(names) == 0 {
		return benchmarks, nil
	}
	var chosen []benchmark
	for _, name := range names {
		i := slices.IndexFunc(benchmarks, func(b benchmark) bool { return b.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no benchmark %q; go run ./bench -h lists them", name)
		}
		chosen = append(chosen, benchmarks[i])
	}
	return chosen, nil
}

// publish prints t, and adds it to the machine's page if -results names a directory.
func publish(t *table, o options, out io.Writer) error {
	if _, err := fmt.Fprintf(out, "%s\n%s\n", t.text(), t.lines()); err != nil {
		return err
	}
	if o.results == "" {
		return nil
	}
	m, err := thisMachine()
	if err != nil {
		return err
	}
	return keep(o.results, m, t)
}
