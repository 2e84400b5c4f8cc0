package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"systole/engine/detect"
	"systole/engine/internal/network"
	"systole/engine/recording"
	"systole/wire"
)

// Config describes one engine. The zero value is usable: a random id, any local
// address, one shard, a heartbeat per 100 ms, one mistake a day and peer, no keys, no strangers.
// Open validates it and changes nothing in it.
type Config struct {
	// ID is this node's identity to its peers; give each node its own. 0 means a
	// random one, new at every start.
	ID uint64
	// Incarnation tells the lives of one ID apart and must grow with every start.
	// 0 means the wall clock in nanoseconds; should that clock have gone back since the last
	// start, peers take this node back when they have noticed that the earlier process is silent.
	Incarnation uint64
	// Listen are the local addresses, each with a socket per shard. Empty means any
	// IPv4 and any IPv6 address, on a port of the kernel's choice.
	Listen []netip.AddrPort
	// Shards is the number of owner loops, each with a thread and its own sockets.
	// 0 means 1, which carries 100,000 peers at 1 Hz on a part of a core. At most 64.
	Shards int

	// Promise is what is asked of the detector: detect within, mistakes at most, heartbeats
	// at most. The zero value: one mistake in a day about each peer, detected as soon as
	// that allows. A promise that cannot be kept by what is known is refused with what
	// could (*detect.InfeasibleError). With DetectWithin and no Period the period follows
	// from it, and is revised as paths are measured; where measurements say that both
	// cannot be kept, MistakeEvery is, and PromiseAtRisk tells. Both ends want the same.
	Promise detect.Promise
	// Known is what is known of the network before anything is measured.
	Known detect.Known
	// Period is the wanted time between two heartbeats to a peer (η). 0 means what Promise
	// takes, 100 ms if it does not say. From 1 ms to 1 minute. It is lengthened for a peer
	// that asks for less.
	Period time.Duration
	// MinReceivePeriod asks peers to send no faster than this, as BFD's Required Min
	// RX Interval does (RFC 5880, 6.8.3). 0 asks nothing. At most 1 minute.
	MinReceivePeriod time.Duration
	// ConnectTimeout is how long a peer has from our first heartbeat to its first. 0
	// means 3 s, the seed's initial delay. From 10 ms to 1 hour.
	ConnectTimeout time.Duration
	// Detector turns heartbeats into suspicion. nil means the detect.Margin that keeps
	// Promise; another one promises nothing, and excludes Promise. Its Summary has at most
	// 16 words.
	Detector detect.Detector
	// Final makes permFail final for an incarnation, which is Mozart's meaning: a failed peer is alive
	// again only in a new one. It is told that it is buried, and has Reincarnate to begin one.
	// Without it a failed peer that is heard again is alive, and PeerStats.Failures counts.
	Final bool

	// Keys authenticate every datagram. nil means none: the engine runs, and says so
	// once to Logger. With keys, what carries no valid tag is refused.
	Keys *wire.KeyRing
	// Accept says which strangers become peers. The zero value: none.
	Accept Accept

	// ExpectedPeers sizes the socket buffers. 0 means 1024; a thousand more peers than
	// expected cost datagrams in a stall, nothing else.
	ExpectedPeers int
	// RecvBuffer and SendBuffer are bytes per socket. 0 sizes them from
	// ExpectedPeers; what the kernel granted is in Stats.
	RecvBuffer, SendBuffer int
	// Window is how many heartbeats Peer.Samples can look back. 0 means 4; a power of
	// two up to 4096. Each takes 32 bytes per peer.
	Window int

	// Sched is how the shards' threads are scheduled. The zero value changes nothing
	// that needs a privilege.
	Sched Sched
	// Manual leaves the turning to the program's own loop: see Engine.Turn. It
	// excludes more than one shard, and Sched.
	Manual bool

	// Network is the simulated host that the engine runs on. nil means this machine's
	// sockets and clocks. Package enginetest makes them and sets it, with Manual.
	Network network.World

	// Recorder gets every accepted heartbeat, for package replay. nil records nothing. One
	// may serve several engines; close it after them.
	Recorder *recording.Recorder
	// Resolver looks up peers given by name. nil means net.DefaultResolver.
	Resolver Resolver
	// Logger hears of what an operator should know once. nil means silence.
	Logger *slog.Logger

	defaultListen bool // Listen was empty
	follow        bool // the period follows from Promise
}

// Resolver is the part of net.Resolver that the engine uses, from goroutines of its own, of which several
// may wait for it at once.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Accept is the admission of strangers: senders that nobody added. A stranger gets one answer per
// datagram, no longer than that, and is admitted when it returns what the answer holds; so a forged
// source address amplifies nothing. What goes to an admitted peer is bounded by what comes from
// it. Strangers share no statistics with other peers.
type Accept struct {
	// Anyone admits every sender whose datagram is valid; with Config.Keys, that is
	// every holder of a key. Without it nobody is admitted.
	Anyone bool
	// PerSecond bounds admissions. 0 means 100. At most 1,000,000.
	PerSecond int
	// Max bounds how many admitted peers are watched at once. Beyond it those that failed or left
	// give way, then the least proven ones of the prefix (/24, or /48 of IPv6) with the most. 0
	// means 1024.
	Max int
	// MinPeriod is the shortest period of the heartbeats to an admitted peer: it gets its
	// own period, but no shorter one than this. 0 means Config.Period.
	MinPeriod time.Duration
	// Forget is how long an admitted peer that failed or left stays in the table. 0
	// means 1 minute.
	Forget time.Duration
}

// SchedClass is a scheduling class for the shards' threads.
type SchedClass uint8

const (
	// Normal keeps the class of the process. Where the kernel has it (6.12), the
	// thread asks for a short slice, which needs no privilege and lets it run sooner
	// after a wake-up.
	Normal SchedClass = iota
	// Nice sets the nice value Sched.Priority, -20 to 19. Below 0 needs CAP_SYS_NICE.
	Nice
	// FIFO sets the real-time class SCHED_FIFO with Sched.Priority, 1 to 99. It needs
	// CAP_SYS_NICE or an RLIMIT_RTPRIO of that much.
	FIFO
)

// Sched is how the shards' threads are scheduled.
//
// A thread that the kernel runs at once still needs a P of the Go scheduler when it
// comes back from waiting. In a process whose goroutines keep every P busy it waits
// for one 10 ms and more, whatever its class. Procs adds Ps. If there are as many as
// shards, each loop keeps one while it waits, and no longer queues; it also takes a
// quarter less CPU, since the scheduler need not follow its waits. The README has the figures.
type Sched struct {
	Class    SchedClass
	Priority int
	// CPUs pins shard i to CPUs[i mod len]. Empty means no pinning.
	CPUs []int
	// Procs is added to GOMAXPROCS at Open and taken off at Close. 0 adds nothing: a
	// library does not change its process unasked. Servers that compute for milliseconds
	// on end, or that care for the CPU that heartbeats take, want as many as Shards.
	Procs int
}

const (
	defaultPeriod         = 100 * time.Millisecond
	minPeriod             = time.Millisecond
	maxPeriod             = time.Minute
	defaultConnectTimeout = 3 * time.Second
	defaultExpectedPeers  = 1024
	defaultWindow         = 4
	maxWindow             = 4096
	maxShards             = 64
	defaultPerSecond      = 100
	maxPerSecond          = 1_000_000
	defaultAcceptMax      = 1024
	defaultForget         = time.Minute
)

// FieldError is one fault of a Config or PeerConfig, or of a level.List. Validate returns all of
// them, joined.
type FieldError struct {
	Field  string // the field's name
	Reason string // what is wrong, and what would be right
	cause  error
}

// Error returns "engine: Field: reason".
func (e *FieldError) Error() string { return "engine: " + e.Field + ": " + e.Reason }

// Unwrap returns the error behind the fault, for instance a *detect.InfeasibleError; nil
// if there is none.
func (e *FieldError) Unwrap() error { return e.cause }

// fieldError builds a FieldError.
func fieldError(field, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &FieldError{field, err.Error(), errors.Unwrap(err)}
}

// Validate reports every fault of c at once, each a *FieldError, joined; nil when Open
// would accept it.
func (c *Config) Validate() error {
	var faults []error
	bad := func(field, format string, args ...any) {
		faults = append(faults, fieldError(field, format, args...))
	}
	if c.Shards < 0 || c.Shards > maxShards {
		bad("Shards", "%d is not within 0 to %d", c.Shards, maxShards)
	}
	durationWithin(bad, "Period", c.Period, minPeriod, maxPeriod)
	durationWithin(bad, "MinReceivePeriod", c.MinReceivePeriod, time.Microsecond, maxPeriod)
	durationWithin(bad, "ConnectTimeout", c.ConnectTimeout, 10*time.Millisecond, time.Hour)
	durationWithin(bad, "Accept.MinPeriod", c.Accept.MinPeriod, minPeriod, maxPeriod)
	durationWithin(bad, "Accept.Forget", c.Accept.Forget, time.Millisecond, 24*time.Hour)
	for _, n := range []struct {
		field string
		value int
	}{
		{"ExpectedPeers", c.ExpectedPeers}, {"RecvBuffer", c.RecvBuffer}, {"SendBuffer", c.SendBuffer},
		{"Accept.PerSecond", c.Accept.PerSecond}, {"Accept.Max", c.Accept.Max}, {"Sched.Procs", c.Sched.Procs},
	} {
		if n.value < 0 {
			bad(n.field, "%d is negative", n.value)
		}
	}
	if c.ExpectedPeers > maxPeers || c.Accept.Max > maxPeers {
		bad("ExpectedPeers", "the table holds at most %d peers", maxPeers)
	}
	if w := c.Window; w < 0 || w > maxWindow || w&(w-1) != 0 {
		bad("Window", "%d is not a power of two up to %d", w, maxWindow)
	}
	if c.Accept.PerSecond > maxPerSecond {
		bad("Accept.PerSecond", "%d is above %d", c.Accept.PerSecond, maxPerSecond)
	}
	if c.Keys != nil {
		if err := c.Keys.Validate(); err != nil {
			bad("Keys", "%w", err)
		} else if c.Keys.Pairwise() && c.ID == 0 {
			bad("ID", "pairwise keys are for the nodes' ids: give this node its own")
		}
	}
	c.validateListen(bad)
	c.validateSched(bad)
	if c.Network != nil && (!c.Manual || len(c.Listen) > 0) {
		bad("Network", "a simulated host turns its engine, and has its address: set Manual, and no Listen")
	}
	c.validatePromise(bad)
	c.validateDetector(bad)
	return errors.Join(faults...)
}

// validateDetector reports a detector's own faults, and a summary that the table has no room for.
func (c *Config) validateDetector(bad func(string, string, ...any)) {
	d := c.Detector
	if d == nil {
		return
	}
	if v, ok := d.(interface{ Validate() error }); ok {
		if err := v.Validate(); err != nil {
			bad("Detector", "%v", err)
			return // the sizes may follow from what is faulty
		}
	}
	if n, words := d.Summary(), d.Words(); n < 1 || n > maxSummary || n > words {
		bad("Detector", "%s has a summary of %d words out of %d; from 1 to %d are published", d.Name(), n, words, maxSummary)
	}
}

// durationWithin reports d unless it is 0, which means the default, or within lo to hi.
func durationWithin(bad func(string, string, ...any), field string, d, lo, hi time.Duration) {
	if d != 0 && (d < lo || d > hi) {
		bad(field, "%v is not within %v to %v", d, lo, hi)
	}
}

// validateListen reports faulty local addresses.
func (c *Config) validateListen(bad func(string, string, ...any)) {
	if len(c.Listen) > network.MaxSockets {
		bad("Listen", "%d addresses; at most %d", len(c.Listen), network.MaxSockets)
	}
	seen := make(map[netip.AddrPort]bool)
	for _, a := range c.Listen {
		if !a.Addr().IsValid() {
			bad("Listen", "an address is not set; use for instance 0.0.0.0:7946")
		}
		if a.Addr().IsMulticast() || a.Addr() == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			bad("Listen", "%v is not the address of one host", a)
		}
		if a.Port() != 0 && seen[a] {
			bad("Listen", "%v is listed twice", a)
		}
		seen[a] = true
	}
}

// validateSched reports scheduling faults that need no system call to find.
func (c *Config) validateSched(bad func(string, string, ...any)) {
	s := &c.Sched
	switch {
	case s.Class == Normal && s.Priority != 0:
		bad("Sched.Priority", "%d needs Class Nice or FIFO", s.Priority)
	case s.Class == Nice && (s.Priority < -20 || s.Priority > 19):
		bad("Sched.Priority", "nice %d is not within -20 to 19", s.Priority)
	case s.Class == FIFO && (s.Priority < 1 || s.Priority > 99):
		bad("Sched.Priority", "SCHED_FIFO priority %d is not within 1 to 99", s.Priority)
	case s.Class > FIFO:
		bad("Sched.Class", "%d is none of Normal, Nice, FIFO", s.Class)
	}
	for _, cpu := range s.CPUs {
		if cpu < 0 {
			bad("Sched.CPUs", "%d is negative", cpu)
		}
	}
	if c.Manual && c.Shards > 1 {
		bad("Manual", "a program's own loop turns one shard, not %d", c.Shards)
	}
	if c.Manual && (s.Class != Normal || len(s.CPUs) > 0 || s.Procs != 0) {
		bad("Manual", "the thread is the program's: Sched must be zero")
	}
}

// withDefaults returns c with every zero field that has a default filled in.
func (c Config) withDefaults() Config {
	setDefault(&c.Shards, 1)
	c.planPeriod()
	setDefault(&c.ConnectTimeout, defaultConnectTimeout)
	setDefault(&c.ExpectedPeers, defaultExpectedPeers)
	setDefault(&c.Window, defaultWindow)
	setDefault(&c.Accept.PerSecond, defaultPerSecond)
	setDefault(&c.Accept.Max, defaultAcceptMax)
	setDefault(&c.Accept.Forget, defaultForget)
	setDefault(&c.Accept.MinPeriod, c.Period)
	if c.Detector == nil {
		c.Detector = c.promised()
	}
	if len(c.Listen) == 0 && c.Network == nil {
		c.defaultListen = true
		c.Listen = []netip.AddrPort{
			netip.AddrPortFrom(netip.IPv4Unspecified(), 0), netip.AddrPortFrom(netip.IPv6Unspecified(), 0),
		}
	}
	return c
}

// setDefault sets *field to value if it is zero.
func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// grid is what sends lie on: a whole fraction of period, near a quarter of
// it, from 0.5 to 4 ms. One turn sends what is due within one grid step and reads
// what came in it, so system calls are shared; an arrival keeps the kernel's stamp.
func grid(period time.Duration) time.Duration {
	target := min(max(period/4, 500*time.Microsecond), 4*time.Millisecond)
	steps := (period + target - 1) / target
	return period / steps
}

// onGrid returns d, lengthened to a whole number of grid steps.
func onGrid(d, step time.Duration) time.Duration { return (d + step - 1) / step * step }
