package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine"
	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/enginetest/load"
)

// This program runs itself as the two ends of a measurement, each on a host of its own: a
// node, which links the engine and is what is measured, and a population, its peers.
// Each prints "ready", then waits for lines: "begin" starts to count, "end" prints what was
// counted as one line of JSON and ends it.

// The ids of the two ends, and the port of each.
const (
	nodeID      = 1 << 40
	firstPeerID = 1
	benchPort   = 7373
)

// nodeOptions are the flags of a node.
type nodeOptions struct {
	local, peers string
	count        int
	period       time.Duration
	class, cpu   int
	priority     int
	procs, spin  int
	detector     string
}

// counted is what a node counted between begin and end.
type counted struct {
	Sent, Received, Dropped, Missed, Calls uint64
	Suspected, Failed                      uint64 // verdicts
	LocalPauses                            uint64
	CPU, User, Wall                        time.Duration
	Loop                                   time.Duration // CPU of the busiest thread: the owner loop
	// Once, not between: what adding the peers took, and what they hold of the heap.
	AddTime      time.Duration
	BytesPerPeer float64
	// The collector's median pause, before the engine was opened and with the peers.
	PauseEmpty, PausePeers time.Duration
	Lag                    []time.Duration // deadline to verdict, per verdict
	Delivery               []time.Duration // deadline to the subscriber
}

// runNode is a node's main.
func runNode(args []string) error {
	var o nodeOptions
	flags := flag.NewFlagSet("node", flag.ContinueOnError)
	flags.StringVar(&o.local, "local", "", "own address")
	flags.StringVar(&o.peers, "peers", "", "the population's address")
	flags.IntVar(&o.count, "count", 100, "peers")
	flags.DurationVar(&o.period, "period", 100*time.Millisecond, "")
	flags.IntVar(&o.class, "class", 0, "engine.SchedClass")
	flags.IntVar(&o.priority, "priority", 0, "of the class")
	flags.IntVar(&o.cpu, "cpu", -1, "to pin to")
	flags.IntVar(&o.procs, "procs", 0, "engine.Sched.Procs")
	flags.IntVar(&o.spin, "spin", 0, "goroutines that spin in this process")
	flags.StringVar(&o.detector, "detector", "", "as detect.Parse reads it; empty: the engine's default")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var c counted
	c.PauseEmpty = medianPause()
	e, err := o.open()
	if err != nil {
		return err
	}
	defer func() { _ = e.Close() }() // the process ends
	events := e.Subscribe()
	if err := o.add(e, &c); err != nil {
		return err
	}
	for range o.spin {
		go spinForever()
	}
	var w verdicts
	go w.watch(events)
	return control(func() { c.begin(e, &w) }, func() any { c.end(e, &w); return &c })
}

// open opens the engine.
func (o *nodeOptions) open() (*engine.Engine, error) {
	local, err := netip.ParseAddrPort(o.local)
	if err != nil {
		return nil, err
	}
	cfg := engine.Config{
		ID: nodeID, Listen: []netip.AddrPort{local}, Period: o.period, ExpectedPeers: o.count, ConnectTimeout: time.Minute,
		Sched: engine.Sched{Class: engine.SchedClass(o.class), Priority: o.priority, Procs: o.procs},
	}
	if o.detector != "" {
		if cfg.Detector, err = detect.Parse(o.detector); err != nil {
			return nil, err
		}
	}
	if o.cpu >= 0 {
		cfg.Sched.CPUs = []int{o.cpu}
	}
	return engine.Open(cfg)
}

// add adds the peers, waits until all are alive, and notes what they cost.
func (o *nodeOptions) add(e *engine.Engine, c *counted) error {
	peers, err := netip.ParseAddrPort(o.peers)
	if err != nil {
		return err
	}
	before, begin := heap(), time.Now()
	for i := range o.count {
		if _, err := e.AddPeer(engine.PeerConfig{Addr: peers, ID: firstPeerID + uint64(i)}); err != nil {
			return err
		}
	}
	c.AddTime = time.Since(begin)
	for alive := 0; alive < o.count; {
		if time.Since(begin) > 30*time.Second {
			return fmt.Errorf("%d of %d peers are alive after 30 s", alive, o.count)
		}
		time.Sleep(200 * time.Millisecond)
		alive = 0
		for _, p := range e.Snapshot(nil) {
			if p.State == engine.Alive {
				alive++
			}
		}
	}
	c.BytesPerPeer = (heap() - before) / float64(o.count)
	c.PausePeers = medianPause()
	return nil
}

// heap returns the bytes of live objects.
func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// pauseRuns is how many collections medianPause looks at.
const pauseRuns = 40

// medianPause collects several times and returns the median of the times for which the
// world was stopped, as runtime/metrics buckets it. The longest are those in which the
// kernel ran something else on a shared machine.
func medianPause() time.Duration {
	sample := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(sample)
	before := slices.Clone(sample[0].Value.Float64Histogram().Counts)
	for range pauseRuns {
		runtime.GC()
	}
	metrics.Read(sample)
	h := sample[0].Value.Float64Histogram()
	var all, sum uint64
	for i, n := range h.Counts {
		all += n - before[i]
	}
	for i, n := range h.Counts {
		if sum += n - before[i]; 2*sum >= all {
			return time.Duration(h.Buckets[i] * float64(time.Second))
		}
	}
	return 0
}

// spinForever is what a busy server's goroutine does at worst.
func spinForever() {
	for i := 0; ; i++ {
		if i < 0 {
			return
		}
	}
}

// verdicts counts events. Its goroutine is the subscriber; counts are read by another.
type verdicts struct {
	suspected, failed, pauses atomic.Uint64
	counting                  atomic.Bool
	lag, delivery             []time.Duration // read after the last event
}

// watch takes events until the engine closes.
func (w *verdicts) watch(events *engine.Subscription) {
	events.OnNode = func(ev engine.NodeEvent) {
		if w.counting.Load() && ev.Cause == engine.LocalPause {
			w.pauses.Add(1)
		}
	}
	for {
		ev, err := events.Next(context.Background())
		if err != nil {
			return
		}
		switch {
		case !w.counting.Load():
		case ev.To == engine.Suspect:
			w.suspected.Add(1)
			if len(w.lag) < maxLags {
				w.lag = append(w.lag, ev.Lag)
				w.delivery = append(w.delivery, clock.Now().Sub(ev.At.Add(-ev.Lag)))
			}
		case ev.To == engine.Failed:
			w.failed.Add(1)
		}
	}
}

// maxLags bounds what is kept of verdicts.
const maxLags = 100_000

// begin notes the counters.
func (c *counted) begin(e *engine.Engine, w *verdicts) {
	s := e.Stats()
	cpu, user := rusage()
	c.Sent, c.Received, c.Dropped, c.Missed, c.Calls = s.Sent, s.Accepted, s.Dropped, s.Missed, s.Calls
	c.CPU, c.User, c.Wall = cpu, user, time.Duration(clock.Now())
	c.Loop = busiestThread()
	w.counting.Store(true)
}

// end takes what was at the beginning from what is now.
func (c *counted) end(e *engine.Engine, w *verdicts) {
	s := e.Stats()
	cpu, user := rusage()
	c.Sent, c.Received, c.Dropped = s.Sent-c.Sent, s.Accepted-c.Received, s.Dropped-c.Dropped
	c.Missed, c.Calls = s.Missed-c.Missed, s.Calls-c.Calls
	c.CPU, c.User, c.Wall = cpu-c.CPU, user-c.User, time.Duration(clock.Now())-c.Wall
	c.Loop = busiestThread() - c.Loop
	w.counting.Store(false)
	c.Suspected, c.Failed, c.LocalPauses = w.suspected.Load(), w.failed.Load(), w.pauses.Load()
	time.Sleep(50 * time.Millisecond) // an event on its way
	c.Lag, c.Delivery = w.lag, w.delivery
}

// rusage returns the CPU time of this process, in all and in user mode.
func rusage() (cpu, user time.Duration) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err) // it fails only for a wrong argument
	}
	user = time.Duration(u.Utime.Nano())
	return user + time.Duration(u.Stime.Nano()), user
}

// busiestThread returns the CPU time of the thread of this process that took most of it
// (/proc/PID/task/TID/schedstat), 0 if the kernel does not tell.
func busiestThread() (most time.Duration) {
	tasks, err := filepath.Glob("/proc/self/task/*/schedstat")
	if err != nil {
		return 0
	}
	for _, t := range tasks {
		text, err := os.ReadFile(t)
		if err != nil {
			continue // the thread has ended
		}
		var ns int64
		if _, err := fmt.Sscan(string(text), &ns); err == nil {
			most = max(most, time.Duration(ns))
		}
	}
	return most
}

// peopled is what a population counted.
type peopled struct {
	Sent, Received, Mistakes uint64
	CPU                      time.Duration
}

// runPopulation is a population's main.
func runPopulation(args []string) error {
	flags := flag.NewFlagSet("population", flag.ContinueOnError)
	local := flags.String("local", "", "own address")
	target := flags.String("target", "", "the node's address")
	count := flags.Int("count", 100, "nodes")
	period := flags.Duration("period", 100*time.Millisecond, "")
	cpu := flags.Int("cpu", -1, "to pin to")
	class := flags.Int("class", 0, "engine.SchedClass")
	priority := flags.Int("priority", 0, "of the class")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cfg := load.Config{FirstID: firstPeerID, Nodes: *count, Period: *period}
	var err error
	if cfg.Local, err = netip.ParseAddrPort(*local); err != nil {
		return err
	}
	if cfg.Target, err = netip.ParseAddrPort(*target); err != nil {
		return err
	}
	p, err := load.NewPopulation(cfg)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		runtime.LockOSThread()
		ended <- errors.Join(pin(*cpu), prefer(engine.SchedClass(*class), *priority), p.Run(ctx))
	}()
	var c peopled
	err = control(
		func() {
			cpu, _ := rusage()
			c = peopled{p.Sent(), p.Received(), p.Mistakes(), cpu}
		},
		func() any {
			cpu, _ := rusage()
			return &peopled{p.Sent() - c.Sent, p.Received() - c.Received, p.Mistakes() - c.Mistakes, cpu - c.CPU}
		})
	cancel()
	return errors.Join(err, <-ended)
}

// pin runs the calling thread on one CPU, and any if it is negative.
func pin(cpu int) error {
	if cpu < 0 {
		return nil
	}
	var set unix.CPUSet
	set.Set(cpu)
	return unix.SchedSetaffinity(0, &set)
}

// prefer gives the calling thread the scheduling that an engine's loop has.
func prefer(class engine.SchedClass, priority int) error {
	const self, slice = 0, 100_000
	a := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Runtime: slice}
	switch class {
	case engine.Nice:
		a.Nice = int32(priority)
	case engine.FIFO:
		a.Policy, a.Priority, a.Runtime = unix.SCHED_FIFO, uint32(priority), 0
	}
	return unix.SchedSetAttr(self, a, 0)
}

// control obeys the parent.
func control(begin func(), end func() any) error {
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "begin":
			begin()
		case "end":
			return json.NewEncoder(os.Stdout).Encode(end())
		}
	}
	return io.ErrUnexpectedEOF
}
