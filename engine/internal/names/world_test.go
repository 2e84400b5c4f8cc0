package names

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"systole/engine/clock"
)

const ms = clock.Instant(time.Millisecond)

// world is a table in virtual time with simulated name servers and a simulated engine.
type world struct {
	t        testing.TB
	now      clock.Instant
	table    *table
	hosts    map[string]*server
	peers    map[Key]*watched
	open     []*query // lookups that have not returned
	moves    []moved
	asked    []string
	faults   []error
	checked  []Key
	full     bool // Move returns false
	unusable map[netip.AddrPort]bool
}

// server determines the results of lookups of a host.
type server struct {
	addrs []netip.Addr
	err   error
	takes clock.Instant
	last  []netip.Addr // of the last answer that was not dropped
}

// watched is a peer of the engine.
type watched struct {
	host  string
	at    netip.AddrPort
	state State
}

// query is a lookup that has not returned.
type query struct {
	lookup *lookup
	back   clock.Instant
	addrs  []netip.Addr
	err    error
}

// moved is a move that the engine accepted.
type moved struct {
	addr netip.AddrPort
	try  bool
	when clock.Instant
}

var errNoHost = errors.New("no such host")

func newWorld(t testing.TB) *world {
	w := &world{t: t, hosts: make(map[string]*server), peers: make(map[Key]*watched), unusable: make(map[netip.AddrPort]bool)}
	w.table = newTable(Options{
		Usable:     func(a netip.AddrPort) bool { return !w.unusable[a] },
		Status:     w.status,
		Move:       w.move,
		Unresolved: func(_ Key, _ string, err error) { w.faults = append(w.faults, err) },
	})
	return w
}

// places returns how many of maxLookups are taken, by lookups in flight and by stuck ones beyond maxStuck.
func (t *table) places() int { return len(t.inFlight) + t.stuck - t.uncounted() }

// uncounted returns how many stuck lookups do not count among maxLookups.
func (t *table) uncounted() int { return min(t.stuck, t.maxStuck) }

// serve makes a host resolve to addresses without delay.
func (w *world) serve(host string, addrs ...string) *server {
	s := &server{addrs: parse(addrs...)}
	w.hosts[host] = s
	return s
}

func parse(addrs ...string) (out []netip.Addr) {
	for _, a := range addrs {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// at returns an address with the port of all peers.
func at(a string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(a), 7) }

func (w *world) add(slot, generation uint32, host string) Key {
	k := Key{slot, generation}
	if old := w.table.peers[slot]; old != nil {
		delete(w.peers, old.key)
	}
	w.peers[k] = &watched{host: host}
	w.table.add(k, host, 7, w.now)
	return k
}

func (w *world) remove(k Key) {
	delete(w.peers, k)
	w.table.remove(k)
}

// set changes the state of a peer and reports the change.
func (w *world) set(k Key, s State) {
	w.peers[k].state = s
	w.table.stateChanged(k, w.now)
}

// round does what is due now.
func (w *world) round() {
	for n := 0; ; n++ {
		if n > 10_000 {
			w.t.Fatal("a round does not end")
		}
		again := w.deliver()
		for l := w.table.startLookup(w.now); l != nil; l = w.table.startLookup(w.now) {
			again = true
			w.asked = append(w.asked, l.host.name)
			s := w.hosts[l.host.name]
			w.open = append(w.open, &query{l, w.now + s.takes, s.addrs, s.err})
		}
		for w.table.checkNext(w.now) {
			again = true
		}
		if !again {
			return
		}
	}
}

// deliver ends the lookups that return by now, and reports whether there were any.
func (w *world) deliver() (any bool) {
	w.open = slices.DeleteFunc(w.open, func(q *query) bool {
		if q.back > w.now {
			return false
		}
		any = true
		if s := w.hosts[q.lookup.host.name]; q.err == nil && len(q.addrs) > 0 && q.lookup.host.lookup == q.lookup {
			s.last = q.addrs
		}
		w.table.endLookup(q.lookup, q.addrs, q.err, w.now)
		return true
	})
	return any
}

// status is Options.Status.
func (w *world) status(k Key) (State, netip.AddrPort) {
	p := w.peers[k]
	if p == nil {
		w.t.Fatalf("check of %v, which was removed", k)
	}
	w.checked = append(w.checked, k)
	return p.state, p.at
}

// move is Options.Move.
func (w *world) move(k Key, addr netip.AddrPort, try bool) bool {
	if w.full {
		return false
	}
	p, m := w.peers[k], moved{addr, try, w.now}
	w.moves = append(w.moves, m)
	w.judge(p, m)
	p.at = addr
	return true
}

// judge checks the invariants of a move.
func (w *world) judge(p *watched, m moved) {
	last := w.hosts[p.host].last
	if m.addr.Port() != 7 || !slices.Contains(last, m.addr.Addr()) || w.unusable[m.addr] {
		w.t.Fatalf("moved to %v, of %v", m.addr, last)
	}
	listed := slices.Contains(last, p.at.Addr()) && p.at.Port() == 7 && !w.unusable[p.at]
	if m.try != listed {
		w.t.Fatalf("move to %v is a try: %v, from %v of %v", m.addr, m.try, p.at, last)
	}
	if m.try && (p.state == Alive || m.addr == p.at) {
		w.t.Fatalf("tried at %v, while %v at %v", m.addr, p.state, p.at)
	}
}

// run advances the time from one due instant to the next.
func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for {
		w.round()
		next := w.table.next()
		for _, q := range w.open {
			next = min(next, q.back)
		}
		if next <= w.now {
			w.t.Fatalf("at %d something is due at %d, and was not done", w.now, next)
		}
		if next > end {
			w.now = end
			return
		}
		w.now = next
	}
}

// took returns the moves since the last call: the address and when, in ms since from.
func (w *world) took(from clock.Instant) (out []step) {
	for _, m := range w.moves {
		out = append(out, step{m.addr.Addr().String(), int((m.when - from) / ms)})
	}
	w.moves = nil
	return out
}

type step struct {
	addr string
	ms   int
}

func (w *world) keys() []Key {
	var out []Key
	for k := range w.peers {
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b Key) int { return cmp.Compare(a.Slot, b.Slot) })
	return out
}
