package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"systole/bpf"
	"systole/engine"
	"systole/engine/clock"
	"systole/engine/detect/published"
)

// A node is the child that is measured: one engine and its peers, which are a population on the
// other host.

// The ids of a node and of its first peer.
const (
	nodeID      = 1 << 40
	firstPeerID = 1
)

// nodeOptions are the options of a node.
type nodeOptions struct {
	Local, Peers netip.AddrPort
	Count        int // peers
	More         morePeers
	Period       time.Duration // of heartbeats
	scheduling
	Procs    int    // engine.Sched.Procs
	Spin     int    // goroutines that spin in the process
	Detector string // as published.Parse reads it; empty: the engine's default
	Shards   int    // pinned to as many CPUs from the first on; 0: one
	// RecvBuffer and StampSends are those of engine.Config.
	RecvBuffer, StampSends int
	Tier                   bpf.Tier // of stamps
}

// morePeers are peers at another address. Their ids follow those of the others.
type morePeers struct {
	Addr  netip.AddrPort
	Count int
}

// config returns the configuration of the engine.
func (o *nodeOptions) config() (cfg engine.Config, err error) {
	cfg = engine.Config{
		ID: nodeID, Listen: []netip.AddrPort{o.Local}, Period: o.Period, ExpectedPeers: o.Count, ConnectTimeout: time.Minute,
		Sched: engine.Sched{Nice: o.Nice, FIFO: o.FIFO, Procs: o.Procs}, Shards: o.Shards, RecvBuffer: o.RecvBuffer, StampSends: o.StampSends,
	}
	if o.Detector != "" {
		if cfg.Detector, err = published.Parse(o.Detector); err != nil {
			return cfg, err
		}
	}
	if o.Pinned {
		for i := range max(o.Shards, 1) {
			cfg.Sched.CPUs = append(cfg.Sched.CPUs, o.CPU+i)
		}
	}
	return cfg, nil
}

// runNode is the subcommand node.
func runNode(options string) error {
	var o nodeOptions
	if err := decodeOptions(options, &o); err != nil {
		return err
	}
	cfg, err := o.config()
	if err != nil {
		return err
	}
	var c nodeCounts
	c.PauseEmpty = medianPause()
	source, err := openTier(o.Tier, o.Count+o.More.Count, labDevice, false)
	if err != nil {
		return err
	}
	e, err := openOn(source, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = e.Close() }() // the process ends
	events := e.Subscribe()
	if err := o.addPeers(e, &c); err != nil {
		return err
	}
	for range o.Spin {
		go spin()
	}
	var v verdictLog
	go v.watch(events)
	var before nodeUsage
	return commands{
		"begin": func(string) (any, error) {
			before = usageOf(e)
			v.begin()
			return nil, nil
		},
		"events": func(string) (any, error) { return v.kept(), nil },
		"readAt": func(string) (any, error) { return readAt(e.Snapshot(nil)), nil },
		"end": func(string) (any, error) {
			c.nodeUsage = usageOf(e).minus(&before)
			time.Sleep(50 * time.Millisecond) // for events that are being delivered
			c.verdicts = v.end()
			return &c, nil
		},
	}.serve(os.Stdin, os.Stdout)
}

// addPeers adds all peers, waits until they are alive, and measures their cost.
func (o *nodeOptions) addPeers(e *engine.Engine, c *nodeCounts) error {
	const timeout, step = 50 * time.Second, 200 * time.Millisecond
	before, begin := heap(), time.Now()
	all := o.Count + o.More.Count
	for i := range all {
		at := o.Peers
		if i >= o.Count {
			at = o.More.Addr
		}
		if _, err := e.AddPeer(engine.PeerConfig{Addr: at, ID: firstPeerID + uint64(i)}); err != nil {
			return err
		}
	}
	c.AddTime = time.Since(begin)
	for alive := 0; alive < all; {
		if time.Since(begin) > timeout {
			return fmt.Errorf("%d of %d peers are alive after %v", alive, all, timeout)
		}
		time.Sleep(step)
		alive = 0
		for _, p := range e.Snapshot(nil) {
			if p.State == engine.Alive {
				alive++
			}
		}
	}
	c.BytesPerPeer = (heap() - before) / float64(all)
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

// spin computes without end, as the worst goroutine of a busy server does.
func spin() {
	for i := 0; ; i++ {
		if i < 0 {
			return
		}
	}
}

// nodeCounts are the answer of a node to "end".
type nodeCounts struct {
	nodeUsage
	verdicts
	AddTime      time.Duration // of adding all peers
	BytesPerPeer float64       // of the heap
	// Median pause of garbage collections, before the engine is opened and with all peers.
	PauseEmpty, PausePeers time.Duration
}

// nodeUsage is the traffic of an engine and the CPU time of its process.
type nodeUsage struct {
	Sent, Received, Dropped, Missed, Calls uint64
	Taken                                  uint64 // of Received, below the sockets
	SendsStamped                           uint64
	Stamped                                [clock.BPF + 1]uint64 // of Received
	Turns                                  uint64
	CPU, User                              time.Duration // User is the part in user mode
	Loop                                   time.Duration // CPU time of the owner loop: the busiest thread
	Wall                                   time.Duration // monotonic
}

// usageOf returns the usage since the process began.
func usageOf(e *engine.Engine) nodeUsage {
	s := e.Stats()
	u := processUsage()
	u.Sent, u.Received, u.Dropped, u.Missed, u.Calls = s.Heartbeats.Sent, s.Heartbeats.Accepted, s.Sockets.Dropped, s.Heartbeats.Missed, s.Loop.Calls
	u.Taken, u.Stamped, u.SendsStamped, u.Turns = s.Stamps.Taken, s.Stamps.Arrivals, s.Stamps.SendsStamped, s.Loop.Turns
	return u
}

// processUsage returns the part of a usage that is that of the process.
func processUsage() nodeUsage {
	cpu, user := rusage()
	return nodeUsage{CPU: cpu, User: user, Loop: busiestThread(), Wall: time.Duration(clock.Now())}
}

// minus returns the usage since an earlier one.
func (u nodeUsage) minus(earlier *nodeUsage) nodeUsage {
	for i, n := range earlier.Stamped {
		u.Stamped[i] -= n
	}
	return nodeUsage{
		Taken: u.Taken - earlier.Taken, Stamped: u.Stamped,
		SendsStamped: u.SendsStamped - earlier.SendsStamped, Turns: u.Turns - earlier.Turns,
		Sent: u.Sent - earlier.Sent, Received: u.Received - earlier.Received, Dropped: u.Dropped - earlier.Dropped,
		Missed: u.Missed - earlier.Missed, Calls: u.Calls - earlier.Calls,
		CPU: u.CPU - earlier.CPU, User: u.User - earlier.User, Loop: u.Loop - earlier.Loop, Wall: u.Wall - earlier.Wall,
	}
}

// heartbeats are those sent and received.
func (u *nodeUsage) heartbeats() float64 { return float64(u.Sent + u.Received) }

// perHeartbeat is the CPU time per heartbeat, sent or received, in nanoseconds.
func (u *nodeUsage) perHeartbeat() float64 { return float64(u.CPU) / u.heartbeats() }

// rusage returns the CPU time of this process: user and system together, and user alone.
func rusage() (cpu, user time.Duration) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err) // it fails only for a wrong argument
	}
	user = time.Duration(u.Utime.Nano())
	return user + time.Duration(u.Stime.Nano()), user
}

// busiestThread returns the CPU time of the busiest thread of this process, by
// /proc/PID/task/TID/schedstat: getrusage(2) tells only that of the calling thread. It is 0 if the kernel
// keeps no such statistics.
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
		most = max(most, parseSchedstat(string(text)))
	}
	return most
}

// parseSchedstat returns the CPU time in the text of a schedstat file, its first number, or 0 if
// there is none.
func parseSchedstat(text string) time.Duration {
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return 0
	}
	ns, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(ns)
}
