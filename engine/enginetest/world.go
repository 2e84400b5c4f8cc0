package enginetest

import (
	"fmt"
	"net/netip"
	"time"

	"systole/engine"
	"systole/engine/enginetest/netmodel"
	"systole/engine/internal/sim"
)

// World is hosts, the links between them and the faults of both, in virtual time. Engines
// on its hosts run the very code that runs on sockets, and so can the program that links
// them: what its users would do on goroutines and timers, it does in Host.Every, Host.After,
// Host.OnEvent and Host.OnNode. An hour passes in seconds, and one seed replays everything.
//
// Faults are set at any instant, between two calls of Run or from a function that At
// calls. After each turn of an engine the World checks what must always hold, and Violations
// tells what did not.
//
// What a Scenario would be refused for, such as a negative duration or a probability of 7, the
// methods of World and Host refuse as well: they panic with a text that names the method and the
// value, since that is a mistake of the test's author.
//
// A World is for one goroutine, and so is all that belongs to it. Two worlds share nothing.
type World struct {
	sim        *sim.World
	hosts      []*Host
	of         map[*sim.Host]*Host
	processes  map[uint64]*process // by the id of the engine that runs, or last ran, under it
	seen       []Seen
	violations []Violation
	crashes    []*crash
	worst      time.Duration // detection, from a crash to the verdict
	detected   int
	mistakes   int
	rebound    int // how often
	// readdressed: not every host has one address for good, or names have moved.
	readdressed bool
	forger      *forger
	carriers    []*process        // processes that say messages, by their number - 1
	saidAtCalm  map[uint64]uint64 // how many each had said when the calm began, by number
	delivered   uint64            // messages
	quiet       bool              // nothing but forgers is in anybody's way: see checkUnmoved
}

// Seen is an event of an engine or a fault of the world, and where and when it was seen.
type Seen struct {
	At    time.Duration // since the world began
	Host  string
	Peer  string            // the host that it is about; empty: none, or not known
	Event engine.Event      // zero if this is a node event or a fault
	Node  *engine.NodeEvent // nil if this is none
	// Fault says what was done to the world, "" if this is an event. Host is whom it was done to,
	// if anyone.
	Fault string
}

// String returns a line for people.
func (s Seen) String() string {
	at := fmt.Sprintf("%12.6f %s", s.At.Seconds(), s.Host)
	switch {
	case s.Fault != "":
		return at + " ! " + s.Fault
	case s.Node != nil && s.Node.Cause == engine.LocalPause:
		return fmt.Sprintf("%s: %v of %v", at, s.Node.Cause, s.Node.Pause)
	case s.Node != nil:
		return fmt.Sprintf("%s: %v", at, s.Node.Cause)
	}
	ev := &s.Event
	peer := s.Peer
	switch {
	case peer != "":
	case ev.Name != "":
		peer = ev.Name
	case ev.Addr.IsValid():
		peer = ev.Addr.String()
	default:
		peer = "a peer yet unknown"
	}
	line := fmt.Sprintf("%s about %s: %v → %v, %v", at, peer, ev.From, ev.To, ev.Cause)
	if ev.Silence > 0 {
		line += fmt.Sprintf("; silent %v, suspicion %.2f, judged %v late", ev.Silence, ev.Suspicion, ev.Lag)
	}
	return line
}

// NewWorld returns an empty world. All its chance comes from seed. Its links take 100 to
// 200 µs and lose nothing, unless SetLinks or SetLink says otherwise.
func NewWorld(seed uint64) *World {
	w := &World{sim: sim.New(seed), of: make(map[*sim.Host]*Host), processes: make(map[uint64]*process)}
	w.sim.AfterTurn = w.afterTurn
	return w
}

// AddHost adds a host without a process and returns it. Other hosts reach it as Host.Addr,
// or by name on port 7853, as engine.PeerConfig.Name. It panics if the name is empty or taken.
func (w *World) AddHost(name string) *Host {
	refuse("World.AddHost", func(bad faults) { newName(bad, "name", name, w.Host(name) != nil) })
	addr := addrOf(len(w.hosts)+1, 0)
	s, err := w.sim.AddHost(name, addr)
	if err != nil {
		panic(fmt.Sprintf("enginetest: %v", err)) // neither name nor address is taken
	}
	h := &Host{world: w, sim: s, home: []netip.AddrPort{addr}, paths: []netip.AddrPort{addr}}
	w.hosts = append(w.hosts, h)
	w.of[s] = h
	return h
}

// Host returns the host with the name, nil if there is none.
func (w *World) Host(name string) *Host {
	for _, h := range w.hosts {
		if h.Name() == name {
			return h
		}
	}
	return nil
}

// port is the port of every host's engine, the one that systole serve listens on.
const port = 7853

// Now returns how long the world has run.
func (w *World) Now() time.Duration { return w.sim.Elapsed() }

// Run lets d pass. It panics if d is negative, or the world would have run for more than 1000 h.
func (w *World) Run(d time.Duration) {
	refuse("World.Run", func(bad faults) { within(bad, "d", d, 0, maxDuration-w.Now()) })
	w.sim.Run(d)
	w.checkCrashes()
}

// At has do called when the world has run for elapsed, whatever host is down; at once if it
// has.
func (w *World) At(elapsed time.Duration, do func()) { w.sim.At(min(elapsed, never), do) }

// never is later than a world runs, by any of its clocks.
const never = 2 * maxDuration

// SetLinks sets the way between all hosts that have none of their own. It panics if a figure of
// the link is out of its range.
func (w *World) SetLinks(l netmodel.Link) {
	refuse("World.SetLinks", func(bad faults) { validLink(bad, "link", l) })
	w.sim.SetLinks(l)
}

// SetLink sets the way from one host to another; the way back is another link. What is on its
// way stays so. It panics if a figure of the link is out of its range, or from is to.
func (w *World) SetLink(from, to *Host, l netmodel.Link) {
	refuse("World.SetLink", func(bad faults) {
		another(bad, "to", from.Name(), to.Name())
		validLink(bad, "link", l)
	})
	w.sim.SetLink(from.sim, to.sim, l)
}

// Cut cuts the way from one host to another, and Heal mends it. Cutting one way only makes
// a one-way link; cutting some pairs, a partial partition. It panics if from is to.
func (w *World) Cut(from, to *Host) {
	refuse("World.Cut", func(bad faults) { another(bad, "to", from.Name(), to.Name()) })
	w.sim.Cut(from.sim, to.sim)
}

// Heal mends what Cut or Partition cut from one host to another.
func (w *World) Heal(from, to *Host) { w.sim.Heal(from.sim, to.sim) }

// Partition cuts both ways between some hosts and all others; HealAll mends it. It panics if
// that parts nothing: if hosts is none, or all of them.
func (w *World) Partition(hosts ...*Host) {
	inside := make(map[*Host]bool)
	for _, h := range hosts {
		inside[h] = true
	}
	refuse("World.Partition", func(bad faults) { part(bad, "hosts", len(inside), len(w.hosts)) })
	for _, a := range w.hosts {
		for _, b := range w.hosts {
			if inside[a] != inside[b] {
				w.Cut(a, b)
			}
		}
	}
}

// HealAll mends every way that was cut.
func (w *World) HealAll() {
	for _, a := range w.hosts {
		for _, b := range w.hosts {
			if a != b {
				w.Heal(a, b)
			}
		}
	}
}

// Events returns what was seen so far, in order.
func (w *World) Events() []Seen { return w.seen }

// Violations returns what did not hold, in the order in which it was found; empty is good.
// See Violation.
func (w *World) Violations() []Violation { return w.violations }

// note keeps what was seen.
func (w *World) note(s Seen) {
	s.At = w.Now()
	w.seen = append(w.seen, s)
}

// did notes a fault.
func (w *World) did(h *Host, format string, args ...any) {
	s := Seen{Fault: fmt.Sprintf(format, args...)}
	if h != nil {
		s.Host = h.Name()
	}
	w.note(s)
}
