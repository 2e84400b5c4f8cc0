package enginetest_test

import (
	"fmt"
	"testing"
	"time"

	"systole/engine"
	"systole/engine/enginetest"
)

// forged returns a scenario of two nodes that watch each other, and a hub that admits strangers,
// with forgers alone.
func forged(t *testing.T, seed int, keyed bool, kind string) *enginetest.Scenario {
	t.Helper()
	return parsed(t, fmt.Sprintf(`{"seed": %d, "duration": "20s", "keyed": %v, "link": {"delay": {"base": "5ms"}}, "nodes": [
		{"name": "a", "id": 1, "watch": ["b", "hub"]}, {"name": "b", "id": 2, "watch": ["a"]}, {"name": "hub", "id": 3, "accept": true}],
		"faults": [{"kind": %q, "at": "5s", "for": "10s", "count": 500}]}`, seed, keyed, kind))
}

// A forger who reads nothing, and one with recordings, move nobody, and no flood goes where nobody is.
func TestForgersMoveNobody(t *testing.T) {
	for _, keyed := range []bool{false, true} {
		for _, kind := range []string{"forge", "replay", "garble"} {
			if kind == "garble" && !keyed {
				continue
			}
			violated := make(map[string]int)
			for seed := range 10 {
				for _, v := range forged(t, seed, keyed, kind).Run().Violations {
					violated[v.Rule]++
				}
			}
			t.Logf("%s, keys: %v: %v", kind, keyed, violated)
			if len(violated) > 0 {
				t.Errorf("%s, keys: %v: violated: %v", kind, keyed, violated)
			}
		}
	}
}

// What a forger writes is read by engines as any datagram is, and counted.
func TestForgersAreHeard(t *testing.T) {
	w := enginetest.NewWorld(1)
	a, b := w.AddHost("a"), w.AddHost("b")
	ea := openPair(t, a, b)
	openPair(t, b, a)
	w.Replay(nil, 0, 0)
	w.Run(2 * time.Second)
	before := ea.Stats().Sockets.Received
	w.Forge(a, 100, 10*time.Millisecond)
	w.Replay(a, 100, 10*time.Millisecond)
	w.Run(20 * time.Millisecond)
	if got := ea.Stats().Sockets.Received - before; got < 190 {
		t.Errorf("%d of 200 read", got)
	}
}

// openPair starts a process on h that watches another host.
func openPair(t *testing.T, h, other *enginetest.Host) *engine.Engine {
	t.Helper()
	e, err := h.Open(engine.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.AddPeer(engine.PeerConfig{Addr: other.Addr()}); err != nil {
		t.Fatal(err)
	}
	return e
}

// A recording of an answer that another watch of a process returned does not revive the process.
func TestReturnedAnswersReviveNobody(t *testing.T) {
	s := parsed(t, `{"seed": 4005146, "duration": "2s", "link": {"delay": {"base": "782µs"}}, "nodes": [
		{"name": "n0", "detector": "fixed:5", "period": "20ms", "accept": true, "admit_max": 1, "paths": 4},
		{"name": "n1", "watch": ["n0", "n0/2"], "detector": "phi-exp", "period": "20ms", "paths": 4}],
		"faults": [{"kind": "crash", "at": "1.197s", "host": "n1"},
			{"kind": "refuse-sends", "at": "1.105s", "for": "517ms", "host": "n0", "errno": "EHOSTUNREACH"},
			{"kind": "replay", "at": "825.3ms", "for": "1.1s", "host": "n0", "count": 300}]}`)
	r := s.Run()
	for _, e := range r.Events {
		if e.Host == "n0" && e.At > 1300*time.Millisecond && (e.Event.To == engine.Alive || e.Event.To == engine.OneWay) {
			t.Errorf("%v", e)
		}
	}
	for _, v := range r.Violations {
		t.Errorf("%v", v)
	}
}
