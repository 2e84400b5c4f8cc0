package enginetest

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"systole/engine"
	"systole/engine/enginetest/netmodel"
	"systole/engine/internal/network"
)

// forger writes datagrams that no engine wrote, on ways of its own. It has a chance of its own too,
// so that the world's is as without it.
type forger struct {
	world  *World
	random *rand.Rand
	tape   []recorded // of what hosts sent, the oldest first
	in     map[network.Addr]int
	out    map[network.Addr]int
	spoke  map[network.Addr]bool // from which a host sent
	told   map[network.Addr]bool // of which a violation was noted
}

// recorded is a datagram on the tape.
type recorded struct {
	from, to network.Addr
	data     []byte
}

// maxTape is how many datagrams a forger remembers.
const maxTape = 2048

// hireForger begins to record what hosts send, and to measure what goes where nobody is.
func (w *World) hireForger() {
	if w.forger != nil {
		return
	}
	f := &forger{
		world: w, random: rand.New(rand.NewPCG(w.sim.Random().Uint64(), 3)),
		in: make(map[network.Addr]int), out: make(map[network.Addr]int), spoke: make(map[network.Addr]bool), told: make(map[network.Addr]bool),
	}
	w.forger = f
	w.sim.Tap = f.see
}

// forge has n datagrams of a kind come to a host, or to all if h is nil, at instants within d, in the name
// of hosts or of nobody. What is replayed was sent since the first call: to whom it was for or another,
// in the name of who sent it or another.
func (w *World) forge(h *Host, kind string, n int, d time.Duration) {
	w.hireForger()
	f := w.forger
	w.did(h, "%d datagrams of a forger's within %v: %s", n, d, kind)
	for range n {
		w.sim.At(w.Now()+time.Duration(f.random.Int64N(int64(d)+1)), func() { f.post(h, kind) })
	}
}

// post has one datagram come.
func (f *forger) post(h *Host, kind string) {
	if h == nil {
		h = f.world.hosts[f.random.IntN(len(f.world.hosts))]
	}
	var d recorded
	var ok bool
	if kind == kindForge {
		d, ok = f.publicly(h)
	} else {
		d, ok = f.recording(h)
	}
	if !ok {
		return // nobody to speak of, or nothing on the tape
	}
	if kind == kindGarble {
		d.data = f.garbled(d.data)
	}
	if !f.isHost(d.from) {
		f.in[d.from] += len(d.data)
	}
	f.world.sim.Post(f.datagram(&d))
}

// recording returns a datagram off the tape that is to come to a host: more often than not one
// that was for it, and from its sender.
func (f *forger) recording(h *Host) (recorded, bool) {
	to := network.AddrFrom(h.paths[0])
	var d recorded
	for range 16 {
		if len(f.tape) == 0 {
			return d, false
		}
		d = f.tape[f.random.IntN(len(f.tape))]
		if d.to == to || f.random.IntN(4) == 0 {
			break
		}
	}
	d.to = to
	if f.random.IntN(3) == 0 {
		d.from = f.someSource()
	}
	return d, true
}

// garbled returns data with some bytes changed, or without its end.
func (f *forger) garbled(data []byte) []byte {
	b := append([]byte(nil), data...)
	if len(b) == 0 {
		return b
	}
	if f.random.IntN(5) == 0 {
		return b[:f.random.IntN(len(b))]
	}
	for range 1 + f.random.IntN(4) {
		b[f.random.IntN(len(b))] ^= byte(1 + f.random.IntN(255))
	}
	return b
}

// someSource returns the address of a host, another port there, or an address of nobody's (RFC 5737).
func (f *forger) someSource() network.Addr {
	hosts := f.world.hosts
	addr := hosts[f.random.IntN(len(hosts))].paths[0]
	switch f.random.IntN(4) {
	case 0, 1:
	case 2:
		addr = netip.AddrPortFrom(addr.Addr(), uint16(20_000+f.random.IntN(3)))
	default:
		addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(1 + f.random.IntN(8))}), port)
	}
	return network.AddrFrom(addr)
}

// isHost reports whether a host has the address, or sent from it before.
func (f *forger) isHost(addr network.Addr) bool {
	if f.spoke[addr] {
		return true
	}
	for _, h := range f.world.hosts {
		for i := range h.home {
			if network.AddrFrom(h.home[i]) == addr || network.AddrFrom(h.paths[i]) == addr {
				return true
			}
		}
	}
	return false
}

// checkReflected checks that no more goes to where nobody is than came in its name.
func (f *forger) checkReflected(to network.Addr, from network.Addr, size int) {
	in, forged := f.in[to]
	if !forged {
		return
	}
	f.out[to] += size
	if f.out[to] <= in || f.told[to] {
		return
	}
	for _, h := range f.world.hosts {
		for i := range h.paths {
			if network.AddrFrom(h.paths[i]) == from && h.process != nil {
				f.world.violated(h.process, ruleReflected, "%d bytes went to %v, from which %d came, and where nobody is", f.out[to], to.AddrPort(), in)
				f.told[to] = true
				return
			}
		}
	}
}

// forges reports whether a scenario has a forger.
func (s *Scenario) forges() bool {
	for i := range s.Faults {
		if s.Faults[i].isForgery() {
			return true
		}
	}
	return false
}

// isForgery reports whether a forger does f.
func (f *Fault) isForgery() bool {
	return f.Kind == kindForge || f.Kind == kindReplay || f.Kind == kindGarble
}

// quiet reports whether nothing but forgers is in anybody's way: links lose nothing, and nodes are
// on from the beginning and have room.
func (s *Scenario) quiet() bool {
	links := []netmodel.Link{s.Link}
	for i := range s.Links {
		links = append(links, s.Links[i].Link)
	}
	for _, l := range links {
		if l.Loss != 0 || l.Burst != (netmodel.Burst{}) || l.Truncate != 0 || l.Reorder != 0 || l.Queue != (netmodel.Queue{}) {
			return false
		}
		if k := l.Delay.Kind; k != "" && k != "constant" && k != "uniform" {
			return false
		}
	}
	for i := range s.Nodes {
		if n := &s.Nodes[i]; n.Start != 0 || n.Receive != 0 || n.Send != 0 || n.Latency != (netmodel.Distribution{}) {
			return false
		}
	}
	for i := range s.Faults {
		if !s.Faults[i].isForgery() {
			return false
		}
	}
	return s.forges()
}

// checkUnmoved checks an event of a peer in a world in which nothing but forgers is in anybody's way. What
// stays possible is first contact, the mistakes of short margins, and what mends them.
func (w *World) checkUnmoved(l *process, ev engine.Event) {
	if !w.quiet {
		return
	}
	var allowed bool
	switch ev.To {
	case engine.Connecting:
		allowed = ev.ID == 0 || w.processes[ev.ID] != nil
	case engine.Alive:
		allowed = ev.Cause != engine.Restarted
	case engine.Suspect:
		allowed = ev.Cause == engine.Silence
	case engine.OneWay:
		allowed = ev.Cause == engine.Deaf && (ev.From == engine.Connecting || w.mistakes > 0)
	case engine.Failed:
		allowed = ev.Cause == engine.NeverHeard
	default:
		allowed = false
	}
	if !allowed {
		w.violated(l, ruleUnmoved, "%v → %v, %v, of id %#x and incarnation %d", ev.From, ev.To, ev.Cause, ev.ID, ev.Incarnation)
	}
}
