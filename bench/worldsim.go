package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"systole/engine"
	"systole/engine/clock"
	"systole/engine/enginetest"
	"systole/engine/enginetest/netmodel"
)

// worldSim simulates engines in virtual time: a hub and its peers, which watch each other and crash.
type worldSim struct {
	world    *enginetest.World
	hub      *enginetest.Host
	peers    []*enginetest.Host
	cfg      func() engine.Config
	counting bool
	counted  tally
	crashes  map[string]clock.Instant // by host; of peers that the hub does not suspect yet
	found    detections
	random   *rand.Rand
}

// newWorldSim opens a hub with n peers, over links like l. The peers' engines open with each round.
func newWorldSim(seed uint64, n int, l netmodel.Link, cfg func() engine.Config) (*worldSim, error) {
	w := &worldSim{world: enginetest.NewWorld(seed), cfg: cfg, found: newDetections(1), random: rand.New(rand.NewPCG(seed, 1))}
	w.counted.Mistakes = make([]uint64, 1)
	w.counted.OfLoss = w.counted.Mistakes // nothing stalls in a simulation
	w.world.SetLinks(l)
	w.hub = w.world.AddHost("hub")
	for i := range n {
		w.peers = append(w.peers, w.world.AddHost(fmt.Sprintf("peer%d", i)))
	}
	if err := w.open(w.hub, hubID); err != nil {
		return nil, err
	}
	for i, h := range w.peers {
		if _, err := w.hub.Engine().AddPeer(engine.PeerConfig{Addr: h.Addr(), ID: uint64(i + 1)}); err != nil {
			return nil, err
		}
	}
	w.hub.OnEvent(w.note)
	return w, nil
}

// open opens the engine of a host, and counts its mistakes.
func (w *worldSim) open(h *enginetest.Host, id uint64) error {
	cfg := w.cfg()
	cfg.ID = id
	if _, err := h.Open(cfg); err != nil {
		return err
	}
	h.OnEvent(func(ev engine.Event) {
		if ev.To == engine.Suspect && w.counting {
			w.counted.Mistakes[0]++
		}
	})
	return nil
}

// hubID is the id of the hub's engine. Its peers have the ids 1, 2, ...
const hubID = 1 << 40

// note notes the hub's first suspicion of a peer after its crash.
func (w *worldSim) note(ev engine.Event) {
	if ev.To != engine.Suspect || w.counting {
		return
	}
	h := w.peers[ev.ID-1].Name()
	crash, ok := w.crashes[h]
	if !ok {
		return // a mistake, or a second suspicion
	}
	delete(w.crashes, h)
	// All hosts of a world begin together and no clock drifts, so they have one clock.
	w.found.note(0, ev.At.Sub(crash), ev.At.Sub(ev.Peer.Stats().Last.Send))
}

// round opens the peers' engines, counts for d while all live, and crashes every peer.
func (w *worldSim) round(d time.Duration) error {
	for i, h := range w.peers {
		if err := w.open(h, uint64(i+1)); err != nil {
			return err
		}
		if _, err := h.Engine().AddPeer(engine.PeerConfig{Addr: w.hub.Addr(), ID: hubID}); err != nil {
			return err
		}
	}
	w.world.Run(2 * settleTime)
	w.count(d)
	w.crashes = make(map[string]clock.Instant)
	for i, h := range w.peers {
		w.world.Run(time.Duration(w.random.Int64N(int64(2 * solicitPeriod))))
		if w.alive(i) {
			w.crashes[h.Name()] = w.hub.Clock().Now
		}
		h.Crash()
	}
	w.world.Run(silentTime)
	return w.violated()
}

// alive reports whether peer i is alive in the hub's judgement.
func (w *worldSim) alive(i int) bool {
	for _, s := range w.hub.Engine().Snapshot(nil) {
		if s.ID == uint64(i+1) {
			return s.State == engine.Alive
		}
	}
	return false
}

// count counts for d.
func (w *worldSim) count(d time.Duration) {
	before := w.sum()
	w.counting = true
	w.world.Run(d)
	w.counting = false
	after := w.sum()
	w.counted.Sent += after.Sent - before.Sent
	w.counted.Solicited += after.Solicited - before.Solicited
	w.counted.Watched += after.Watched - before.Watched
}

// sum returns the sum of the engines' counters.
func (w *worldSim) sum() (t tally) {
	for _, h := range append([]*enginetest.Host{w.hub}, w.peers...) {
		s := h.Engine().Stats()
		t.Sent += s.Heartbeats.Sent
		t.Solicited += s.Heartbeats.Solicited
		t.Watched += s.Verdicts.Watched
	}
	return t
}

// violated returns an error if the world has found a violation of its invariants.
func (w *worldSim) violated() error {
	if v := w.world.Violations(); len(v) > 0 {
		return fmt.Errorf("the simulated world violates an invariant: %v", v[0])
	}
	return nil
}
