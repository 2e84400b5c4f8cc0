// Command bench measures the engine on this machine, the kernel's floor below it, and what
// a peer in the same job costs and holds.
//
//	go run ./bench [flags] [benchmark ...]
//
//	floor      bare sendmmsg and recvmmsg loops between two hosts
//	engine     the engine's CPU per heartbeat beside that floor
//	scale      100,000 peers: verdicts, memory, CPU, collector
//	load       false verdicts of the engine, quiet and among busy loops
//	bird       BIRD's BFD in the same place
//	lateness   from deadline to verdict
//	solicit    what asking a silent peer saves, where datagrams are lost
//	phases     heartbeats against requests and answers
//	qos        promises against mistakes, over models of links in virtual time
//	qos-failed when a silent peer is called failed, against failures of what lives, likewise
//	stamps     what the kernel's stamps are worth where the reader stalls, likewise
//	seedloop   the seed's loop with the two periods coupled, and apart
//	cost       a heartbeat's time in each detector, and its memory
//	traces     every detector over the committed recordings
//
// The hosts are network namespaces, so those need root. Each benchmark prints a table and a
// line of JSON per row; -results keeps both in a page per kind of machine. Compare figures
// of one run only: machines, kernels and neighbours differ.
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
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	duration time.Duration // of each measurement
	repeat   int           // measurements of each case of floor and engine; the cheapest counts
	sessions int           // of bird, peers of load, lateness, solicit and phases
	loads    []int         // of bird and load: numbers of busy loops
	results  string        // directory of the pages, or empty
	days     float64       // of virtual time of qos and stamps
	warm     float64       // days of it before
}

// benchmark is one thing to measure.
type benchmark struct {
	name string
	run  func(context.Context, options) (*table, error)
}

// benchmarks in the order in which they run.
var benchmarks = []benchmark{
	{"floor", runFloor},
	{"engine", runEngine},
	{"growth", runGrowth},
	{"scale", runScale},
	{"load", runLoad},
	{"bird", runBird},
	{"lateness", runLateness},
	{"solicit", runSolicit},
	{"phases", runPhases},
	{"qos", runCalibration},
	{"qos-failed", runFailed},
	{"stamps", runStamps},
	{"seedloop", runSeedLoop},
	{"cost", runCost},
	{"traces", runRecorded},
}

// ends are what this program runs itself as.
var ends = map[string]func([]string) error{"node": runNode, "population": runPopulation, "exchange": runExchange, "group": runGroup}

func main() {
	// Children die with the thread that started them (PR_SET_PDEATHSIG), so it must last.
	runtime.LockOSThread()
	if len(os.Args) > 1 {
		if end, ok := ends[os.Args[1]]; ok {
			if err := end(os.Args[2:]); err != nil {
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

// run carries out the command line.
func run(ctx context.Context, args []string, out io.Writer) error {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.DurationVar(&o.duration, "time", 5*time.Second, "length of each measurement")
	flags.IntVar(&o.repeat, "repeat", 5, "measurements of each case of floor and engine, of which the cheapest counts")
	flags.IntVar(&o.sessions, "sessions", 100, "BFD sessions of bird, peers of load, lateness, solicit and phases, 1 to 1000")
	loads := flags.String("loads", "0,2,4,8", "numbers of busy loops beside bird and load, one measurement each")
	flags.Float64Var(&o.days, "days", 20, "virtual days that qos and stamps judge each model for, after the warm-up; qos-failed an 80th of them")
	flags.Float64Var(&o.warm, "warm", 7, "virtual days before, in which detectors only learn")
	flags.StringVar(&o.results, "results", "", "directory of the pages to keep the results in")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.duration < 100*time.Millisecond || o.repeat < 1 || o.sessions < 1 || o.sessions > maxSessions {
		return fmt.Errorf("-time must be at least 100ms, -repeat at least 1, -sessions within 1 to %d", maxSessions)
	}
	if !(o.days > 0 && o.days <= maxDays && o.warm >= 0 && o.warm <= maxDays) {
		return fmt.Errorf("-days must be above 0, -warm at least 0, both at most %d", maxDays)
	}
	var err error
	if o.loads, err = parseLoads(*loads); err != nil {
		return err
	}
	chosen, err := choose(flags.Args())
	if err != nil {
		return err
	}
	for _, b := range chosen {
		t, err := b.run(ctx, o)
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		t.command = o.command(b.name)
		if err := publish(t, o, out); err != nil {
			return err
		}
	}
	return nil
}

// command is the command line that repeats one benchmark.
func (o options) command(name string) string {
	c := []string{"go run ./bench -time", o.duration.String()}
	switch name {
	case "seedloop", "cost", "traces":
		c = []string{"go run ./bench"}
	case "qos", "qos-failed", "stamps":
		days, warm := strconv.FormatFloat(o.days, 'g', -1, 64), strconv.FormatFloat(o.warm, 'g', -1, 64)
		c = []string{"go run ./bench -days", days, "-warm", warm}
	case "floor", "engine", "growth":
		c = append(c, "-repeat", strconv.Itoa(o.repeat))
	case "lateness", "solicit", "phases":
		c = append(c, "-sessions", strconv.Itoa(o.sessions))
	case "bird", "load":
		loads := strings.ReplaceAll(strings.Trim(fmt.Sprint(o.loads), "[]"), " ", ",")
		c = append(c, "-sessions", strconv.Itoa(o.sessions), "-loads", loads)
	}
	return strings.Join(append(c, name), " ")
}

// parseLoads reads the value of -loads.
func parseLoads(list string) (loads []int, err error) {
	for s := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 || n > maxBusy {
			return nil, fmt.Errorf("-loads takes numbers from 0 to %d with commas between, not %q", maxBusy, list)
		}
		loads = append(loads, n)
	}
	return loads, nil
}

// choose returns the benchmarks of these names, all without any.
func choose(names []string) ([]benchmark, error) {
	if len(names) == 0 {
		return benchmarks, nil
	}
	var chosen []benchmark
	for _, name := range names {
		i := slices.IndexFunc(benchmarks, func(b benchmark) bool { return b.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no benchmark %q; go run ./bench -h lists the flags, bench/main.go the benchmarks", name)
		}
		chosen = append(chosen, benchmarks[i])
	}
	return chosen, nil
}

// publish prints t and keeps it if asked to.
func publish(t *table, o options, out io.Writer) error {
	if _, err := fmt.Fprintf(out, "%s\n%s\n", t.text(), t.lines()); err != nil {
		return err
	}
	if o.results == "" {
		return nil
	}
	m, err := thisMachine()
	return errors.Join(err, keep(o.results, m, t))
}
