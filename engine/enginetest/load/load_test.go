//go:build linux

package load_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"systole/engine"
	"systole/engine/enginetest/load"
)

// A population and an engine keep each other alive, and the engine notices its end.
func TestPopulation(t *testing.T) {
	const nodes, period = 300, 20 * time.Millisecond
	local := netip.MustParseAddrPort("127.0.0.1:0")
	e, err := engine.Open(engine.Config{Listen: []netip.AddrPort{local}, Period: period})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	p, err := load.Open(load.Config{
		Local: local, Target: e.Addrs()[0], FirstID: 1000, Nodes: nodes, Period: period,
	})
	if err != nil {
		t.Fatal(err)
	}
	var peers []engine.Peer
	for i := range nodes {
		peer, err := e.AddPeer(engine.PeerConfig{Addr: p.Addr(), ID: uint64(1000 + i)})
		if err != nil {
			t.Fatal(err)
		}
		peers = append(peers, peer)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	waitFor(t, "everybody alive", func() bool { return count(peers, engine.Alive) == nodes && p.Counts().Alive == nodes })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	waitFor(t, "everybody failed", func() bool { return count(peers, engine.Failed) == nodes })
}

// Thousands of nodes on one socket introduce themselves once each, or again where an answer is lost:
// they learn the engine's discriminators, and no introduction follows.
func TestPopulationOfThousands(t *testing.T) {
	const nodes, period = 5000, 250 * time.Millisecond
	local := netip.MustParseAddrPort("127.0.0.1:0")
	e, err := engine.Open(engine.Config{Listen: []netip.AddrPort{local}, Period: period, ExpectedPeers: nodes, ConnectTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	p, err := load.Open(load.Config{
		Local: local, Target: e.Addrs()[0], FirstID: 1, Nodes: nodes, Period: period, Multiple: 40,
	})
	if err != nil {
		t.Fatal(err)
	}
	peers := make([]engine.Peer, nodes)
	for i := range peers {
		if peers[i], err = e.AddPeer(engine.PeerConfig{Addr: p.Addr(), ID: uint64(1 + i)}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	waitFor(t, "everybody alive", func() bool { return count(peers, engine.Alive) == nodes && p.Counts().Alive == nodes })
	time.Sleep(2 * period) // what was on its way
	introduced, accepted := e.Stats().Strangers.Introduced, e.Stats().Heartbeats.Accepted
	waitFor(t, "another round", func() bool { return e.Stats().Heartbeats.Accepted > accepted+2*nodes })
	if again := e.Stats().Strangers.Introduced - introduced; again > 0 {
		t.Errorf("%d introductions in all, %d of them after all %d nodes were in touch", introduced+again, again, nodes)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// count returns how many peers are in a state.
func count(peers []engine.Peer, state engine.State) int {
	n := 0
	for _, p := range peers {
		if p.State() == state {
			n++
		}
	}
	return n
}

// waitFor waits until a condition holds, at most ten seconds.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}
