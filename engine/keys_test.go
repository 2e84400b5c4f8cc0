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
		b.WriteString(l + " " + strings.Repeat("0"+l[:1], wire.KeySize) + "\n")
	}
	r, err := wire.ParseKeyRing(strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A key is replaced on both nodes, one step at a time on one node after the other: no
// heartbeat is lost or refused.
func TestKeyRotation(t *testing.T) {
	w, a, b, p := pair(t, Config{Keys: ring(t, "1 send"), Period: 20 * time.Millisecond})
	a.log, b.log = nil, nil
	steps := []*wire.KeyRing{ring(t, "1 send", "2 accept"), ring(t, "1 accept", "2 send"), ring(t, "2 send")}
	for _, step := range steps {
		for _, n := range []*node{a, b} {
			if err := n.SetKeys(step); err != nil {
				t.Fatal(err)
			}
			w.run(500 * time.Millisecond)
		}
	}
	a.want("a rotation")
	b.want("a rotation")
	for _, n := range []*node{a, b} {
		for f, count := range n.Stats().Faults {
			if count > 0 {
				t.Errorf("%v counted %d × %v", n.host.Name, count, wire.Fault(f))
			}
		}
	}
	if s := p.Stats(); s.LostIn+s.LostOut+s.Missed > 0 || s.Received < 100 {
		t.Errorf("stats %+v", s)
	}
}

// Keys cannot be turned on or off in one life.
func TestSetKeysRefuses(t *testing.T) {
	w := newWorld(t, 1)
	if err := w.start(Config{}).SetKeys(ring(t, "1 send")); err == nil {
		t.Error("keys were turned on")
	}
	if err := w.start(Config{Keys: ring(t, "1 send")}).SetKeys(nil); err == nil {
		t.Error("keys were turned off")
	}
}

// Several shards over real sockets: every peer is found on the shard of its id, with and
// without the id known beforehand.
func TestShards(t *testing.T) {
	hub := open(t, Config{Shards: 4, Period: 20 * time.Millisecond, Accept: Accept{Anyone: true, PerSecond: 1000}})
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
	if s := hub.Stats(); alive != nodes || s.Misdirected > 0 {
		t.Errorf("%d of %d alive; %+v", alive, nodes, s)
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
		e := open(t, Config{Shards: 2, Manual: false})
		if a := e.Addrs()[0]; ports[a] {
			t.Fatalf("port %v was given to two engines", a)
		} else {
			ports[a] = true
		}
	}
}
