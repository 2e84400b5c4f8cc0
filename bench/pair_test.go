package main

import (
	"fmt"
	"os"
	"testing"
	"time"

	"systole/engine/enginetest/netlab"
)

// TestMain lets the test's binary be the ends of a pairing, as the program is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if end, ok := ends[os.Args[1]]; ok {
			if err := end(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	os.Exit(m.Run())
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
