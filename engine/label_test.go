package engine

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// tagged gives a peer a tag.
func tagged(tag string) func(*PeerConfig) { return func(c *PeerConfig) { c.Tag = tag } }

func TestTagIsValidated(t *testing.T) {
	at := netip.MustParseAddrPort("192.0.2.7:7853")
	for _, tag := range []string{"", "rack 4", "Zürich", strings.Repeat("x", 255)} {
		if err := (&PeerConfig{Addr: at, Tag: tag}).Validate(); err != nil {
			t.Errorf("%q: %v", tag, err)
		}
	}
	for _, tag := range []string{strings.Repeat("x", 256), "a\nb", "\x7f", "\xff"} {
		if err := (&PeerConfig{Addr: at, Tag: tag}).Validate(); err == nil || !strings.Contains(err.Error(), "Tag") {
			t.Errorf("%q: %v", tag, err)
		}
	}
}

// A peer says who it is before its shard has seen it, while it is watched, after its removal, and while
// other peers have its slot.
func TestPeerSaysWhoItIs(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{}), w.start(Config{ID: 0x1f3a5b7c_00000001})
	b.watch(a)
	p := a.watch(b, tagged("rack 4"))
	who := func(when string, id uint64, text string) {
		t.Helper()
		if p.Addr() != b.host.Addr() || p.Tag() != "rack 4" || p.Name() != "" || p.ID() != id || p.String() != text {
			t.Errorf("%s: %v %q %q %x: %v", when, p.Addr(), p.Name(), p.Tag(), p.ID(), p)
		}
		if s := p.Stats(); s.Addr != b.host.Addr() || s.Tag != "rack 4" || s.ID != id || s.State != p.State() {
			t.Errorf("%s: %+v", when, s)
		}
	}
	who("added", 0, "10.0.0.1:7853 [rack 4] (connecting)")
	w.run(2 * time.Second)
	who("watched", b.ID(), "10.0.0.1:7853 [rack 4] (1f3a5b7c, alive)")
	a.remove(p)
	who("removed", b.ID(), "10.0.0.1:7853 [rack 4] (1f3a5b7c, removed)")
	for i := range 10 {
		q, err := a.AddPeer(PeerConfig{Addr: netip.MustParseAddrPort("192.0.2.1:1"), Tag: "next"})
		if err != nil || q.slot != p.slot {
			t.Fatal(q, err)
		}
		who(fmt.Sprint("next added ", i), b.ID(), "10.0.0.1:7853 [rack 4] (1f3a5b7c, removed)")
		w.run(time.Millisecond)
		who(fmt.Sprint("next seen ", i), b.ID(), "10.0.0.1:7853 [rack 4] (1f3a5b7c, removed)")
		a.remove(q)
		if q.Tag() != "next" || q.Addr().Port() != 1 {
			t.Errorf("next: %v", q)
		}
	}
	if s := (Peer{}).String(); s != "no peer" || (Peer{}).Name()+(Peer{}).Tag() != "" || (Peer{}).Addr().IsValid() {
		t.Error(s)
	}
}

// A peer without a name or a tag has no label once its shard has seen it.
func TestLabelsOfFreshPeersAreForgotten(t *testing.T) {
	w := newWorld(t, 1)
	a := w.start(Config{})
	var peers []Peer
	for i := range 100 {
		at := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(i+1))
		p, err := a.AddPeer(PeerConfig{Addr: at})
		if err != nil || p.Addr() != at || p.String() != at.String()+" (connecting)" {
			t.Fatal(p, err)
		}
		peers = append(peers, p)
	}
	if got := slices.Collect(a.Peers()); !slices.Equal(got, peers) {
		t.Errorf("watched before the first turn: %v", got)
	}
	w.run(2 * time.Second)
	for i, p := range peers {
		if p.label() != nil || p.Addr().Port() != uint16(i+1) {
			t.Fatalf("%v has a label", p)
		}
	}
	if len(a.labels.fresh) > 0 {
		t.Errorf("%d are fresh", len(a.labels.fresh))
	}
}

// What is kept of former peers is bounded, and the eldest is forgotten first.
func TestFormerLabelsAreBounded(t *testing.T) {
	w := newWorld(t, 1)
	a := w.start(Config{})
	var peers []Peer
	for i := range keptFormer + 100 {
		p, err := a.AddPeer(PeerConfig{Addr: netip.MustParseAddrPort("192.0.2.1:1"), Tag: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		w.run(time.Millisecond)
		if err := a.RemovePeer(p); err != nil {
			t.Fatal(err)
		}
		w.run(time.Millisecond)
		peers = append(peers, p)
	}
	kept := 0
	a.labels.former.Range(func(any, any) bool { kept++; return true })
	if kept != keptFormer || len(a.labels.kept) != keptFormer {
		t.Errorf("%d former peers, %d in order", kept, len(a.labels.kept))
	}
	for i, p := range peers {
		want := fmt.Sprint(i)
		if i < len(peers)-1-keptFormer {
			want = ""
		}
		if p.Tag() != want || p.Addr().IsValid() != (want != "") {
			t.Fatalf("peer %d: %q at %v", i, p.Tag(), p.Addr())
		}
	}
	if s := peers[0].String(); s != "peer without address (removed)" {
		t.Error(s)
	}
}

// A stranger that AddPeer configures gets the tag, and handles from everywhere are equal.
func TestStrangerGetsTag(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{Accept: Accept{Anyone: true}}), w.start(Config{})
	b.watch(a)
	w.run(time.Second)
	admitted := slices.Collect(a.Peers())
	if len(admitted) != 1 || admitted[0].State() != Alive || admitted[0].Tag() != "" {
		t.Fatalf("admitted %v", admitted)
	}
	p := a.watch(b, tagged("known"))
	if p != admitted[0] || p.Tag() != "known" || a.log[0].Peer != p {
		t.Errorf("%v is not %v", p, admitted)
	}
	if q, ok := a.Lookup(b.ID()); !ok || q != p {
		t.Errorf("found %v", q)
	}
	if _, ok := a.Lookup(0); ok {
		t.Error("there is a peer with id 0")
	}
	if _, ok := a.Lookup(a.ID()); ok {
		t.Error("this node is its own peer")
	}
	a.remove(p)
	if _, ok := a.Lookup(b.ID()); ok || len(slices.Collect(a.Peers())) > 0 || p.Tag() != "known" {
		t.Error("a removed peer is found")
	}
}

// Of several paths to a node Lookup returns the best one, else the first.
func TestLookupChoosesPath(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{}), w.start(Config{})
	b.watch(a)
	nobody, err := a.AddPeer(PeerConfig{Addr: netip.MustParseAddrPort("192.0.2.1:1"), ID: b.ID()})
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := a.Lookup(b.ID()); !ok || p != nobody {
		t.Errorf("found %v", p)
	}
	second := a.watch(b, func(c *PeerConfig) { c.ID = b.ID() })
	if p, ok := a.Lookup(b.ID()); !ok || p != nobody {
		t.Errorf("found %v of two that connect", p)
	}
	w.run(20 * time.Second)
	if p, ok := a.Lookup(b.ID()); !ok || p != second || nobody.State() != Failed {
		t.Errorf("found %v, not %v", p, second)
	}
}

// After an error of AddPeer nothing is left of the peer's label.
func TestRefusedPeerHasNoLabel(t *testing.T) {
	e := open(t, Config{Manual: true})
	at := netip.MustParseAddrPort("127.0.0.1:9")
	var err error
	added := 0
	for err == nil {
		if _, err = e.AddPeer(PeerConfig{Addr: at, ID: uint64(added) + 1, Tag: "x"}); err == nil {
			added++
		}
	}
	labels := 0
	for i := range e.table.chunks {
		if c := e.table.chunks[i].Load(); c != nil {
			labels += c.labels.Load().used
		}
	}
	if labels != added || added != commandRing || len(slices.Collect(e.Peers())) != added {
		t.Errorf("%d labels of %d peers: %v", labels, added, err)
	}
}

// Whoever reads who a peer is gets that or, long after its removal, nothing; never another peer.
func TestLabelsBesideChurn(t *testing.T) {
	shards := 2
	if onlyPortable {
		shards = 1
	}
	e := open(t, Config{Shards: shards, Period: time.Minute})
	const readers = 2
	var wg sync.WaitGroup
	handles := make(chan Peer, 64)
	want := make(chan uint64, 64)
	check := func(p Peer, n uint64) {
		tag, s := p.Tag(), p.Stats()
		if tag != fmt.Sprint(n) || s.Tag != tag || p.Addr().Port() != uint16(n) || s.Addr.Port() != uint16(n) || p.ID() != n || s.ID != n {
			t.Errorf("peer %d is %v with id %d; %q %v %d", n, p, p.ID(), s.Tag, s.Addr, s.ID)
		}
	}
	var mu sync.Mutex // a pair of both channels is read at once
	for range readers {
		wg.Go(func() {
			for {
				mu.Lock()
				p, ok := <-handles
				n := <-want
				mu.Unlock()
				if !ok {
					return
				}
				for range 20 {
					check(p, n)
				}
			}
		})
	}
	wg.Go(func() {
		for range 200 {
			for p := range e.Peers() {
				if s := p.Stats(); s.State != Unknown && (s.Tag != fmt.Sprint(s.Addr.Port()) || s.ID != uint64(s.Addr.Port())) {
					t.Errorf("%v: %q %d", s.Addr, s.Tag, s.ID)
				}
			}
		}
	})
	random := rand.New(rand.NewPCG(1, 0))
	var peers [8]Peer
	for n := uint64(1); n < 3000; n++ {
		p := &peers[random.IntN(len(peers))]
		if !p.IsZero() {
			for e.RemovePeer(*p) != nil {
			}
		}
		at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(n))
		added, err := e.AddPeer(PeerConfig{Addr: at, ID: n, Tag: fmt.Sprint(n)})
		if err != nil {
			t.Fatal(err)
		}
		*p = added
		handles <- added
		want <- n
	}
	close(handles)
	close(want)
	wg.Wait()
}

// Events say whose they are, even if other peers have had the slot for long when a slow reader gets them.
func TestEventsSayWho(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{}), w.start(Config{})
	s := cramped(t, a, 4)
	tags := make(map[Peer]string)
	told := make(map[Peer]bool)
	read := func() {
		for _, ev := range unread(s) {
			told[ev.Peer] = true
			if ev.Tag != tags[ev.Peer] || ev.Addr != b.host.Addr() || ev.Name != "" {
				t.Errorf("%v, not of %q", ev, tags[ev.Peer])
			}
		}
	}
	for i := range 200 {
		tag := fmt.Sprint("peer ", i)
		if i%2 == 0 {
			tag = ""
		}
		p := a.watch(b, tagged(tag))
		tags[p] = tag
		w.run(time.Millisecond)
		if i%7 == 0 {
			read()
		}
		a.remove(p)
	}
	read()
	if len(told) < 50 {
		t.Errorf("%d peers were told of", len(told))
	}
}

// Snapshots say who a peer is before it is heard.
func TestSnapshotSaysWho(t *testing.T) {
	w := newWorld(t, 1)
	names := &oneHost{}
	a := w.start(Config{Resolver: names})
	if _, err := a.AddPeer(PeerConfig{Name: "b.test:7853", Tag: "b"}); err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort("192.0.2.1:1")
	if _, err := a.AddPeer(PeerConfig{Addr: at, ID: 7}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // before the first turn, and after it
		all := a.Snapshot(nil)
		if len(all) != 2 || all[0].Name != "b.test:7853" || all[0].Tag != "b" || all[1].Addr != at || all[1].ID != 7 || all[1].State != Connecting {
			t.Errorf("%+v", all)
		}
		w.run(time.Second)
	}
	names.addr = netip.MustParseAddr("192.0.2.2")
	w.run(time.Minute)
	if s := a.Snapshot(nil)[0]; s.Addr != netip.MustParseAddrPort("192.0.2.2:7853") || s.Name != "b.test:7853" {
		t.Errorf("resolved: %+v", s)
	}
}

// The log says which peer it is whose heartbeats are refused.
func TestLogSaysWhoIsRefused(t *testing.T) {
	var log bytes.Buffer
	w := newWorld(t, 1)
	a := w.start(Config{Keys: ring(t, "1 send"), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	b, c := w.start(Config{}), w.start(Config{Keys: ring(t, "1 send")})
	a.watch(b, tagged("rack 4"))
	b.watch(a)
	c.watch(a)
	w.run(time.Second)
	for _, want := range []string{
		`peer.addr=10.0.0.1:7853 peer.tag="rack 4" peer.state=connecting from=10.0.0.1:7853 prefix=10.0.0.0/24`,
		`at the other end" peer`, `set Config.Accept" from=10.0.0.2:7853`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%s is not in\n%s", want, log.String())
		}
	}
}
