package engine

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"systole/ringbuf"
)

// cramped returns a subscription of n with a small ring.
func cramped(t *testing.T, n *node, room int) *Subscription {
	t.Helper()
	s := n.Subscribe()
	ring, err := ringbuf.NewMPSC[record](room)
	if err != nil {
		t.Fatal(err)
	}
	s.ring = ring
	t.Cleanup(s.Close)
	return s
}

// unread reads all events that wait in s.
func unread(s *Subscription) []Event {
	var all []Event
	for {
		ev, ok := s.TryNext()
		if !ok {
			return all
		}
		all = append(all, ev)
	}
}

// inOrder reads all events of both kinds that wait in s.
func inOrder(s *Subscription) []any {
	var all []any
	s.OnNode = func(ev NodeEvent) { all = append(all, ev) }
	for {
		ev, ok := s.TryNext()
		if !ok {
			return all
		}
		all = append(all, ev)
	}
}

// remove removes p and waits until its shard has done so.
func (n *node) remove(p Peer) {
	n.world.t.Helper()
	if err := n.RemovePeer(p); err != nil {
		n.world.t.Fatal(err)
	}
	n.world.run(10 * time.Millisecond)
}

// The removal of a peer is delivered even if the reader missed the event and another peer has the slot.
func TestRemovalIsTold(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{}), w.start(Config{})
	s := cramped(t, a, 2)
	b.watch(a)
	p := a.watch(b)
	w.run(time.Second)
	id := p.ID()
	if got := unread(s); len(got) != 2 || got[1].To != Alive {
		t.Fatalf("to begin with: %v", got)
	}
	removed := w.now()
	a.remove(p)
	for range 3 {
		a.remove(a.watch(b))
	}
	q := a.watch(b)
	if p.slot != q.slot {
		t.Fatal("the slot is not reused")
	}
	w.run(time.Second)
	// The ring has room for the removal and for one of those in between.
	s.ring.PopBatch(make([]record, 2))
	got := unread(s)
	if len(got) != 2 {
		t.Fatalf("delivered %+v", got)
	}
	if ev := got[0]; ev.Peer != p || ev.To != Removed || ev.From != Alive || ev.ID != id || ev.At < removed || ev.Cause != ByCaller {
		t.Errorf("removal: %+v", ev)
	}
	if ev := got[1]; ev.Peer != q || ev.To != Alive {
		t.Errorf("next peer: %+v", ev)
	}
}

// The same while another peer has the slot, but its shard has not added it yet.
func TestRemovalIsToldAtOnce(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{}), w.start(Config{})
	s := cramped(t, a, 2)
	p := a.watch(b)
	w.run(10 * time.Millisecond)
	unread(s)
	for range 2 {
		s.ring.TryPush(record{node: true, nodeCause: LocalPause})
	}
	a.remove(p)
	q := a.watch(b)
	got := inOrder(s)
	if len(got) != 3 {
		t.Fatalf("delivered %+v", got)
	}
	if ev, ok := got[2].(Event); !ok || ev.Peer != p || ev.To != Removed {
		t.Errorf("delivered %+v", got)
	}
	w.run(10 * time.Millisecond)
	if got := unread(s); len(got) != 1 || got[0].Peer != q || got[0].To != Connecting {
		t.Errorf("and then %+v", got)
	}
}

// A reader that seldom reads still gets the latest state of every peer, and no event after a removal.
// Merged counts the skipped events.
func TestSeldomRead(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 0))
		w := newWorld(t, seed)
		a := w.start(Config{})
		others := []*node{w.start(Config{}), w.start(Config{}), w.start(Config{})}
		s := cramped(t, a, 4)
		knows := make(map[Peer]State)
		total := 0
		read := func() {
			for _, ev := range unread(s) {
				if was := knows[ev.Peer]; was == Removed || was != Unknown && ev.At == 0 {
					t.Errorf("seed %d: after %v came %+v", seed, was, ev)
				}
				knows[ev.Peer] = ev.To
				total += 1 + ev.Merged
			}
		}
		watched := make([]Peer, len(others))
		for range 200 {
			i := random.IntN(len(others))
			if p := &watched[i]; p.IsZero() {
				*p = a.watch(others[i])
			} else {
				a.remove(*p)
				*p = Peer{}
			}
			w.run(time.Duration(max(random.IntN(40)-20, 0)) * time.Millisecond)
			if random.IntN(10) == 0 {
				read()
			}
		}
		w.run(time.Second)
		read()
		for p, state := range knows {
			if state != p.State() {
				t.Errorf("seed %d: a peer that is %v is known as %v", seed, p.State(), state)
			}
		}
		for _, p := range watched {
			if _, known := knows[p]; !known && !p.IsZero() {
				t.Errorf("seed %d: nothing is known of a peer that is %v", seed, p.State())
			}
		}
		if all := int(a.Stats().Verdicts.Transitions); total > all {
			t.Errorf("seed %d: %d transitions told or merged of %d", seed, total, all)
		}
	}
}

// The latest event of each cause about this node is delivered, even if the ring had no room for it.
func TestNodeEventsAreTold(t *testing.T) {
	w := newWorld(t, 1)
	a := w.start(Config{})
	s := cramped(t, a, 2)
	shard := a.shards[0]
	shard.publishNode(NodeEvent{Cause: LocalSuspect})
	shard.publishNode(NodeEvent{Cause: LocalSuspect})
	for i := range 5 {
		shard.publishNode(NodeEvent{Cause: LocalPause, Pause: time.Duration(i) * time.Second})
	}
	shard.publishNode(NodeEvent{Cause: PromiseAtRisk})
	got := inOrder(s)
	if len(got) != 4 {
		t.Fatalf("told %+v", got)
	}
	for i, want := range []NodeEvent{{Cause: LocalSuspect}, {Cause: LocalSuspect}, {Cause: LocalPause, Pause: 4 * time.Second, Merged: 4}, {Cause: PromiseAtRisk}} {
		want.At, want.engine = shard.now, a.Engine
		if got[i] != want {
			t.Errorf("event %d is %+v, want %+v", i, got[i], want)
		}
	}
	shard.publishNode(NodeEvent{Cause: LocalPause, Pause: time.Minute})
	want := NodeEvent{Cause: LocalPause, At: shard.now, Pause: time.Minute, engine: a.Engine}
	if got := inOrder(s); len(got) != 1 || got[0] != want {
		t.Errorf("then %+v", got)
	}
}

// A reader gets events of both kinds in the order of their publication. One without OnNode gets those
// of peers alone.
func TestBothKindsInOrder(t *testing.T) {
	w, a, _, p := pair(t, Config{})
	both, peers := a.Subscribe(), a.Subscribe()
	unread(both)
	unread(peers)
	s, r := a.shards[0], a.table.peer(p.slot)
	s.publishNode(NodeEvent{Cause: LocalPause, Pause: time.Second})
	s.transition(r, p.slot, Suspect, Silence, w.now())
	s.publishNode(NodeEvent{Cause: IDCollision, ID: 7, Others: [2]Peer{p, {a.Engine, 2, 3}}})
	s.transition(r, p.slot, Alive, ReachableAgain, w.now())
	var got []any
	for _, ev := range inOrder(both) {
		switch ev := ev.(type) {
		case Event:
			got = append(got, ev.Cause)
		case NodeEvent:
			got = append(got, ev.Cause)
			if ev.ID == 7 && ev.Others != [2]Peer{p, {a.Engine, 2, 3}} {
				t.Errorf("collision of %v", ev.Others)
			}
		}
	}
	if want := []any{LocalPause, Silence, IDCollision, ReachableAgain}; !slices.Equal(got, want) {
		t.Errorf("read %v, want %v", got, want)
	}
	if got := unread(peers); len(got) != 2 || got[0].Cause != Silence || got[1].Cause != ReachableAgain {
		t.Errorf("events of peers: %+v", got)
	}
}

// The same with shards that run meanwhile: each event has an id and an instant, no event follows a
// removal, and the last one has the peer's state.
func TestSeldomReadBesideShards(t *testing.T) {
	e := open(t, Config{Shards: atMost(2), Period: time.Minute}) // no pause is told of before the ring is the small one
	s := cramped(t, &node{Engine: e}, 4)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		random := rand.New(rand.NewPCG(1, 0))
		var peers [8]Peer
		id := uint64(1)
		for until := time.Now().Add(time.Second); time.Now().Before(until); {
			switch p := &peers[random.IntN(len(peers))]; {
			case p.IsZero():
				id++
				added, err := e.AddPeer(PeerConfig{Addr: netip.MustParseAddrPort("127.0.0.1:9"), ID: id})
				if err != nil {
					t.Error(err)
					return
				}
				*p = added
			case e.RemovePeer(*p) == nil:
				*p = Peer{}
			}
			if random.IntN(4) == 0 {
				time.Sleep(time.Duration(random.IntN(200)) * time.Microsecond)
			}
		}
	}()
	knows := make(map[Peer]State)
	read := func() {
		for _, ev := range unread(s) {
			if was := knows[ev.Peer]; was == Removed || ev.At == 0 || ev.ID == 0 {
				t.Errorf("after %v came %+v", was, ev)
			}
			knows[ev.Peer] = ev.To
		}
	}
	for running := true; running; {
		select {
		case <-ended:
			time.Sleep(100 * time.Millisecond) // what was asked for last is done
			running = false
		case <-time.After(time.Millisecond):
		}
		read()
	}
	for p, state := range knows {
		if state != p.State() {
			t.Errorf("a peer that is %v is known as %v", p.State(), state)
		}
	}
	if len(knows) < 10 {
		t.Errorf("only %d peers were told of", len(knows))
	}
}

// A range over the events ends when its context does, even if events still wait.
func TestEventsEndWithContext(t *testing.T) {
	w := newWorld(t, 1)
	a := w.start(Config{})
	for i := range uint16(10) {
		if _, err := a.AddPeer(PeerConfig{Addr: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), i+1)}); err != nil {
			t.Fatal(err)
		}
	}
	w.run(time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	read := 0
	for range a.Events(ctx) {
		if read++; read == 3 {
			cancel()
		}
	}
	if n := len(*a.subscriptions.Load()); read != 3 || n != 1 {
		t.Errorf("%d events read, %d subscriptions", read, n)
	}
}
