package split_test

import (
	"fmt"
	"testing"
	"time"

	"systole/engine"
	"systole/engine/enginetest"
	"systole/engine/enginetest/netmodel"
	"systole/engine/split"
)

// Each cause lands in its part, in a simulated world where one end is disturbed.
func TestCausesInAWorld(t *testing.T) {
	const spell = 60 * time.Millisecond
	hold := enginetest.Fault{Kind: "hold-sends", Host: "from", For: spell / 2}
	for _, test := range []struct {
		part    string
		told    bool // the sender tells its waits
		disturb func(w *enginetest.World, from, to *enginetest.Host)
	}{
		{"", true, func(*enginetest.World, *enginetest.Host, *enginetest.Host) {}},
		{"late", true, func(w *enginetest.World, from, _ *enginetest.Host) {
			from.Set(enginetest.Machine{Latency: netmodel.Distribution{Kind: "uniform", Base: 8 * time.Millisecond}})
		}},
		{"send-wait", true, func(w *enginetest.World, _, _ *enginetest.Host) { w.Do(hold) }},
		{"network", false, func(w *enginetest.World, _, _ *enginetest.Host) { w.Do(hold) }},
		{"network", true, func(w *enginetest.World, from, to *enginetest.Host) {
			w.SetLink(from, to, netmodel.Link{Delay: netmodel.Distribution{Kind: "uniform", Base: 20 * time.Millisecond}})
		}},
		{"read", true, func(w *enginetest.World, _, to *enginetest.Host) {
			to.Stop()
			w.Run(spell / 2)
			to.Continue()
		}},
	} {
		w := enginetest.NewWorld(1)
		from, to := w.AddHost("from"), w.AddHost("to")
		cfg := engine.Config{Period: 20 * time.Millisecond, Window: 16}
		if test.told {
			cfg.StampSends = 1
		}
		for _, h := range []*enginetest.Host{from, to} {
			if _, err := h.Open(cfg); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := from.Engine().AddPeer(engine.PeerConfig{Addr: to.Addr()}); err != nil {
			t.Fatal(err)
		}
		p, err := to.Engine().AddPeer(engine.PeerConfig{Addr: from.Addr()})
		if err != nil {
			t.Fatal(err)
		}
		w.Run(time.Second)
		c, buf := split.New(to.Engine().Grid()), make([]engine.Sample, 16)
		take := func() {
			n, total := p.Samples(buf)
			c.Take(buf[:n], total)
		}
		take()
		c.Flush()
		for range 50 {
			test.disturb(w, from, to)
			w.Run(spell)
			take()
		}
		c.Flush()
		sum := c.Sum()
		if cause := sum.Cause(); cause.Part != test.part || cause.OrSender == test.told && test.part == "network" || cause.OrReceiver {
			t.Errorf("%v, follow-ups %v: %v, on average %v", test.part, test.told, cause, sum.Delay())
		}
		h := c.Histograms()
		if n := h.Network.Count(); n != sum.Heartbeats() || n < 100 {
			t.Errorf("%v: %d of %d heartbeats", test.part, n, sum.Heartbeats())
		}
	}
}

// How to explain why a peer was suspected, by its last heartbeats.
func Example() {
	explain := func(ev engine.Event) string {
		var last [4]engine.Sample
		sum := split.Sum{Step: 4 * time.Millisecond}
		n, _ := ev.Peer.Samples(last[:])
		for _, s := range last[:n] {
			sum.Add(s.Delays)
		}
		return sum.Cause().String()
	}
	fmt.Println(explain(engine.Event{}))
	// Output: there is no delay
}

// The delay of each direction is seen from one end, and a delay of one way is not in the other.
func TestOutwardInAWorld(t *testing.T) {
	slow := netmodel.Link{Delay: netmodel.Distribution{Base: 20 * time.Millisecond}}
	for _, out := range []bool{true, false} {
		w := enginetest.NewWorld(1)
		here, there := w.AddHost("here"), w.AddHost("there")
		here.Set(enginetest.Machine{Drift: 100})
		for _, h := range []*enginetest.Host{here, there} {
			if _, err := h.Open(engine.Config{Period: 20 * time.Millisecond, Window: 256}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := there.Engine().AddPeer(engine.PeerConfig{Addr: here.Addr()}); err != nil {
			t.Fatal(err)
		}
		p, err := here.Engine().AddPeer(engine.PeerConfig{Addr: there.Addr()})
		if err != nil {
			t.Fatal(err)
		}
		w.Run(10 * time.Second)
		if out {
			w.SetLink(here, there, slow)
		} else {
			w.SetLink(there, here, slow)
		}
		w.Run(4 * time.Second)
		buf := make([]engine.Sample, 128)
		n, _ := p.Samples(buf)
		var outward, inward time.Duration
		known := 0
		for i := range buf[:n] {
			if d, ok := split.Outward(&buf[i], p.Stats().LeastRoundTrip); ok {
				outward, inward = outward+d, inward+buf[i].Network
				known++
			}
		}
		if known < n/2 {
			t.Fatalf("%d of %d heartbeats have a round trip", known, n)
		}
		slowOne, other := outward/time.Duration(known), inward/time.Duration(known)
		if !out {
			slowOne, other = other, slowOne
		}
		if slowOne < 19*time.Millisecond || slowOne > 21*time.Millisecond || other > 200*time.Microsecond {
			t.Errorf("outwards %v: %v on the slow way, %v on the other, on average", out, slowOne, other)
		}
	}
}
