package engine

import (
	"testing"
	"time"

	"systole/engine/enginetest/netmodel"
)

// idleLink has a delay of 200 µs, and jitter of 20 µs.
var idleLink = netmodel.Link{Delay: netmodel.Distribution{
	Kind: "exponential", Base: 200 * time.Microsecond, Spread: 20 * time.Microsecond,
}}

// drifting returns two nodes whose clocks drift apart by some ppm, on idle links, with a heartbeat per
// second.
func drifting(t *testing.T, ppm float64) (*world, [2]*node, [2]Peer) {
	w := newWorld(t, 1)
	w.SetLinks(idleLink)
	cfg := Config{Period: time.Second}
	a, b := w.start(cfg), w.start(cfg)
	a.host.SetDrift(ppm / 2)
	b.host.SetDrift(-ppm / 2)
	peers := [2]Peer{a.watch(b), b.watch(a)}
	w.run(10 * time.Second)
	return w, [2]*node{a, b}, peers
}

// queued returns how long the newest heartbeat of p queued, as events and as samples have it.
func queued(p Peer) (event, sample time.Duration) {
	return time.Duration(p.record().path.network), p.Stats().Last.Network
}

// idles runs an idle network, where one queue in 100 or so is longer than 100 µs: that is the jitter.
func (w *world) idles(d time.Duration, peers [2]Peer) {
	w.t.Helper()
	var most time.Duration
	jitter, all := 0, 0
	for range d / time.Second {
		w.run(time.Second)
		for _, p := range peers {
			event, sample := queued(p)
			longest := max(event, sample)
			most = max(most, longest)
			if all++; longest > 100*time.Microsecond {
				jitter++
			}
		}
	}
	if most > 250*time.Microsecond || jitter > all/50+3 {
		w.t.Errorf("queues of up to %v on an idle path, %d of %d above 100 µs", most, jitter, all)
	}
}

// Clocks that drift apart are no queue of an idle path, and hide none.
func TestDriftIsNoQueue(t *testing.T) {
	for _, ppm := range []float64{100, -100} {
		w, nodes, peers := drifting(t, ppm)
		w.idles(time.Hour, peers)
		slow := idleLink
		slow.Delay.Base += 10 * time.Millisecond
		w.SetLink(nodes[1].host, nodes[0].host, slow)
		w.run(time.Second)
		for range 10 {
			w.run(time.Second)
			event, sample := queued(peers[0])
			for _, q := range []time.Duration{event, sample} {
				if q < 9900*time.Microsecond || q > 10200*time.Microsecond {
					t.Errorf("%v ppm: a queue of 10 ms and jitter is measured as %v", ppm, q)
				}
			}
			if q, _ := queued(peers[1]); q > 200*time.Microsecond {
				t.Errorf("%v ppm: a queue of %v on the idle way", ppm, q)
			}
		}
		w.SetLink(nodes[1].host, nodes[0].host, idleLink)
		w.run(2 * time.Second)
		w.idles(time.Minute, peers)
	}
}

// A host that restarts has another clock. That is no queue.
func TestRestartIsNoQueue(t *testing.T) {
	w, nodes, peers := drifting(t, 100)
	for _, uptime := range []time.Duration{time.Minute, 100 * time.Hour} {
		nodes[1].host.Crash()
		w.run(2 * time.Second)
		nodes[1].host.SetUptime(uptime)
		w.boot(nodes[1], Config{Period: time.Second, ID: nodes[1].ID()})
		peers[1] = nodes[1].watch(nodes[0])
		w.run(5 * time.Second)
		w.idles(5*time.Minute, peers)
	}
}
