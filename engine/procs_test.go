package engine

import (
	"context"
	"runtime"
	"testing"
	"time"
)

// A loop that keeps its P while it waits delays neither garbage collections nor other goroutines. It
// wakes for commands. Close removes the P.
func TestLoopKeepsItsP(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	e := open(t, Config{Period: time.Minute, Sched: Sched{Procs: 1}})
	if got := runtime.GOMAXPROCS(0); got != before+1 {
		t.Errorf("GOMAXPROCS %d with one more than %d", got, before)
	}
	time.Sleep(50 * time.Millisecond) // it waits by now
	const collections = 20
	begin := time.Now()
	for range collections {
		runtime.GC()
	}
	if took := time.Since(begin); took > collections*100*time.Millisecond {
		t.Errorf("%d collections took %v while the loop waited", collections, took)
	}
	if _, err := e.AddPeer(PeerConfig{Addr: e.Addrs()[0], ID: 5}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); e.Stats().Peers.Watched == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the waiting loop did not take a command")
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := e.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if got := runtime.GOMAXPROCS(0); got != before {
		t.Errorf("GOMAXPROCS %d after Close, %d before", got, before)
	}
}

// Close changes nothing if the program has set GOMAXPROCS meanwhile.
func TestProcsOfOthersStay(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	cfg := Config{Period: time.Minute, Sched: Sched{Procs: 2}}
	a, b := open(t, cfg), open(t, cfg)
	if got := runtime.GOMAXPROCS(0); got != before+4 {
		t.Fatalf("GOMAXPROCS %d with four more than %d", got, before)
	}
	theirs := before + 1
	runtime.GOMAXPROCS(theirs)
	a.Close()
	if got := runtime.GOMAXPROCS(0); got != theirs {
		t.Errorf("GOMAXPROCS %d after Close, though somebody has set %d", got, theirs)
	}
	c := open(t, cfg) // what it adds is its own again
	if got := runtime.GOMAXPROCS(0); got != theirs+2 {
		t.Errorf("GOMAXPROCS %d with two more than %d", got, theirs)
	}
	c.Close()
	b.Close()
	if got := runtime.GOMAXPROCS(0); got != theirs {
		t.Errorf("GOMAXPROCS %d after all have closed, %d before", got, theirs)
	}
}
