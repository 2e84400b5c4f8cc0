package engine

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"systole/engine/clock"
	"systole/engine/internal/network"
	"systole/engine/internal/sim"
	"systole/wire"
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
	nodes  []NodeEvent
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

// start starts a node at 10.0.0.i:7853.
func (w *world) start(cfg Config) *node {
	w.t.Helper()
	i := len(w.nodes)
	port := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 7853)
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
		cfg.Manual = true
		e, err := openSimulated(cfg, net)
		n.Engine = e
		return e, err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	n.events = n.Subscribe()
	n.events.OnNode = func(ev NodeEvent) { n.nodes = append(n.nodes, ev) }
}

// addr is where n is.
func (n *node) addr() network.Addr { return network.AddrFrom(n.host.Addr()) }

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
	if ev.Cause == NoCause {
		return
	}
	if !mayFollow(ev.From, ev.To) {
		w.t.Errorf("%v: %v → %v is no transition", n.host.Name, ev.From, ev.To)
	}
	if ev.From == Failed && ev.To == Alive && ev.Cause == ReachableAgain && n.cfg.Final {
		w.t.Errorf("%v: a failed peer came back in the same incarnation", n.host.Name)
	}
}

// want fails the test unless the transitions logged about peers, apart from Added, are
// exactly these, each written "from to cause".
func (n *node) want(what string, transitions ...string) {
	n.world.t.Helper()
	var got []string
	for _, ev := range n.log {
		if ev.Cause != Added && ev.Cause != NoCause {
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

// lastNode returns the newest event about n with the cause.
func (n *node) lastNode(cause NodeCause) NodeEvent {
	n.world.t.Helper()
	for i := len(n.nodes) - 1; i >= 0; i-- {
		if n.nodes[i].Cause == cause {
			return n.nodes[i]
		}
	}
	n.world.t.Fatalf("no event with cause %v in %v", cause, n.nodes)
	return NodeEvent{}
}

// last returns the newest event of a peer with the cause.
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

// pair returns two nodes that watch each other and are in touch.
func pair(t *testing.T, cfg Config) (*world, *node, *node, Peer) {
	t.Helper()
	w := newWorld(t, 1)
	a, b := w.start(cfg), w.start(cfg)
	p := a.watch(b)
	b.watch(a)
	w.run(2 * time.Second)
	if p.State() != Alive {
		t.Fatalf("state %v after 2 s, log %v", p.State(), a.log)
	}
	return w, a, b, p
}

// watched returns n's handle on m.
func (n *node) watched(m *node) Peer {
	n.world.t.Helper()
	for slot := uint32(1); slot < n.table.slots.Load(); slot++ {
		p := Peer{n.Engine, slot, n.table.peer(slot).verdict.generation()}
		if p.seen() && p.ID() == m.ID() {
			return p
		}
	}
	n.world.t.Fatalf("%s does not know %s", n.host.Name, m.host.Name)
	return Peer{}
}

// heartbeatOf returns the header of the next heartbeat that the process of p may send to its watcher.
func heartbeatOf(p Peer) wire.Header {
	r := p.record()
	return wire.Header{
		Sender: r.session.id.Get(), Incarnation: r.session.incarnation.Get(),
		MyDiscriminator: r.session.theirs.Get(), YourDiscriminator: r.session.mine,
		Sequence: r.session.replay.Highest() + 1, SendInstant: int64(p.engine.reading().Now), Period: 100_000,
		EchoIncarnation: p.engine.Incarnation(), EchoSequence: r.sends.sequence.Get(), EchoVerdict: wire.VerdictAlive,
	}
}

// post sends a datagram with header h from n's address.
func (n *node) post(h wire.Header, to *node) {
	n.world.t.Helper()
	b, f := wire.Append(nil, &h, nil)
	if f != wire.OK {
		n.world.t.Fatal(f)
	}
	n.world.Post(&sim.Datagram{At: n.world.now(), From: n.addr(), To: to.addr(), Data: b})
}

// send sends a datagram with header h from n's address over the world's links.
func (n *node) send(h wire.Header, to *node) {
	n.world.t.Helper()
	b, f := wire.Append(nil, &h, nil)
	if f != wire.OK {
		n.world.t.Fatal(f)
	}
	d := &sim.Datagram{At: n.world.now(), From: n.addr(), To: to.addr(), Data: b}
	for _, d := range n.world.Mangle(d) {
		n.world.Post(d)
	}
}

// peerAt returns the peer in a slot of n's table, nil if there is no such slot.
func (n *node) peerAt(slot uint32) *peer {
	if slot == 0 || slot >= n.table.slots.Load() {
		return nil
	}
	return n.table.peer(slot)
}
