package enginetest_test

import (
	"testing"
	"time"

	"systole/engine"
	"systole/engine/enginetest"
	"systole/engine/enginetest/netmodel"
)

// A peer is slow while its heartbeats are late at its own side, and not while they are late on the network. It
// is suspected in neither case.
func TestSlow(t *testing.T) {
	const period = 100 * time.Millisecond
	for _, test := range []struct {
		name    string
		slow    bool
		disturb func(w *enginetest.World, from, to *enginetest.Host) // for a period or so
		recover func(w *enginetest.World, from, to *enginetest.Host)
	}{
		{"a sender whose loop is late", true, func(_ *enginetest.World, from, _ *enginetest.Host) {
			from.SetLatency(netmodel.Distribution{Kind: "uniform", Base: 80 * time.Millisecond})
		}, func(_ *enginetest.World, from, _ *enginetest.Host) { from.SetLatency(netmodel.Distribution{}) }},
		{"a sender behind a full queue", true, func(_ *enginetest.World, from, _ *enginetest.Host) {
			from.HoldSends(90 * time.Millisecond)
		}, nil},
		{"a network queue", false, func(w *enginetest.World, from, to *enginetest.Host) {
			w.SetLink(from, to, netmodel.Link{Delay: netmodel.Distribution{Kind: "uniform", Base: 80 * time.Millisecond}})
		}, func(w *enginetest.World, from, to *enginetest.Host) { w.SetLink(from, to, netmodel.Link{}) }},
		{"a receiver that stops", false, func(w *enginetest.World, _, to *enginetest.Host) {
			to.Stop()
			w.Run(80 * time.Millisecond)
			to.Continue()
		}, nil},
	} {
		w, from, to, _ := watchedPair(t, 4, nil)
		w.Run(5 * time.Second)
		p := to.Engine().Snapshot(nil)[0]
		if p.Slow || p.State != engine.Alive {
			t.Fatalf("%s: before, %+v", test.name, p)
		}
		slow := false
		for range 100 {
			test.disturb(w, from, to)
			w.Run(period + 3*time.Millisecond) // so that the phases of the queue differ
			slow = slow || to.Engine().Snapshot(nil)[0].Slow
		}
		if slow != test.slow {
			t.Errorf("%s: slow %v", test.name, slow)
		}
		if test.recover != nil {
			test.recover(w, from, to)
		}
		w.Run(5 * time.Second)
		if p := to.Engine().Snapshot(nil)[0]; p.Slow || p.State != engine.Alive || p.Mistakes > 0 || p.Failures > 0 {
			t.Errorf("%s: after, %+v", test.name, p)
		}
		held(t, w)
	}
}
