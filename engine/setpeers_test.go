package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// set calls SetPeers, which must succeed, and lets the shard and the other nodes see it.
func (n *node) set(list ...PeerConfig) SetResult {
	n.world.t.Helper()
	r, err := n.SetPeers(context.Background(), list)
	if err != nil {
		n.world.t.Fatal(err)
	}
	if len(r.Peers) != len(list) {
		n.world.t.Fatalf("%d peers for %d elements", len(r.Peers), len(list))
	}
	n.world.run(2 * time.Second)
	return r
}

// wantDone fails the test unless r has so many peers that were added, changed, removed and skipped.
func (n *node) wantDone(what string, r SetResult, added, changed, removed, skipped int) {
	n.world.t.Helper()
	got := []int{len(r.Added), len(r.Changed), len(r.Removed), len(r.Skipped)}
	if want := []int{added, changed, removed, skipped}; !slices.Equal(got, want) {
		n.world.t.Errorf("%s: added, changed, removed, skipped %v; want %v", what, got, want)
	}
}

// at is a configuration of m by address, by the name of its host at port 7853 if named.
func (n *node) config(named bool) PeerConfig {
	if named {
		return PeerConfig{Name: n.host.Name + ":7853"}
	}
	return PeerConfig{Addr: n.host.Addr()}
}

// A list may have a node by its name and by its address. In which order they come does not matter, nor
// whether the name has been looked up by then.
func TestSetPeersByNameAndAddress(t *testing.T) {
	for _, namedFirst := range []bool{true, false} {
		w := newWorld(t, 1)
		a, b := w.start(Config{}), w.start(Config{Accept: Accept{Anyone: true}})
		both := []PeerConfig{b.config(namedFirst), b.config(!namedFirst)}
		first := a.set(both[0]).Peers[0]
		if first.State() != Alive {
			t.Fatal(first)
		}
		r := a.set(both...)
		a.wantDone("the other one too", r, 1, 0, 0, 0)
		second := r.Peers[1]
		if r.Peers[0] != first || first.State() != Alive || second.State() != Alive {
			t.Errorf("named first %v: %v and %v", namedFirst, first, second)
		}
		if _, err := a.AddPeer(b.config(false)); !errors.Is(err, ErrDuplicate) {
			t.Errorf("the address a second time: %v", err)
		}
		a.wantDone("the first one no more", a.set(both[1]), 0, 0, 1, 0)
		a.wantDone("the first one again", a.set(both...), 1, 0, 0, 0)
		if second.State() != Alive {
			t.Errorf("named first %v: %v was not left alone", namedFirst, second)
		}
		a.accusedNobody()
	}
}

// What the list has and the engine watches already goes on untouched; the rest is added, changed or removed.
func TestSetPeers(t *testing.T) {
	w := newWorld(t, 1)
	a := w.start(Config{})
	var list []PeerConfig
	var others []*node
	for i := range 4 {
		b := w.start(Config{Accept: Accept{Anyone: true}})
		list, others = append(list, b.config(i%2 == 1)), append(others, b)
	}
	first := a.watch(others[0]) // AddPeer's peers count as well
	r := a.set(list...)
	a.wantDone("at first", r, 3, 0, 0, 0)
	peers := r.Peers
	if peers[0] != first {
		t.Errorf("%v was replaced by %v", first, peers[0])
	}
	r = a.set(list...)
	a.wantDone("the same list", r, 0, 0, 0, 0)
	if !slices.Equal(r.Peers, peers) {
		t.Errorf("%v, not %v", r.Peers, peers)
	}
	for _, p := range peers {
		if s := p.Stats(); s.State != Alive || s.Received < 15 || s.Failures != 0 {
			t.Errorf("%v is not left alone: %d heartbeats", p, s.Received)
		}
	}
	a.wantDone("the list turned round", a.set(list[3], list[2], list[1], list[0]), 0, 0, 0, 0)

	list[0].Period, list[1].Class = 200*time.Millisecond, 3
	r = a.set(list...)
	a.wantDone("another period and class", r, 0, 2, 0, 0)
	if s := peers[0].Stats(); !slices.Equal(r.Peers, peers) || s.Period != list[0].Period || s.Failures != 0 {
		t.Errorf("%v with period %v, not %v", r.Peers, s.Period, peers)
	}
	if class := peers[1].record().path.class; class != 3 {
		t.Errorf("class %d", class)
	}
	a.wantDone("the same again", a.set(list...), 0, 0, 0, 0)
	for _, tag := range []string{"a", "b", ""} {
		list[0].Tag, list[1].Tag = tag, tag
		a.wantDone("another tag", a.set(list...), 0, 2, 0, 0)
		for _, p := range peers[:2] {
			if p.Tag() != tag || p.State() != Alive {
				t.Errorf("%v, tag %q", p, p.Tag())
			}
		}
	}
	if l := peers[0].label(); l != nil {
		t.Errorf("a peer with neither a name nor a tag has the label %+v", l)
	}
	list[0].Period = 0
	a.wantDone("the default period", a.set(list...), 0, 1, 0, 0)
	if s := peers[0].Stats(); s.Period != 100*time.Millisecond {
		t.Errorf("period %v", s.Period)
	}

	list[2].Local = a.host.Addr().Addr()
	r = a.set(list...)
	a.wantDone("another source", r, 1, 0, 1, 0)
	if r.Peers[2] == peers[2] || peers[2].State() != Removed || r.Peers[2].State() != Alive {
		t.Errorf("%v became %v", peers[2], r.Peers[2])
	}
	r = a.set(list[1:3]...)
	a.wantDone("a shorter list", r, 0, 0, 2, 0)
	if p := others[0].watched(a); p.State() != Left {
		t.Errorf("a peer that was removed sees this node as %v", p.State())
	}
	a.wantDone("no list", a.set(), 0, 0, 2, 0)
	if n := a.Stats().Peers.Watched; n != 0 || len(a.options) != 0 {
		t.Errorf("%d peers, %d options", n, len(a.options))
	}
}

// Admitted strangers are not touched, unless the list names one: then it goes on as a configured peer.
func TestSetPeersLeavesStrangers(t *testing.T) {
	w := newWorld(t, 1)
	a := w.start(Config{Accept: Accept{Anyone: true}})
	b, c := w.start(Config{}), w.start(Config{})
	b.watch(a)
	c.watch(a)
	w.run(2 * time.Second)
	p, q := a.watched(b), a.watched(c)
	r := a.set(b.config(false))
	a.wantDone("a stranger in the list", r, 1, 0, 0, 0)
	if r.Peers[0] != p || q.State() != Alive {
		t.Errorf("%v became %v, the other stranger is %v", p, r.Peers[0], q)
	}
	a.wantDone("no list", a.set(), 0, 0, 1, 0)
	if r.Removed = a.set().Removed; q.State() != Alive || len(r.Removed) != 0 {
		t.Errorf("the other stranger is %v, removed %v", q, r.Removed)
	}
}

// A list with a fault is refused as a whole, with all faults.
func TestSetPeersRefusesFaults(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{}), w.start(Config{})
	p := a.watch(b)
	list := []PeerConfig{
		{Name: "c.test:7853"}, {Addr: b.host.Addr(), ID: 5}, {Class: Classes, Name: "d.test:1"}, {Name: "c.test:7853", Class: 1},
		{Addr: netip.MustParseAddrPort("[2001:db8::1]:1"), Local: netip.MustParseAddr("192.0.2.77")},
		{Addr: netip.AddrPortFrom(netip.AddrFrom16(b.host.Addr().Addr().As16()), b.host.Addr().Port()), ID: 5},
	}
	_, err := a.SetPeers(context.Background(), list)
	if err == nil {
		t.Fatal("accepted")
	}
	var got []int
	for _, fault := range err.(interface{ Unwrap() []error }).Unwrap() {
		var at *ListError
		if !errors.As(fault, &at) {
			t.Fatalf("%v has no index", fault)
		}
		got = append(got, at.Index)
	}
	if !slices.Equal(got, []int{2, 3, 4, 5}) || !errors.Is(err, ErrDuplicate) ||
		!strings.Contains(err.Error(), "element 3 of the list: peer is watched already: the same peer as element 0") {
		t.Errorf("faults of %v: %v", got, err)
	}
	if p.State() == Removed || a.shards[0].ring.Len() != 1 {
		t.Errorf("%v, %d commands", p, a.shards[0].ring.Len())
	}
}

// This node itself is skipped, by its id and by its addresses, and the log says so once.
func TestSetPeersSkipsItself(t *testing.T) {
	var log bytes.Buffer
	w := newWorld(t, 1)
	a, b := w.start(Config{ID: 7, Logger: slog.New(slog.NewTextHandler(&log, nil))}), w.start(Config{})
	log.Reset()
	for range 2 {
		r := a.set(a.config(false), b.config(false), PeerConfig{Name: "a.test:1", ID: 7})
		if len(r.Skipped) != 2 || r.Skipped[0] != a.config(false) || r.Skipped[1].ID != 7 {
			t.Errorf("skipped %v", r.Skipped)
		}
		if !r.Peers[0].IsZero() || r.Peers[1].IsZero() || !r.Peers[2].IsZero() {
			t.Errorf("peers %v", r.Peers)
		}
	}
	if said := log.String(); strings.Count(said, "this node is in the list") != 1 {
		t.Errorf("said %q", said)
	}
}

// An engine that listens on any address knows all of its own.
func TestSetPeersKnowsItsAddresses(t *testing.T) {
	e := open(t, Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:0")}})
	port := e.Addrs()[0].Port()
	own := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.8.9.10"), netip.MustParseAddr("::ffff:127.0.0.1")}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if ip, _ := netip.AddrFromSlice(a.(*net.IPNet).IP); ip.Unmap().Is4() && !ip.IsLoopback() {
			own = append(own, ip)
		}
	}
	for _, ip := range own {
		r, err := e.SetPeers(context.Background(), []PeerConfig{{Addr: netip.AddrPortFrom(ip, port)}})
		if err != nil || len(r.Skipped) != 1 {
			t.Errorf("%v: skipped %v, %v", ip, r.Skipped, err)
		}
	}
	r, err := e.SetPeers(context.Background(), []PeerConfig{{Addr: netip.AddrPortFrom(own[0], port+1)}})
	if err != nil || len(r.Skipped) != 0 {
		t.Errorf("another port: skipped %v, %v", r.Skipped, err)
	}
	one := open(t, Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}})
	r, err = one.SetPeers(context.Background(), []PeerConfig{{Addr: netip.AddrPortFrom(own[1], one.Addrs()[0].Port())}})
	if err != nil || len(r.Skipped) != 0 {
		t.Errorf("another address of loopback: skipped %v, %v", r.Skipped, err)
	}
}

// After any sequence of lists the engine watches the last one, and peers that stay keep their handles.
func TestSetPeersByChance(t *testing.T) {
	w := newWorld(t, 1)
	a := w.start(Config{})
	r := rand.New(rand.NewPCG(1, 2))
	type element struct {
		config PeerConfig
		peer   Peer
	}
	have := map[string]element{}
	for step := range 300 {
		var list []PeerConfig
		for i := range 20 {
			if r.IntN(2) == 0 {
				continue
			}
			c := PeerConfig{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, 0, byte(i)}), 1), ID: uint64(i % 3)}
			if i%4 == 0 {
				c = PeerConfig{Name: fmt.Sprintf("n%d.test:1", i), ID: uint64(i % 3)}
			}
			if r.IntN(4) == 0 {
				c.Class = uint8(r.IntN(3))
			}
			if r.IntN(4) == 0 {
				c.Tag = fmt.Sprint(r.IntN(3))
			}
			list = append(list, c)
		}
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		done, err := a.SetPeers(context.Background(), list)
		if err != nil {
			t.Fatal(err)
		}
		now := map[string]element{}
		for i, c := range list {
			k := fmt.Sprint(c.Name, c.Addr, c.ID)
			now[k] = element{c, done.Peers[i]}
			if p := done.Peers[i]; p.Tag() != c.Tag || p.Name() != c.Name {
				t.Fatalf("step %d: %v for %+v", step, p, c)
			}
			if was, ok := have[k]; ok != !slices.Contains(done.Added, done.Peers[i]) || ok && was.peer != done.Peers[i] {
				t.Fatalf("step %d: %s was %v, %v, is %v", step, k, was, ok, done.Peers[i])
			} else if ok && (was.config != c) != slices.Contains(done.Changed, done.Peers[i]) {
				t.Fatalf("step %d: %v became %v: changed %v", step, was.config, c, done.Changed)
			}
		}
		have = now
		if r.IntN(2) == 0 {
			w.run(time.Duration(r.IntN(2000)) * time.Millisecond)
		}
	}
	w.run(time.Second)
	if n := a.Stats().Peers.Watched; n != len(have) {
		t.Errorf("%d peers, %d in the list", n, len(have))
	}
}

// Calls from several goroutines come one after the other.
func TestSetPeersAtOnce(t *testing.T) {
	e := open(t, Config{Period: time.Second})
	list := manyConfigs(200)
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 1))
			for range 20 {
				n := r.IntN(len(list))
				got, err := e.SetPeers(context.Background(), list[n/2:n])
				if err != nil {
					t.Error(err)
				}
				for _, p := range got.Peers {
					if p.IsZero() {
						t.Error("no peer for an element")
					}
				}
			}
		})
	}
	all.Wait()
	r, err := e.SetPeers(context.Background(), list)
	if err != nil || slices.Contains(r.Peers, Peer{}) {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); e.Stats().Peers.Watched != len(list) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if n := e.Stats().Peers.Watched; n != len(list) {
		t.Errorf("%d peers of %d", n, len(list))
	}
	e.setting <- struct{}{} // a call runs
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := e.SetPeers(ctx, list); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	<-e.setting
	e.Close()
	if _, err := e.SetPeers(context.Background(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed engine: %v", err)
	}
}
