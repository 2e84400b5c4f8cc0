//go:build !race && !systole_portable

// The race detector allocates and has a heap of its own.

package engine

import (
	"io"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"systole/engine/clock"
	"systole/wire"
)

// A turn with a full batch each way over a real socket allocates nothing.
func TestTurnAllocatesNothing(t *testing.T) {
	for _, test := range []struct {
		local    string
		keys     *wire.KeyRing
		recorded bool
		carried  bool
		stamps   int
	}{
		{"127.0.0.1:0", nil, false, false, 0},
		{"[::1]:0", nil, false, false, 0},
		{"127.0.0.1:0", ring(t, "1 send"), false, false, 0},
		{"[::1]:0", ring(t, "1 send"), false, false, 0},
		{"127.0.0.1:0", nil, true, false, 0},
		{"127.0.0.1:0", nil, false, true, 0},
		{"[::1]:0", ring(t, "1 send"), false, true, 1},
		{"127.0.0.1:0", nil, false, false, 16},
	} {
		local := test.local
		rec := recorder(t, io.Discard)
		c := newCrowd(t, local, test.keys, func(c *Config) {
			c.StampSends, c.PeerHistograms = test.stamps, test.stamps > 0
			if test.recorded {
				c.Recorder = rec
			}
		})
		if test.carried {
			c.carry(t)
		}
		before := c.engine.Stats()
		const rounds = 100
		allocs := testing.AllocsPerRun(rounds, func() { c.round(t) })
		after := c.engine.Stats()
		if allocs != 0 {
			t.Errorf("%s, keys %v: %v allocations per turn", local, test.keys, allocs)
		}
		// The proof is only one if the turns were full.
		if n := after.Heartbeats.Accepted - before.Heartbeats.Accepted; n < rounds*batchSize {
			t.Errorf("%s: %d heartbeats accepted in %d rounds of %d", local, n, rounds, batchSize)
		}
		if n := after.Heartbeats.Sent - before.Heartbeats.Sent; n < rounds*batchSize*9/10 {
			t.Errorf("%s: %d heartbeats sent in %d rounds of %d", local, n, rounds, batchSize)
		}
		if n := after.Stamps.SendsStamped - before.Stamps.SendsStamped; test.stamps > 0 && n < rounds*batchSize*8/10/uint64(test.stamps) {
			t.Errorf("%s: %d transmit stamps in %d rounds of %d", local, n, rounds, batchSize)
		}
		if n := rounds * batchSize; test.carried && (c.carried < n*9/10 || c.delivered < n) {
			t.Errorf("%s: %d messages sent and %d delivered in %d rounds of %d", local, c.carried, c.delivered, rounds, batchSize)
		}
		c.engine.Close()
		rec.Close()
		if s := rec.Stats(); test.recorded && (s.Written < rounds*batchSize || s.Overflowed > 0) {
			t.Errorf("%+v recorded in %d rounds of %d", s, rounds, batchSize)
		}
	}
}

// A carrier takes what Carry says, for each peer.
func TestMemoryOfCarriers(t *testing.T) {
	const peers, room = 10_000, 200
	e := open(t, Config{Manual: true, ExpectedPeers: peers})
	at := netip.MustParseAddrPort("127.0.0.1:9")
	list := make([]Peer, peers)
	for i := range list {
		p, err := e.AddPeer(PeerConfig{Addr: at, ID: uint64(i) + 1})
		if err != nil {
			t.Fatal(err)
		}
		if list[i] = p; i%1000 == 999 {
			if _, err := e.Turn(clock.Read()); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := heapInUse()
	c := carry(t, e, 0x8001, room)
	if each := (heapInUse() - before) / peers; each > room+64+20 {
		t.Errorf("%.0f bytes per peer for messages that come", each)
	}
	before = heapInUse()
	body := make([]byte, room)
	for _, p := range list {
		if err := c.Set(p, body); err != nil {
			t.Fatal(err)
		}
	}
	if each := (heapInUse() - before) / peers; each > 2*room+100 {
		t.Errorf("%.0f bytes per peer for bodies of its own", each)
	}
	if n := testing.AllocsPerRun(100, func() { _ = c.Set(list[7], body) }); n != 0 {
		t.Errorf("%v allocations for another body", n)
	}
}

// Reading who a peer is allocates nothing.
func TestNamesAllocateNothing(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{}), w.start(Config{})
	p := a.watch(b, tagged("x"))
	w.run(time.Second)
	wrong := 0
	if n := testing.AllocsPerRun(100, func() {
		if p.Tag() == "" || p.Name() != "" || !p.Addr().IsValid() || p.ID() != 0 {
			wrong++
		}
	}); n != 0 || wrong != 0 {
		t.Errorf("%v allocations, %d wrong", n, wrong)
	}
}

// A hundred thousand peers take at most 1,152 bytes each, and 1,280 with authentication: all that the
// engine allocates for them, the address book included. The last four heartbeats are 192 of these bytes.
func TestMemoryPerPeer(t *testing.T) {
	for _, test := range []struct {
		keys   *wire.KeyRing
		stamps int
		most   float64
	}{{nil, 0, 1152}, {nil, 16, 1152}, {ring(t, "1 send"), 0, 1280}} {
		const peers, first = 100_000, 1000
		e := open(t, Config{Manual: true, Keys: test.keys, StampSends: test.stamps, ExpectedPeers: peers})
		at := netip.MustParseAddrPort("127.0.0.1:9")
		var before float64
		for i := range peers {
			if _, err := e.AddPeer(PeerConfig{Addr: at, ID: uint64(i) + 1}); err != nil {
				t.Fatal(err)
			}
			if i%1000 == 999 {
				if _, err := e.Turn(clock.Read()); err != nil {
					t.Fatal(err)
				}
			}
			if i == first-1 {
				before = heapInUse() // what an engine takes for itself is not counted
			}
		}
		if n := e.Stats().Peers.Watched; n != peers {
			t.Fatalf("%d peers are watched", n)
		}
		each := (heapInUse() - before) / (peers - first)
		if each > test.most {
			t.Errorf("keys %v: %.0f bytes per peer, at most %.0f wanted", test.keys, each, test.most)
		}
		t.Logf("keys %v: %.0f bytes per peer", test.keys, each)
		e.Close()
	}
}

// heapInUse returns the bytes of live objects.
func heapInUse() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
