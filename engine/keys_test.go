package engine

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"systole/wire"
)

// ring parses a key ring of lines "id send" or "id accept", with keys made of the ids.
func ring(t testing.TB, lines ...string) *wire.KeyRing {
	t.Helper()
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l + " " + strings.Repeat("0"+l[:1], len(wire.Key{})) + "\n")
	}
	r, err := wire.ParseKeyRing(strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// masterRing returns a ring of one master key, made of its id.
func masterRing(t testing.TB, id uint32) *wire.KeyRing {
	t.Helper()
	r, err := wire.MasterKeyRing(id, wire.Key{byte(id)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// must returns a ring that could be made.
func must(t testing.TB) func(*wire.KeyRing, error) *wire.KeyRing {
	return func(r *wire.KeyRing, err error) *wire.KeyRing {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
}

const idA, idB = 0xA1, 0xB1

// A key is replaced on both nodes, one step at a time on one node after the other: no heartbeat is
// lost or refused, whoever holds the old key and the new one.
func TestKeyRotation(t *testing.T) {
	both := func(r *wire.KeyRing) [2]*wire.KeyRing { return [2]*wire.KeyRing{r, r} }
	pairwise := func(master *wire.KeyRing) [2]*wire.KeyRing {
		return [2]*wire.KeyRing{must(t)(master.ForNode(idA, []uint64{idB})), must(t)(master.ForNode(idB, []uint64{idA}))}
	}
	first, second := masterRing(t, 1), masterRing(t, 2)
	for _, c := range []struct {
		name     string
		old, new [2]*wire.KeyRing
	}{
		{"shared", both(ring(t, "1 send")), both(ring(t, "2 send"))},
		{"master", both(first), both(second)},
		{"pairwise", pairwise(first), pairwise(second)},
		{"shared to pairwise", both(ring(t, "1 send")), pairwise(second)},
		{"pairwise to shared", pairwise(first), both(ring(t, "2 send"))},
		{"one holds the master", [2]*wire.KeyRing{first, pairwise(first)[1]}, [2]*wire.KeyRing{second, pairwise(second)[1]}},
	} {
		t.Run(c.name, func(t *testing.T) { rotate(t, c.old, c.new) })
	}
}

// rotate replaces the keys of two nodes in three steps.
func rotate(t *testing.T, old, fresh [2]*wire.KeyRing) {
	w := newWorld(t, 1)
	cfg := Config{Period: 20 * time.Millisecond}
	ids := [2]uint64{idA, idB}
	var nodes [2]*node
	for i := range nodes {
		cfg.ID, cfg.Keys = ids[i], old[i]
		nodes[i] = w.start(cfg)
	}
	p := nodes[0].watch(nodes[1], func(c *PeerConfig) { c.ID = idB })
	nodes[1].watch(nodes[0], func(c *PeerConfig) { c.ID = idA })
	w.run(2 * time.Second)
	nodes[0].log, nodes[1].log = nil, nil
	for step := range 3 {
		for i, n := range nodes {
			sum := must(t)(old[i].Add(fresh[i]))
			ring := [3]*wire.KeyRing{sum, must(t)(sum.Promote(2)), fresh[i]}[step]
			if err := n.SetKeys(ring); err != nil {
				t.Fatal(err)
			}
			w.run(500 * time.Millisecond)
		}
	}
	for _, n := range nodes {
		n.want("a rotation")
		for f, count := range n.Stats().Refused.Faults {
			if count > 0 {
				t.Errorf("%v counted %d × %v", n.host.Name, count, wire.Fault(f))
			}
		}
	}
	if s := p.Stats(); s.State != Alive || s.LostIn+s.LostOut+s.Missed > 0 || s.Received < 100 {
		t.Errorf("stats %+v", s)
	}
}

// A holder of pairwise keys speaks as itself alone: what it signs in another's name is refused.
func TestPairwiseKeysNameTheirNode(t *testing.T) {
	const idC = 0xC1
	master := masterRing(t, 1)
	w := newWorld(t, 1)
	ofA := must(t)(master.ForNode(idA, []uint64{idB, idC}))
	ofC := must(t)(master.ForNode(idC, []uint64{idA, idB}))
	a := w.start(Config{ID: idA, Keys: ofA})
	liar := w.start(Config{ID: idB, Keys: ofC}) // calls itself b, and has the keys of c
	p := a.watch(liar, func(c *PeerConfig) { c.ID = idB })
	liar.watch(a, func(c *PeerConfig) { c.ID = idA })
	w.run(time.Second)
	if s := a.Stats(); p.State() == Alive || s.Heartbeats.Accepted > 0 || s.Refused.Faults[wire.BadTag] == 0 {
		t.Errorf("%v, %d accepted, %d bad tags", p.State(), s.Heartbeats.Accepted, s.Refused.Faults[wire.BadTag])
	}
}

// Pairwise keys are for ids: a peer without one is refused.
func TestPairwiseKeysNeedIDs(t *testing.T) {
	w := newWorld(t, 1)
	a := w.start(Config{ID: idA, Keys: masterRing(t, 1)})
	if _, err := a.AddPeer(PeerConfig{Addr: netip.MustParseAddrPort("192.0.2.1:1")}); err == nil {
		t.Error("a peer without an id was added")
	}
}

// Keys cannot be turned on or off in one incarnation.
func TestSetKeysRefuses(t *testing.T) {
	w := newWorld(t, 1)
	if err := w.start(Config{}).SetKeys(ring(t, "1 send")); err == nil {
		t.Error("keys were turned on")
	}
	if err := w.start(Config{Keys: ring(t, "1 send")}).SetKeys(nil); err == nil {
		t.Error("keys were turned off")
	}
}

// Several shards over real sockets: every peer's heartbeats come to the shard that has its slot, be
// it configured or admitted.
func TestShards(t *testing.T) {
	hub := open(t, Config{Shards: atMost(4), Period: 20 * time.Millisecond, Accept: Accept{Anyone: true, PerSecond: 1000}})
	events := hub.Subscribe()
	const nodes = 24
	for i := range nodes {
		n := open(t, Config{Period: 20 * time.Millisecond})
		if _, err := n.AddPeer(PeerConfig{Addr: hub.Addrs()[0]}); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			if _, err := hub.AddPeer(PeerConfig{Addr: n.Addrs()[0]}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range nodes {
		await(t, events, FirstContact)
	}
	alive := 0
	for range 500 { // a busy machine makes mistakes; they pass
		time.Sleep(10 * time.Millisecond)
		if alive = countAlive(hub); alive == nodes {
			break
		}
	}
	if alive != nodes {
		t.Errorf("%d of %d alive; %+v", alive, nodes, hub.Stats())
	}
	for i, s := range hub.shards {
		if heard := s.counters.accepted.Load(); heard == 0 {
			t.Errorf("shard %d accepted nothing", i)
		}
	}
}

// countAlive returns how many peers of e are alive.
func countAlive(e *Engine) (n int) {
	for _, p := range e.Snapshot(nil) {
		if p.State == Alive {
			n++
		}
	}
	return n
}

// Two engines with several shards and ports of the kernel's choice have ports of their own.
func TestShardedEnginesShareNoPort(t *testing.T) {
	ports := map[netip.AddrPort]bool{}
	for range 50 {
		e := open(t, Config{Shards: atMost(2), Manual: false})
		if a := e.Addrs()[0]; ports[a] {
			t.Fatalf("port %v was given to two engines", a)
		} else {
			ports[a] = true
		}
	}
}
