package engine

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"systole/engine/clock"
)

// manyConfigs returns configurations of n peers on loopback that nobody answers for.
func manyConfigs(n int) []PeerConfig {
	list := make([]PeerConfig, n)
	for i := range list {
		addr := netip.AddrFrom4([4]byte{127, byte(1 + i>>16), byte(i >> 8), byte(i)})
		list[i] = PeerConfig{Addr: netip.AddrPortFrom(addr, 9), Period: time.Minute}
	}
	return list
}

// turnSlowly turns a Manual engine on a goroutine of its own until the test or the engine ends.
func turnSlowly(t *testing.T, e *Engine) {
	t.Helper()
	over := make(chan struct{})
	t.Cleanup(func() { e.Close(); <-over })
	go func() {
		defer close(over)
		for {
			if _, err := e.Turn(clock.Read()); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
}

// More peers than a command ring has room for are added, and removed, while another goroutine turns.
func TestAddPeersWaitsForRoom(t *testing.T) {
	e := open(t, Config{Manual: true})
	turnSlowly(t, e)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	list := manyConfigs(3 * commandRing)
	peers, err := e.AddPeers(ctx, list)
	if err != nil || len(peers) != len(list) {
		t.Fatalf("%d peers of %d, %v", len(peers), len(list), err)
	}
	if err := e.RemovePeers(ctx, peers); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); e.Stats().Peers.Watched > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if n := e.Stats().Peers.Watched; n != 0 {
		t.Errorf("%d peers are left", n)
	}
}

// When ctx ends, the peers so far stay and are returned, and the error says where it ended.
func TestAddPeersEndsWithItsContext(t *testing.T) {
	e := open(t, Config{Manual: true})
	short := func() context.Context { // until a while after the ring is full
		ctx, cancel := context.WithCancel(context.Background())
		t.Cleanup(cancel)
		go func() {
			for e.shards[0].ring.Len() < commandRing && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(10 * time.Millisecond)
			cancel()
		}()
		return ctx
	}
	list := manyConfigs(commandRing + 100)
	peers, err := e.AddPeers(short(), list) // nobody turns
	var at *ListError
	if !errors.As(err, &at) || at.Index != len(peers) || len(peers) != commandRing || !errors.Is(err, context.Canceled) {
		t.Fatalf("%d peers, %v", len(peers), err)
	}
	if err := e.RemovePeers(short(), peers[:3]); !errors.As(err, &at) || at.Index != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("removal with a full ring: %v", err)
	}
	turnSlowly(t, e)
	rest, err := e.AddPeers(context.Background(), list[len(peers):])
	if err != nil || len(rest) != 100 {
		t.Errorf("the rest: %d peers, %v", len(rest), err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if got, err := e.AddPeers(ended, list); len(got) != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context: %d peers, %v", len(got), err)
	}
}

// Faults of configurations are found before any peer is added; others end the call at their element.
func TestAddPeersSaysWhichElement(t *testing.T) {
	w := newWorld(t, 1)
	e := w.start(Config{})
	ctx := context.Background()
	list := manyConfigs(5)
	list[1].Class, list[3].Period = Classes, time.Nanosecond
	peers, err := e.AddPeers(ctx, list)
	const want = "engine: element 1 of the list: Class: 8 is not below 8\n" +
		"engine: element 3 of the list: Period: 1ns is not within 1ms to 1m0s"
	if len(peers) != 0 || err == nil || err.Error() != want {
		t.Errorf("%d peers, %v", len(peers), err)
	}
	list = manyConfigs(5)
	list[3] = list[0]
	peers, err = e.AddPeers(ctx, list)
	var at *ListError
	if len(peers) != 3 || !errors.As(err, &at) || at.Index != 3 || !errors.Is(err, ErrDuplicate) {
		t.Errorf("%d peers, %v", len(peers), err)
	}
	e.remove(peers[1])
	if err := e.RemovePeers(ctx, peers); !errors.As(err, &at) || at.Index != 1 || !errors.Is(err, ErrNoPeer) {
		t.Errorf("a peer that is gone: %v", err)
	}
	w.run(time.Second)
	if n := e.Stats().Peers.Watched; n != 0 {
		t.Errorf("%d peers are left", n)
	}
	if peers, err := e.AddPeers(ctx, manyConfigs(commandRing+1)); len(peers) != commandRing || !errors.Is(err, ErrBusy) {
		t.Errorf("in a simulated world: %d peers, %v", len(peers), err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.AddPeers(ctx, list); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed engine: %v", err)
	}
}
