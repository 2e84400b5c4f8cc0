package engine

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/clock"
	"systole/engine/internal/network"
	"systole/engine/internal/udp"
)

// world runs engines in virtual time through the very turn that runs on sockets. Only
// the network is simulated: delays, loss, duplication, full buffers, refused ports,
// pauses, steps of the wall clock. One seed replays everything.
type world struct {
	t      *testing.T
	now    clock.Instant
	random *rand.Rand
	nodes  []*node
	flight flight
	serial int

	delay  func() time.Duration
	mangle func(d *delivery) []*delivery // nil: deliver as is
}

// node is one process with one engine.
type node struct {
	*Engine
	world  *world
	net    *simNet
	addr   udp.Addr
	port   netip.AddrPort
	wakeAt clock.Instant
	wall   int64 // CLOCK_REALTIME - CLOCK_MONOTONIC

	dead    bool // the process is gone: its port refuses
	gone    bool // the machine is gone: nothing comes back
	stopped bool // SIGSTOP: the kernel goes on receiving
	frozen  bool // the whole host stands still
	events  *Subscription
	log     []Event
}

// delivery is a datagram on its way.
type delivery struct {
	at     clock.Instant
	serial int
	from   udp.Addr
	to     udp.Addr
	data   []byte
}

// flight is a heap of deliveries by time.
type flight []*delivery

func (f flight) Len() int { return len(f) }
func (f flight) Less(i, j int) bool {
	return f[i].at < f[j].at || f[i].at == f[j].at && f[i].serial < f[j].serial
}
func (f flight) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f *flight) Push(x any)   { *f = append(*f, x.(*delivery)) }
func (f *flight) Pop() any {
	old := *f
	d := old[len(old)-1]
	*f = old[:len(old)-1]
	return d
}

// newWorld returns a world with a path delay of 100 to 200 µs.
func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, now: clock.Instant(time.Hour), random: rand.New(rand.NewPCG(seed, 1))}
	w.delay = func() time.Duration { return time.Duration(100_000 + w.random.IntN(100_000)) }
	return w
}

// start starts a node at 10.0.0.i:7946.
func (w *world) start(cfg Config) *node {
	w.t.Helper()
	port := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(len(w.nodes) >> 8), byte(len(w.nodes))}), 7946)
	n := &node{world: w, port: port, addr: udp.AddrFrom(port), wall: int64(time.Hour) * 24 * 365 * 50}
	w.boot(n, cfg)
	w.nodes = append(w.nodes, n)
	return n
}

// boot gives n a new process.
func (w *world) boot(n *node, cfg Config) {
	w.t.Helper()
	cfg.Manual = true
	if cfg.Incarnation == 0 {
		cfg.Incarnation = uint64(int64(w.now) + n.wall)
	}
	if err := cfg.Validate(); err != nil {
		w.t.Fatal(err)
	}
	e, err := newEngine(cfg.withDefaults())
	if err != nil {
		w.t.Fatal(err)
	}
	n.Engine, n.net = e, &simNet{node: n, room: 4096}
	n.dead, n.stopped, n.wakeAt = false, false, w.now
	e.shards[0].net = n.net
	n.events = e.Subscribe()
	e.restock()
}

// watch makes n watch m by address.
func (n *node) watch(m *node, options ...func(*PeerConfig)) Peer {
	n.world.t.Helper()
	c := PeerConfig{Addr: m.port}
	for _, o := range options {
		o(&c)
	}
	p, err := n.AddPeer(c)
	if err != nil {
		n.world.t.Fatal(err)
	}
	n.wakeAt = n.world.now
	return p
}

// reading is what n's clocks show.
func (n *node) reading() clock.Reading {
	return clock.Reading{Now: n.world.now, Wall: int64(n.world.now) + n.wall}
}

// awake reports whether n turns.
func (n *node) awake() bool { return !n.dead && !n.gone && !n.stopped && !n.frozen }

// run lets d of virtual time pass.
func (w *world) run(d time.Duration) {
	w.t.Helper()
	end := w.now.Add(d)
	for steps := 0; ; steps++ {
		if steps > 50_000_000 {
			w.t.Fatal("the world does not come to rest")
		}
		next := w.next(end)
		w.now = max(w.now, next)
		if next >= end {
			w.now = end
			return
		}
		w.deliver()
		for _, n := range w.nodes {
			if n.awake() && n.due() <= w.now {
				n.turn()
			}
		}
	}
}

// next returns when something happens next, at most end.
func (w *world) next(end clock.Instant) clock.Instant {
	next := end
	if len(w.flight) > 0 {
		next = min(next, w.flight[0].at)
	}
	for _, n := range w.nodes {
		if n.awake() {
			next = min(next, n.due())
		}
	}
	return next
}

// due returns when n turns next: as shard.wait decides it.
func (n *node) due() clock.Instant {
	s := n.shards[0]
	if s.ring.Len() > 0 {
		return n.world.now
	}
	if len(n.net.inbox)+len(n.net.errors) > 0 {
		return min(n.wakeAt, max(n.world.now, s.lastRead.Add(s.grid)))
	}
	return n.wakeAt
}

// turn turns n once, a moment later than now as real wake-ups are, and collects events.
func (n *node) turn() {
	n.wakeAt = n.shards[0].turn(n.reading())
	select {
	case <-n.asked:
		n.restock()
	default:
	}
	if n.wakeAt <= n.world.now {
		n.wakeAt = n.world.now + 1000 // a turn takes a microsecond
	}
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
		w.t.Errorf("%v: %v → %v is no transition", n.port, ev.From, ev.To)
	}
	if ev.From == Failed && ev.To == Alive && ev.Cause == ReachableAgain && !n.cfg.Resurrect {
		w.t.Errorf("%v: a failed peer came back in the same life", n.port)
	}
}

// deliver hands over what has arrived.
func (w *world) deliver() {
	for len(w.flight) > 0 && w.flight[0].at <= w.now {
		d := heap.Pop(&w.flight).(*delivery)
		for _, n := range w.nodes {
			if n.addr == d.to {
				n.net.arrive(d)
			}
		}
	}
}

// post puts a datagram on its way.
func (w *world) post(d *delivery) {
	w.serial++
	d.serial = w.serial
	heap.Push(&w.flight, d)
}

// simNet is a node's network.
type simNet struct {
	node      *node
	inbox     []*delivery
	errors    []*delivery
	batch     []*delivery
	out       []*delivery
	slots     []uint32
	buf       [2048]byte
	room      int // datagrams that the receive buffer holds
	lost      uint32
	flushed   []uint32
	refuse    unix.Errno // every send fails with it
	sends     int
	unplugged bool // no carrier: sends are taken and lost, nothing comes
}

func (s *simNet) Sockets() int                   { return 1 }
func (s *simNet) SocketFor(a *udp.Addr) uint8    { return 0 }
func (s *simNet) Drops() uint32                  { return s.lost }
func (s *simNet) LinkDown(*udp.Addr) bool        { return s.unplugged }
func (s *simNet) Wake()                          {}
func (s *simNet) Drain()                         {}
func (s *simNet) Calls() uint64                  { return 0 }
func (s *simNet) Local() []netip.AddrPort        { return []netip.AddrPort{s.node.port} }
func (s *simNet) Close() error                   { return nil }
func (s *simNet) Buffers() (a, b network.Buffer) { return a, b }

func (s *simNet) Wait(time.Duration, bool) bool { panic("the world waits, not the shard") }

// arrive is what the node's kernel does with a datagram.
func (s *simNet) arrive(d *delivery) {
	n := s.node
	switch {
	case n.gone || n.frozen || s.unplugged:
	case n.dead:
		back := &delivery{at: n.world.now + 100_000, from: d.to, to: d.from, data: append([]byte("ICMP"), d.data...)}
		n.world.post(back)
	case len(d.data) > 4 && string(d.data[:4]) == "ICMP":
		s.errors = append(s.errors, d)
	case len(s.inbox) >= s.room:
		s.lost++
	default:
		s.inbox = append(s.inbox, d)
	}
}

func (s *simNet) Receive(int) (int, error) {
	k := min(len(s.inbox), batchSize)
	s.batch, s.inbox = s.inbox[:k:k], s.inbox[k:]
	if k == 0 && len(s.errors) > 0 {
		return 0, unix.ECONNREFUSED
	}
	return k, nil
}

func (s *simNet) Datagram(j int) []byte { return s.batch[j].data }
func (s *simNet) From(j int) *udp.Addr  { return &s.batch[j].from }
func (s *simNet) Stamp(j int) int64     { return int64(s.batch[j].at) + s.node.wall }

func (s *simNet) NextError(int) (network.Returned, bool) {
	if len(s.errors) == 0 {
		return network.Returned{}, false
	}
	d := s.errors[0]
	s.errors = s.errors[1:]
	return network.Returned{PortUnreachable: true, Peer: d.from, Quoted: d.data[4:]}, true
}

func (s *simNet) Next(int) []byte { return s.buf[:] }

func (s *simNet) Commit(_, n int, to *udp.Addr, slot uint32) int {
	s.out = append(s.out, &delivery{from: s.node.addr, to: *to, data: append([]byte(nil), s.buf[:n]...)})
	s.slots = append(s.slots, slot)
	return len(s.out)
}

func (s *simNet) Flush(int) (written, refused int) {
	w := s.node.world
	written, s.flushed = len(s.out), append(s.flushed[:0], s.slots...)
	s.slots = s.slots[:0]
	if s.refuse != 0 {
		refused = written
		s.out = nil
	}
	for _, d := range s.out {
		s.sends++
		if s.unplugged {
			continue
		}
		d.at = w.now.Add(w.delay())
		list := []*delivery{d}
		if w.mangle != nil {
			list = w.mangle(d)
		}
		for _, d := range list {
			w.post(d)
		}
	}
	s.out = s.out[:0]
	return written, refused
}

func (s *simNet) Refusal(_, k int) (uint32, unix.Errno) { return s.flushed[k], s.refuse }

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
