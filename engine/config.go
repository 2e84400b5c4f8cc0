package engine

import (
	"cmp"
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

// Config configures an engine. The zero value is usable: a random id, any local address, one shard, a
// heartbeat per 100 ms, one mistake per day and peer, no keys, no strangers. Open validates its copy.
type Config struct {
	// ID identifies this node to its peers; give each node its own. 0 means a random id, another at
	// every start.
	ID uint64
	// Incarnation distinguishes the starts of one ID and must grow with every start. 0 means the wall
	// clock in nanoseconds. If the wall clock went back since the last start, peers accept the new
	// incarnation only when the earlier process has fallen silent.
	Incarnation uint64
	// Listen is the local addresses, each with one socket per shard. Empty means any IPv4 and any
	// IPv6 address, on ports that the kernel chooses.
	Listen []netip.AddrPort
	// Shards is the number of owner loops, each with a thread and its own sockets. 0 means 1, which
	// serves 100,000 peers at 1 Hz on part of a core. At most 64 on Linux, and 1 elsewhere.
	Shards int

	// Promise is the quality asked of the detector: its detection time, mistake rate and heartbeat
	// rate. The zero value means one mistake per day about each peer, and the detection time that
	// allows. Open refuses a promise that Known rules out, and says what is possible
	// (*detect.InfeasibleError). With DetectWithin and no Period, the period follows from Promise and
	// is revised as paths are measured. If measurements show that not both can be kept, MistakeEvery
	// is kept and PromiseAtRisk is published. Configure both ends alike.
	Promise detect.Promise
	// Known is what is known of the network before anything is measured.
	Known detect.Known
	// Period is the time between two heartbeats to a peer (η), from 1 ms to 1 minute. 0 means the
	// period that Promise needs, or 100 ms if Promise is zero. Peers can ask for a longer one.
	Period time.Duration
	// MinReceivePeriod asks peers to send no faster than this, as BFD's Required Min
	// RX Interval does (RFC 5880, 6.8.3). 0 asks nothing. At most 1 minute.
	MinReceivePeriod time.Duration
	// ConnectTimeout is the time within which a peer must be heard after our first heartbeat to it,
	// from 10 ms to 1 hour. 0 means 3 s.
	ConnectTimeout time.Duration
	// Detector turns heartbeats into suspicion. nil means the detect.Margin that keeps Promise. Any
	// other detector, such as those of package detect/published, excludes Promise. Its Summary has at
	// most 16 words. If it has a method Validate() error, Validate reports that error.
	//
	// Experimental: a later minor version may change the interface and what the engine asks of it.
	// What Promise and the default detector do is stable.
	Detector detect.Detector
	// Final makes failures final for an incarnation: a failed peer is alive again only in a new one.
	// The failed node sees the cause Buried and can call Engine.Reincarnate. Without Final a failed
	// peer that is heard again is alive.
	Final bool

	// Keys authenticates every datagram: those without a valid tag are refused. nil means no
	// authentication, which the engine logs once.
	Keys *wire.KeyRing
	// Accept configures which strangers become peers. The zero value means none.
	Accept Accept

	// ExpectedPeers sizes the socket buffers. 0 means 1024. More peers than expected may cost
	// datagrams when the loop stalls, nothing else.
	ExpectedPeers int
	// RecvBuffer and SendBuffer are the socket buffers in bytes. 0 means a size that follows from
	// ExpectedPeers, for heartbeats with up to 24 bytes of messages. The kernel charges 1.5 times as
	// much for up to 464 bytes of messages and 2.8 times as much for more. Stats has the sizes that the
	// kernel granted.
	RecvBuffer, SendBuffer int
	// StampSends has the kernel stamp one heartbeat in so many to each peer when the network driver
	// takes it; in a container, that is the driver of the container's interface. The next heartbeat
	// tells the peer, also an admitted stranger, how long that one waited in this host: the peer's
	// PeerStats.SendWait. 0 means none, 1 all; at most 65,536. It needs no privilege. A turn costs a
	// system call more if the one before it sent stamped heartbeats; a stamp that comes late may wake
	// the loop. On systems other than Linux nothing is stamped.
	StampSends int
	// Window is the number of heartbeats that Peer.Samples returns at most: a power of two up to
	// 4096. 0 means 4. Each takes 48 bytes per peer.
	Window int

	// PeerHistograms keeps the distributions of each peer, for Peer.Histograms. That takes 12,400 bytes per
	// peer, allocated for 256 peers at once, and some nanoseconds per heartbeat. Engine.Histograms has those of
	// all peers together in any case.
	PeerHistograms bool

	// Sched configures the scheduling of the shards' threads. The zero value needs no privilege. All
	// but Procs needs Linux.
	Sched Sched
	// Manual leaves the loop to the program, which calls Engine.Turn. It excludes Sched, and Shards
	// above 1.
	Manual bool

	// Arrivals stamps and takes datagrams below the sockets. nil means that there is no such source.
	Arrivals Arrivals
	// Recorder records every accepted heartbeat, for package replay. nil records nothing. Several
	// engines may share one; close it after them.
	Recorder *recording.Recorder
	// Resolver looks up the names of peers. nil means net.DefaultResolver.
	Resolver Resolver
	// Logger gets what an operator should know, each fact once. nil means no log.
	Logger *slog.Logger

	world         network.World // the simulated host; nil: this machine's sockets and clocks
	portable      bool          // use the sockets of systems other than Linux
	defaultListen bool          // Listen was empty
	follow        bool          // the period follows from Promise
}

// Resolver is the part of net.Resolver that the engine uses. Several goroutines may call it at once,
// and wait for it: none of them is a loop.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Accept configures the admission of strangers: senders that were not added by AddPeer. Each of their
// datagrams gets at most one answer, no longer than the datagram. A stranger is admitted when it
// returns the discriminator of an answer, so a forged source address amplifies nothing. Heartbeats to
// an admitted peer are bounded by those from it. Strangers share no statistics with other peers.
type Accept struct {
	// Anyone admits every sender of a valid datagram; with Config.Keys, every holder of a key.
	// Without Anyone no stranger is admitted.
	Anyone bool
	// PerSecond bounds admissions. 0 means 100. At most 1,000,000.
	PerSecond int
	// Max bounds the number of admitted peers. A new stranger replaces one that failed or left, else
	// the one with the fewest heartbeats in the prefix (/24 of IPv4, /48 of IPv6) that has the most
	// strangers. 0 means 1024.
	Max int
	// MinPeriod is the shortest period of heartbeats to an admitted peer, which is otherwise the
	// peer's own period. 0 means Config.Period.
	MinPeriod time.Duration
	// Forget is the time for which an admitted peer that failed or left stays in the table. 0 means
	// 1 minute.
	Forget time.Duration
}

// Sched configures the scheduling of the shards' threads. The zero Sched keeps the class and the nice value of
// the process. On kernels from 6.12 on a thread asks for a short slice all the same, so that it runs sooner after
// a wake-up, which needs no privilege.
//
// A thread that returns from waiting in the kernel needs a P of the Go scheduler, whatever its
// scheduling class. If goroutines keep every P busy, the thread waits for one for 10 ms or more. With
// as many additional Ps as shards, each loop keeps its P while it waits, and uses a quarter less CPU.
// bench/README.md has the figures.
type Sched struct {
	// Nice is the nice value, -20 to 19. 0 changes nothing. Below 0 needs CAP_SYS_NICE.
	Nice int
	// FIFO is the priority in the real-time class SCHED_FIFO, 1 to 99. 0 changes nothing. It excludes Nice, and
	// needs CAP_SYS_NICE or an RLIMIT_RTPRIO of that much.
	FIFO int
	// CPUs pins shard i to CPUs[i%len(CPUs)]. Empty means no pinning.
	CPUs []int
	// Procs is added to GOMAXPROCS by Open and subtracted by Close. Set it to Shards in servers
	// whose goroutines compute for milliseconds, or to save CPU time. Setting GOMAXPROCS ends the
	// runtime's following of the processors and of the CPU limit of the control group (Go 1.25):
	// GOMAXPROCS stays what it was at Open, plus Procs. Close does not begin the following again;
	// runtime.SetDefaultGOMAXPROCS after Close does.
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
	maxStampSends         = 65_536
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

// fieldError returns a *FieldError.
func fieldError(field, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &FieldError{field, err.Error(), errors.Unwrap(err)}
}

// faults is the faults of a configuration, each a *FieldError.
type faults []error

// add adds a fault of a field.
func (f *faults) add(field, format string, args ...any) {
	*f = append(*f, fieldError(field, format, args...))
}

// duration adds a fault unless d is within lo to hi, or 0, which means the default.
func (f *faults) duration(field string, d, lo, hi time.Duration) {
	if d != 0 && (d < lo || d > hi) {
		f.add(field, "%v is not within %v to %v", d, lo, hi)
	}
}

// Validate returns all faults of c, each a *FieldError, joined; nil if Open would accept c. Open may
// still fail for lack of a socket or a privilege.
func (c *Config) Validate() error {
	var f faults
	if c.Shards < 0 || c.Shards > maxShards {
		f.add("Shards", "%d is not within 0 to %d", c.Shards, maxShards)
	}
	if c.Shards > 1 && (c.portable || onlyPortable) {
		f.add("Shards", "%d shards need Linux: elsewhere sockets cannot share a port by discriminator", c.Shards)
	}
	if c.StampSends < 0 || c.StampSends > maxStampSends {
		f.add("StampSends", "%d is not within 0 to %d", c.StampSends, maxStampSends)
	}
	f.duration("Period", c.Period, minPeriod, maxPeriod)
	f.duration("MinReceivePeriod", c.MinReceivePeriod, time.Microsecond, maxPeriod)
	f.duration("ConnectTimeout", c.ConnectTimeout, 10*time.Millisecond, time.Hour)
	f.duration("Accept.MinPeriod", c.Accept.MinPeriod, minPeriod, maxPeriod)
	f.duration("Accept.Forget", c.Accept.Forget, time.Millisecond, 24*time.Hour)
	for _, n := range []struct {
		field string
		value int
	}{
		{"ExpectedPeers", c.ExpectedPeers}, {"RecvBuffer", c.RecvBuffer}, {"SendBuffer", c.SendBuffer},
		{"Accept.PerSecond", c.Accept.PerSecond}, {"Accept.Max", c.Accept.Max}, {"Sched.Procs", c.Sched.Procs},
	} {
		if n.value < 0 {
			f.add(n.field, "%d is negative", n.value)
		}
	}
	if c.ExpectedPeers > maxPeers || c.Accept.Max > maxPeers {
		f.add("ExpectedPeers", "the table holds at most %d peers", maxPeers)
	}
	if w := c.Window; w < 0 || w > maxWindow || w&(w-1) != 0 {
		f.add("Window", "%d is not a power of two up to %d", w, maxWindow)
	}
	if c.Accept.PerSecond > maxPerSecond {
		f.add("Accept.PerSecond", "%d is above %d", c.Accept.PerSecond, maxPerSecond)
	}
	if c.Keys != nil {
		if err := c.Keys.Validate(); err != nil {
			f.add("Keys", "%w", err)
		} else if c.Keys.Pairwise() && c.ID == 0 {
			f.add("ID", "pairwise keys need it: give this node its own id")
		}
	}
	c.validateListen(&f)
	c.validateSched(&f)
	c.validatePromise(&f)
	c.validateDetector(&f)
	return errors.Join(f...)
}

// validateDetector adds the detector's own faults, and a summary that does not fit into the table.
func (c *Config) validateDetector(f *faults) {
	d := c.Detector
	if d == nil {
		return
	}
	if v, ok := d.(interface{ Validate() error }); ok {
		if err := v.Validate(); err != nil {
			f.add("Detector", "%v", err)
			return // its sizes may depend on the faulty field
		}
	}
	if n, words := d.Summary(), d.Words(); n < 1 || n > maxSummary || n > words {
		f.add("Detector", "%s has a summary of %d words out of %d; from 1 to %d are published", d.Name(), n, words, maxSummary)
	}
}

// validateListen adds the faults of local addresses.
func (c *Config) validateListen(f *faults) {
	if len(c.Listen) > network.MaxSockets {
		f.add("Listen", "%d addresses; at most %d", len(c.Listen), network.MaxSockets)
	}
	seen := make(map[netip.AddrPort]bool)
	for _, a := range c.Listen {
		if !a.Addr().IsValid() {
			f.add("Listen", "an address is not set; write for instance 0.0.0.0:7853")
		}
		if a.Addr().IsMulticast() || a.Addr() == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			f.add("Listen", "%v is not the address of one host", a)
		}
		if a.Port() != 0 && seen[a] {
			f.add("Listen", "%v is listed twice", a)
		}
		seen[a] = true
	}
}

// validateSched adds the scheduling faults that can be found without a system call.
func (c *Config) validateSched(f *faults) {
	s := &c.Sched
	if s.Nice < -20 || s.Nice > 19 {
		f.add("Sched.Nice", "%d is not within -20 to 19", s.Nice)
	}
	if s.FIFO < 0 || s.FIFO > 99 {
		f.add("Sched.FIFO", "%d is not within 1 to 99", s.FIFO)
	}
	if s.Nice != 0 && s.FIFO != 0 {
		f.add("Sched.Nice", "%d excludes FIFO: leave one at 0", s.Nice)
	}
	if !hasSched && (s.Nice != 0 || s.FIFO != 0) {
		f.add("Sched", "a priority needs Linux: leave Nice and FIFO at 0")
	}
	if !hasSched && len(s.CPUs) > 0 {
		f.add("Sched.CPUs", "pinning needs Linux: leave it empty")
	}
	for _, cpu := range s.CPUs {
		if cpu < 0 {
			f.add("Sched.CPUs", "%d is negative", cpu)
		}
	}
	if c.Manual && c.Shards > 1 {
		f.add("Manual", "a program's own loop turns one shard, not %d", c.Shards)
	}
	if c.Manual && (s.Nice != 0 || s.FIFO != 0 || len(s.CPUs) > 0 || s.Procs != 0) {
		f.add("Manual", "the thread is the program's: Sched must be zero")
	}
}

// withDefaults returns c with defaults in place of zero fields.
func (c Config) withDefaults() Config {
	c.Shards = cmp.Or(c.Shards, 1)
	c.planPeriod()
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, defaultConnectTimeout)
	c.portable = c.portable || onlyPortable
	c.ExpectedPeers = cmp.Or(c.ExpectedPeers, defaultExpectedPeers)
	c.Window = cmp.Or(c.Window, defaultWindow)
	c.Accept.PerSecond = cmp.Or(c.Accept.PerSecond, defaultPerSecond)
	c.Accept.Max = cmp.Or(c.Accept.Max, defaultAcceptMax)
	c.Accept.Forget = cmp.Or(c.Accept.Forget, defaultForget)
	c.Accept.MinPeriod = cmp.Or(c.Accept.MinPeriod, c.Period)
	if c.Detector == nil {
		c.Detector = c.promised()
	}
	if len(c.Listen) == 0 && c.world == nil {
		c.defaultListen = true
		c.Listen = []netip.AddrPort{
			netip.AddrPortFrom(netip.IPv4Unspecified(), 0), netip.AddrPortFrom(netip.IPv6Unspecified(), 0),
		}
	}
	return c
}

// grid returns the step of the grid of sends: a whole fraction of period, about a quarter, from 0.5
// to 4 ms. A turn sends and reads everything of one step, so that system calls are shared.
func grid(period time.Duration) time.Duration {
	target := min(max(period/4, 500*time.Microsecond), 4*time.Millisecond)
	steps := (period + target - 1) / target
	return period / steps
}

// onGrid rounds d up to a whole number of grid steps.
func onGrid(d, step time.Duration) time.Duration { return (d + step - 1) / step * step }
