package names

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"systole/engine/clock"
)

// order alternates between families and keeps the order of a known set.
func TestOrder(t *testing.T) {
	for _, c := range []struct{ before, answer, want []netip.Addr }{
		{nil, parse("::1", "::2", "::3", "1.0.0.1"), parse("::1", "1.0.0.1", "::2", "::3")},
		{nil, parse("1.0.0.1", "1.0.0.2", "::1", "::2", "::3"), parse("1.0.0.1", "::1", "1.0.0.2", "::2", "::3")},
		{nil, parse("1.0.0.1", "::ffff:1.0.0.1", "1.0.0.1"), parse("1.0.0.1")},
		{nil, []netip.Addr{{}, netip.MustParseAddr("::1")}, parse("::1")},
		{parse("1.0.0.1", "1.0.0.2"), parse("1.0.0.2", "1.0.0.1"), parse("1.0.0.1", "1.0.0.2")},
		{parse("1.0.0.1", "1.0.0.2"), parse("1.0.0.2", "1.0.0.3"), parse("1.0.0.2", "1.0.0.3")},
		{parse("1.0.0.1", "1.0.0.2"), parse("1.0.0.2"), parse("1.0.0.2")},
	} {
		if got := order(c.before, c.answer); !slices.Equal(got, c.want) {
			t.Errorf("after %v %v is ordered %v, want %v", c.before, c.answer, got, c.want)
		}
	}
}

// The times of attempts are in milliseconds from the change of state.
func TestRotation(t *testing.T) {
	for _, c := range []struct {
		state State
		addrs int
		want  []step
	}{
		{Connecting, 3, []step{{"10.0.0.1", 0}, {"10.0.0.2", 250}, {"10.0.0.3", 500}, {"10.0.0.1", 750}, {"10.0.0.2", 1000}, {"10.0.0.3", 1250}}},
		{Connecting, 1, []step{{"10.0.0.1", 0}}},
		{Suspect, 2, []step{{"10.0.0.2", 250}, {"10.0.0.1", 500}, {"10.0.0.2", 1000}, {"10.0.0.1", 2000}, {"10.0.0.2", 4000}, {"10.0.0.1", 6000}}},
		{Failed, 2, []step{{"10.0.0.2", 0}, {"10.0.0.1", 250}, {"10.0.0.2", 750}, {"10.0.0.1", 1750}, {"10.0.0.2", 3750}, {"10.0.0.1", 5750}}},
		{Failed, 1, nil},
		{Alive, 3, nil},
	} {
		w := newWorld(t)
		w.serve("a", "10.0.0.1", "10.0.0.2", "10.0.0.3")
		w.hosts["a"].addrs = w.hosts["a"].addrs[:c.addrs]
		k := w.add(1, 1, "a")
		if c.state != Connecting {
			w.round()
			w.set(k, Alive)
			w.run(7 * time.Second)
			w.moves = nil
			w.set(k, c.state)
		}
		from := w.now
		w.run(time.Duration(6200 * ms))
		if got := w.took(from); !slices.Equal(got[:min(len(got), 6)], c.want) {
			t.Errorf("%v, %d addresses: moved %v, want %v", c.state, c.addrs, got, c.want)
		}
	}
}

// The delay between attempts is reset when the peer is Alive. Flapping causes no additional moves.
func TestRotationReset(t *testing.T) {
	w := newWorld(t)
	w.serve("a", "10.0.0.1", "10.0.0.2")
	k := w.add(1, 1, "a")
	w.round()
	w.set(k, Alive)
	w.run(time.Second)
	w.set(k, Failed)
	w.run(4 * time.Second)
	w.set(k, Alive)
	w.run(3 * time.Second)
	w.moves = nil
	w.set(k, Failed)
	from := w.now
	w.run(300 * time.Millisecond)
	if got := w.took(from); !slices.Equal(got, []step{{"10.0.0.1", 0}, {"10.0.0.2", 250}}) && !slices.Equal(got, []step{{"10.0.0.2", 0}, {"10.0.0.1", 250}}) {
		t.Errorf("moved %v", got)
	}
	for range 1000 {
		w.set(k, Alive)
		w.run(time.Millisecond)
		w.set(k, Failed)
		w.run(time.Millisecond)
	}
	if n := len(w.moves); n > 2000/250+1 {
		t.Errorf("%d moves in 2 s", n)
	}
}

// An address that is not listed is left with the next answer. All listed addresses are equally good.
func TestCorrection(t *testing.T) {
	w := newWorld(t)
	s := w.serve("a", "10.0.0.1", "10.0.0.2")
	k := w.add(1, 1, "a")
	w.round()
	w.peers[k].at = at("10.0.0.2") // a late heartbeat came from there
	w.set(k, Alive)
	w.moves = nil
	w.run(30 * time.Second)
	if len(w.moves) != 0 {
		t.Errorf("moved away from a listed address: %v", w.moves)
	}
	for _, elsewhere := range []netip.AddrPort{at("10.9.9.9"), netip.MustParseAddrPort("10.0.0.2:8")} {
		w.peers[k].at = elsewhere
		w.set(k, Alive)
		from := w.now
		w.run(5500 * time.Millisecond)
		if got := w.took(from); len(got) != 1 || got[0].addr != "10.0.0.1" || got[0].ms == 0 {
			t.Errorf("from %v moved %v, want once, with the next lookup", elsewhere, got)
		}
	}
	for _, keeps := range []server{{err: errNoHost}, {}} {
		s.addrs, s.err = keeps.addrs, keeps.err
		w.run(10 * time.Second)
		w.peers[k].at = at("10.9.9.9")
		w.run(10 * time.Second)
		if len(w.moves) != 0 {
			t.Errorf("an answer of %v, %v moved the peer: %v", keeps.addrs, keeps.err, w.moves)
		}
	}
	s.addrs, s.err = parse("10.0.0.3", "10.0.0.4"), nil
	w.run(5500 * time.Millisecond)
	if w.peers[k].at != at("10.0.0.3") || len(w.moves) != 1 || w.moves[0].try {
		t.Errorf("the name moved: %v", w.moves)
	}
}

// New addresses of a peer that failed long ago are tried without the delay that attempts had reached.
func TestNewAddressesOfFailedPeer(t *testing.T) {
	w := newWorld(t)
	s := w.serve("a", "10.0.0.1", "10.0.0.2")
	k := w.add(1, 1, "a")
	w.round()
	w.set(k, Alive)
	w.run(time.Second)
	w.set(k, Failed)
	w.run(30 * time.Second)
	s.addrs = parse("10.0.0.3", "10.0.0.4", "10.0.0.5")
	w.moves = nil
	for w.peers[k].at != at("10.0.0.3") {
		w.run(time.Millisecond)
	}
	from := w.moves[len(w.moves)-1].when
	w.moves = nil
	w.run(800 * time.Millisecond)
	if got := w.took(from); !slices.Equal(got, []step{{"10.0.0.4", 250}, {"10.0.0.5", 750}}) {
		t.Errorf("moved %v", got)
	}
}

// Without an address in its status, a peer is at the address of its last move.
func TestAddressUnknown(t *testing.T) {
	var moves []moved
	n := newTable(Options{
		Usable: func(netip.AddrPort) bool { return true },
		Status: func(Key) (State, netip.AddrPort) { return Connecting, netip.AddrPort{} },
		Move: func(_ Key, addr netip.AddrPort, try bool) bool {
			moves = append(moves, moved{addr: addr, try: try})
			return true
		},
	})
	k := Key{1, 1}
	n.add(k, "a", 7, 0)
	n.endLookup(n.startLookup(0), parse("10.0.0.1", "10.0.0.2"), nil, 0)
	n.checkNext(0)
	n.stateChanged(k, 250*ms)
	n.checkNext(250 * ms)
	want := []moved{{addr: at("10.0.0.1")}, {addr: at("10.0.0.2"), try: true}}
	if !slices.Equal(moves, want) {
		t.Errorf("moved %v, want %v", moves, want)
	}
}

// A refused move is repeated, also one that only an answer causes.
func TestRefusedMove(t *testing.T) {
	w := newWorld(t)
	w.serve("a", "10.0.0.1", "10.0.0.2")
	k := w.add(1, 1, "a")
	w.full = true
	w.run(120 * time.Millisecond)
	w.full = false
	w.run(40 * time.Millisecond)
	if w.peers[k].at != at("10.0.0.1") {
		t.Errorf("moved %v", w.moves)
	}
	w.peers[k].at = at("10.9.9.9")
	w.set(k, Alive)
	w.full = true
	w.run(6 * time.Second)
	w.full = false
	w.run(60 * time.Millisecond)
	if w.peers[k].at != at("10.0.0.1") {
		t.Errorf("moved %v", w.moves)
	}
}

// Peers of a host share its lookups. A peer that is added later uses the known addresses.
func TestSharedHost(t *testing.T) {
	w := newWorld(t)
	w.serve("a", "10.0.0.1").takes = 20 * ms
	for slot := range uint32(50) {
		w.add(slot, 1, "a")
	}
	w.run(100 * time.Millisecond)
	late := w.add(99, 1, "a")
	w.round()
	if len(w.asked) != 1 || len(w.moves) != 51 || w.peers[late].at != at("10.0.0.1") {
		t.Errorf("%d lookups, %d moves", len(w.asked), len(w.moves))
	}
	for _, k := range w.keys()[:50] {
		w.remove(k)
	}
	w.asked = nil
	w.run(time.Minute)
	if n := len(w.asked); n < 10 || n > 14 {
		t.Errorf("%d lookups in a minute", n)
	}
	w.remove(late)
	w.asked = nil
	w.run(time.Minute)
	if len(w.asked) != 0 || len(w.table.hosts) != 0 || w.table.next() != clock.Never {
		t.Errorf("%d lookups of a host without peers", len(w.asked))
	}
}

// Lookups that fail are repeated with exponential backoff and reported once per peer. Answers without
// a usable address are reported as well.
func TestUnresolved(t *testing.T) {
	w := newWorld(t)
	s := w.serve("a")
	s.err = errNoHost
	w.add(1, 1, "a")
	var gaps []time.Duration
	for last := w.now; len(gaps) < 8; {
		n := len(w.asked)
		w.run(time.Millisecond)
		if len(w.asked) > n {
			gaps = append(gaps, time.Duration(w.now-last))
			last = w.now
		}
	}
	for i, want := range []time.Duration{0, 250, 500, 1000, 2000, 4000, 5000, 5000} {
		if want *= time.Millisecond; gaps[i] < want*9/10 || gaps[i] > want*11/10+2*time.Millisecond {
			t.Errorf("lookup %d came after %v, want about %v", i, gaps[i], want)
		}
	}
	w.add(2, 1, "a")
	w.run(10 * time.Second)
	if len(w.faults) != 2 || !errors.Is(w.faults[1], errNoHost) {
		t.Errorf("reported %v", w.faults)
	}
	s.err, s.addrs = nil, parse("10.0.0.1")
	w.unusable[at("10.0.0.1")] = true
	w.add(3, 1, "a")
	w.run(10 * time.Second)
	if len(w.faults) != 3 || len(w.moves) != 0 || w.table.next() < w.now.Add(100*time.Millisecond) && !errors.Is(w.faults[2], errUnusable) {
		t.Errorf("reported %v, moved %v", w.faults, w.moves)
	}
	w.unusable = map[netip.AddrPort]bool{}
	w.add(4, 1, "a")
	w.run(6 * time.Second)
	if len(w.moves) < 4 {
		t.Errorf("moved %v", w.moves)
	}
	w.unusable[at("10.0.0.1")] = true // the peers have resolved before
	w.run(6 * time.Second)
	if len(w.faults) != 3 {
		t.Errorf("reported %v", w.faults)
	}
}

// The failure of a peer causes a lookup at once, at most one per second.
func TestLookUpSoon(t *testing.T) {
	w := newWorld(t)
	w.serve("a", "10.0.0.1")
	k := w.add(1, 1, "a")
	w.round()
	w.set(k, Alive)
	w.run(3 * time.Second)
	w.asked = nil
	w.set(k, Failed)
	w.round()
	if len(w.asked) != 1 {
		t.Fatalf("%d lookups", len(w.asked))
	}
	for range 1000 {
		w.set(k, Failed)
		w.run(10 * time.Millisecond)
	}
	if n := len(w.asked); n < 9 || n > 12 {
		t.Errorf("%d lookups in 10 s of failures", n)
	}
	w.hosts["a"].takes = 500 * ms // with a lookup in flight, another one follows
	w.asked = nil
	w.run(1500 * time.Millisecond)
	for len(w.open) == 0 {
		w.run(10 * time.Millisecond)
	}
	n := len(w.asked)
	w.set(k, Failed)
	w.run(1200 * time.Millisecond)
	if len(w.asked) != n+1 {
		t.Errorf("%d lookups followed the one in flight", len(w.asked)-n)
	}
}

// The result of a lookup is dropped if the peer was removed, even if its slot or host is in use again.
func TestAnswerAfterRemoval(t *testing.T) {
	w := newWorld(t)
	s := w.serve("a", "10.0.0.1")
	s.takes = 100 * ms
	w.serve("b", "10.0.0.2").takes = 300 * ms
	k := w.add(1, 1, "a")
	w.run(50 * time.Millisecond)
	w.remove(k)
	s.addrs = parse("10.0.0.3")
	w.add(2, 1, "a")
	w.add(1, 2, "b")
	w.run(70 * time.Millisecond)
	if len(w.moves) != 0 {
		t.Errorf("moved %v", w.moves)
	}
	w.run(300 * time.Millisecond)
	if w.peers[Key{2, 1}].at != at("10.0.0.3") || w.peers[Key{1, 2}].at != at("10.0.0.2") {
		t.Errorf("moved %v", w.moves)
	}
	w.table.remove(Key{1, 1}) // the earlier peer of the slot
	if w.table.find(Key{1, 2}) == nil {
		t.Error("the removal of an earlier peer removed the present one")
	}
}

// Once their first lookups have failed, any number of dead names does not delay others, nor do stuck
// lookups up to maxStuck.
func TestDeadNames(t *testing.T) {
	for _, takes := range []clock.Instant{2 * clock.Instant(time.Second), clock.Instant(time.Hour)} {
		w := newWorld(t)
		w.serve("good", "10.0.0.1")
		good := w.add(0, 1, "good")
		w.round()
		w.set(good, Alive)
		for i := range uint32(1000) {
			host := fmt.Sprint("dead", i)
			*w.serve(host) = server{err: errNoHost, takes: takes}
			w.add(1+i, 1, host)
		}
		w.run(80 * time.Second) // 1000/32 × 2.1 s, and all failed
		for range 20 {
			w.run(1700 * time.Millisecond)
			w.asked = nil
			w.set(good, Failed)
			w.round()
			if w.table.uncounted() < w.table.maxStuck && !slices.Contains(w.asked, "good") {
				t.Fatalf("takes %v: not looked up at once, %d places, %d stuck besides", time.Duration(takes), w.table.places(), w.table.uncounted())
			}
			w.set(good, Alive)
		}
		if n := w.table; n.places() > 32 || n.uncounted() > 256 || len(w.open) > 288 {
			t.Errorf("%d places, %d stuck besides", n.places(), n.uncounted())
		}
	}
}

// Stuck lookups beyond maxStuck take places. When they return, lookups resume.
func TestStuckLookups(t *testing.T) {
	w := newWorld(t)
	w.table.maxLookups, w.table.maxStuck = 4, 6
	stick := func(n int) {
		for range n {
			slot := uint32(len(w.peers))
			host := fmt.Sprint("stuck", slot)
			*w.serve(host) = server{err: errNoHost, takes: clock.Instant(time.Hour)}
			w.add(slot, 1, host)
		}
		w.run(time.Minute)
	}
	good := func() bool {
		slot := uint32(len(w.peers))
		host := fmt.Sprint("good", slot)
		w.serve(host, "10.0.0.1").takes = 10 * ms
		k := w.add(slot, 1, host)
		w.run(6 * time.Second)
		return w.peers[k].at == at("10.0.0.1")
	}
	stick(1)
	if w.table.uncounted() != maxStuckPerHost || w.table.places() != 0 || !good() {
		t.Errorf("one stuck host: %d stuck besides, %d places", w.table.uncounted(), w.table.places())
	}
	stick(2)
	if w.table.uncounted() != 6 || w.table.places() != 2 || !good() {
		t.Errorf("three stuck hosts: %d stuck besides, %d places", w.table.uncounted(), w.table.places())
	}
	stick(4)
	if len(w.open) != 10 || good() {
		t.Errorf("the resolver is stuck: %d stuck besides, %d places", w.table.uncounted(), w.table.places())
	}
	for _, q := range w.open {
		q.back = w.now
	}
	for _, s := range w.hosts {
		s.takes = 0
	}
	w.remove(Key{3, 1}) // which has a stuck lookup
	w.asked = nil
	w.run(6 * time.Second)
	if slices.Contains(w.asked, "stuck3") || !slices.Contains(w.asked, "stuck0") {
		t.Errorf("after all returned, looked up %v", w.asked)
	}
	if w.table.uncounted() != 0 || w.table.places() != 0 || len(w.moves) != 3 || !good() {
		t.Errorf("all returned: %d stuck besides, %d places, moves %v", w.table.uncounted(), w.table.places(), w.moves)
	}
}

// Hosts that were added together are looked up at different times later.
func TestSpread(t *testing.T) {
	w := newWorld(t)
	for i := range uint32(2000) {
		host := fmt.Sprint("h", i)
		w.serve(host, "10.0.0.1")
		w.set(w.add(i, 1, host), Alive)
	}
	w.round()
	most := 0
	w.run(4400 * time.Millisecond)
	w.asked = nil
	for range 12 {
		n := len(w.asked)
		w.run(100 * time.Millisecond)
		most = max(most, len(w.asked)-n)
	}
	if len(w.asked) != 2000 || most > 300 {
		t.Errorf("%d lookups between 4.4 and 5.6 s, %d within 100 ms", len(w.asked), most)
	}
}

// Removing a peer while the peers of its host are checked does not affect the others. A host whose
// last peer is removed during a lookup is dropped.
func TestRemoveDuringChecks(t *testing.T) {
	w := newWorld(t)
	w.serve("a", "10.0.0.1").last = parse("10.0.0.1")
	for slot := range uint32(5) {
		w.add(slot, 1, "a")
	}
	w.table.endLookup(w.table.startLookup(0), parse("10.0.0.1"), nil, 0)
	w.table.checkNext(0)
	others := w.table.peers[w.checked[0].Slot].host.peers
	w.remove(others[len(others)-1].key)
	for w.table.checkNext(0) {
	}
	if len(w.checked) != 4 {
		t.Errorf("%d peers were checked, want 4", len(w.checked))
	}
	w.run(4 * time.Second)
	w.hosts["a"].takes = 100 * ms
	w.run(1550 * time.Millisecond)
	for len(w.open) == 0 {
		w.run(10 * time.Millisecond)
	}
	for _, k := range w.keys() {
		w.remove(k)
	}
	w.asked = nil
	w.run(time.Minute)
	if len(w.asked) != 0 || w.table.next() != clock.Never {
		t.Errorf("%d lookups of a host without peers", len(w.asked))
	}
}
