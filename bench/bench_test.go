package main

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"systole/engine/enginetest/netlab"
)

// TestMain lets the test's binary be the ends of a pairing, as the program is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if end, ok := subcommands[os.Args[1]]; ok {
			if err := end(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	os.Exit(m.Run())
}

// The floor program sends at its rate, what it sends arrives, and it says what that cost.
func TestFloor(t *testing.T) {
	f, err := newFloor()
	netlab.Require(t, err)
	defer func() {
		if err := f.close(); err != nil {
			t.Error(err)
		}
	}()
	for _, c := range []floorCase{{"one way", 136, 10000, 1000, 0}, {"both ways", 152, 10000, 1000, 10000}} {
		a, b, err := f.measure(t.Context(), c, 300*time.Millisecond)
		for range 9 {
			if !errors.Is(err, errDisturbed) {
				break
			}
			a, b, err = f.measure(t.Context(), c, 300*time.Millisecond)
		}
		if err != nil {
			t.Fatal(err)
		}
		// The processes start and end apart by some ticks, so not all is counted at both; and on a
		// busy machine they miss ticks.
		if a.Sent <= 0 || a.Sent > 3500 || b.Received <= 0 || b.Received > 3500 {
			t.Errorf("%s: sent %v, received %v, dropped %v", c.name, a.Sent, b.Received, b.Dropped)
		}
		if cost := a.perDatagram(); cost < 50 || cost > 1e6 {
			t.Errorf("%s: a datagram cost %v ns", c.name, cost)
		}
		if calls := (a.Calls + b.Calls) / (a.Sent + b.Received); calls > 1 {
			t.Errorf("%s: %v system calls per datagram", c.name, calls)
		}
	}
}

// A node and its population meet, exchange what their periods say, and report it.
func TestPairing(t *testing.T) {
	p := pairing{peers: 50, period: 20 * time.Millisecond, procs: 1, detector: "fixed"}
	n, q, err := p.run(t.Context(), time.Second, 0)
	netlab.Require(t, err)
	const each = 2500 // in a second
	for what, count := range map[string]uint64{"sent": n.Sent, "received": n.Received, "sent by the population": q.Sent, "received by it": q.Received} {
		if count < each/2 || count > each*3/2 {
			t.Errorf("%s: %d, want about %d", what, count, each)
		}
	}
	if n.CPU <= 0 || n.Loop <= 0 || n.Loop > n.CPU+100*time.Millisecond || n.BytesPerPeer < 500 || n.AddTime <= 0 || n.PausePeers <= 0 {
		t.Errorf("counted %+v", n)
	}
}
