package engine

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"systole/engine/clock"
	"systole/engine/internal/network"
	"systole/engine/internal/sim"
	"systole/engine/internal/udp"
)

// world runs engines of this package in virtual time; see package sim.
type world struct {
	*sim.World
	t     *testing.T
	nodes []*node
}

// node is one process with one engine.
type node struct {
	*Engine
	host   *sim.Host
	world  *world
	events *Subscription
	log    []Event
}

// newWorld returns a world with a path delay of 100 to 200 µs.
func newWorld(t *testing.T, seed uint64) *world {
	w := &world{World: sim.New(seed), t: t}
	w.AfterTurn = func(h *sim.Host) {
		for _, n := range w.nodes {
			if n.host == h {
				n.collect()
			}
		}
	}
	return w
}

// start starts a node at 10.0.0.i:7946.
func (w *world) start(cfg Config) *node {
	w.t.Helper()
	i := len(w.nodes)
	port := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 7946)
	return w.startAt(port, cfg)
}

// startAt starts a node at an address.
func (w *world) startAt(addr netip.AddrPort, cfg Config) *node {
	w.t.Helper()
	host, err := w.AddHost(fmt.Sprint("host", len(w.nodes)), addr)
	if err != nil {
		w.t.Fatal(err)
	}
	n := &node{world: w, host: host}
	w.boot(n, cfg)
	w.nodes = append(w.nodes, n)
	return n
}

// boot gives n a new process.
func (w *world) boot(n *node, cfg Config) {
	w.t.Helper()
	err := n.host.Start(func(net network.World) (sim.Turner, error) {
		cfg.Manual, cfg.Network = true, net
		e, err := Open(cfg)
		n.Engine = e
		return e, err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	n.events = n.Subscribe()
}

// addr is where n is.
func (n *node) addr() udp.Addr { return udp.AddrFrom(n.host.Addr()) }

// watch makes n watch m by address.
func (n *node) watch(m *node, options ...func(*PeerConfig)) Peer {
	n.world.t.Helper()
	c := PeerConfig{Addr: m.host.Addr()}
	for _, o := range options {
		o(&c)
	}
	p, err := n.AddPeer(c)
	if err != nil {
		n.world.t.Fatal(err)
	}
	return p
}

// now is the world's time, and that of its hosts unless a test sets their clocks.
func (w *world) now() clock.Instant { return w.Now() }

// run lets d of virtual time pass.
func (w *world) run(d time.Duration) { w.Run(d) }

// collect takes n's events.
func (n *node) collect() {
	for {
		ev, ok := n.events.TryNext()
		if !ok {
			return
		}
		n.log = append(n.log, ev)
		n.world.check(n, ev)
	}
}

// check holds what must be true of every event.
func (w *world) check(n *node, ev Event) {
	w.t.Helper()
	if ev.Peer.IsZero() || ev.Cause == NoCause {
		return
	}
	if !mayFollow(ev.From, ev.To) {
		w.t.Errorf("%v: %v → %v is no transition", n.host.Name, ev.From, ev.To)
	}
	if ev.From == Failed && ev.To == Alive && ev.Cause == ReachableAgain && !n.cfg.Resurrect {
		w.t.Errorf("%v: a failed peer came back in the same life", n.host.Name)
	}
}

// want fails the test unless the transitions logged about peers, apart from Added, are
// exactly these, each written "from to cause".
func (n *node) want(what string, transitions ...string) {
	n.world.t.Helper()
	var got []string
	for _, ev := range n.log {
		if !ev.Peer.IsZero() && ev.Cause != Added && ev.Cause != NoCause {
			got = append(got, fmt.Sprintf("%v %v %v", ev.From, ev.To, ev.Cause))
		}
	}
	if len(got) != len(transitions) {
		n.world.t.Fatalf("%s: transitions %q, want %q", what, got, transitions)
	}
	for i := range got {
		if got[i] != transitions[i] {
			n.world.t.Fatalf("%s: transitions %q, want %q", what, got, transitions)
		}
	}
}

// accusedNobody fails the test if n suspected or failed a peer.
func (n *node) accusedNobody() {
	n.world.t.Helper()
	for _, ev := range n.log {
		if ev.To == Suspect || ev.To == Failed {
			n.world.t.Errorf("%v → %v, %v: %v of suspicion", ev.From, ev.To, ev.Cause, ev.Suspicion)
		}
	}
}

// last returns the newest event with the cause.
func (n *node) last(cause Cause) Event {
	n.world.t.Helper()
	for i := len(n.log) - 1; i >= 0; i-- {
		if n.log[i].Cause == cause {
			return n.log[i]
		}
	}
	n.world.t.Fatalf("no event with cause %v in %v", cause, n.log)
	return Event{}
}
