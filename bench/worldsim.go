package main

import (
	"fmt"
	"time"

	"systole/engine"
	"systole/engine/clock"
	"systole/engine/enginetest"
	"systole/engine/enginetest/netmodel"
)

// worldSim is a hub of the simulated world and its peers: engines that watch each other.
type worldSim struct {
	world    *enginetest.World
	hub      *enginetest.Host
	peers    []*enginetest.Host
	cfg      func() engine.Config
	counting bool
	counted  tally
	crash    map[string]clock.Instant
	found    findings
}

// newWorldSim starts a hub with n peers over links like l.
func newWorldSim(seed uint64, n int, l netmodel.Link, cfg func() engine.Config) (*worldSim, error) {
	w := &worldSim{world: enginetest.NewWorld(seed), cfg: cfg, found: newFindings(1)}
	w.counted.Mistakes = make([]uint64, 1)
	w.counted.OfLoss = w.counted.Mistakes // nothing stalls here
	w.world.SetLinks(l)
	w.hub = w.world.AddHost("hub")
	for i := range n {
		w.peers = append(w.peers, w.world.AddHost(fmt.Sprintf("peer%d", i)))
	}
	if err := w.open(w.hub, 0); err != nil {
		return nil, err
	}
	for i, h := range w.peers {
		if _, err := w.hub.Engine().AddPeer(engine.PeerConfig{Addr: h.Addr(), ID: uint64(i + 1)}); err != nil {
			return nil, err
		}
	}
	w.hub.OnEvent(w.suspected)
	return w, nil
}

// open starts the engine with an id on a host and has its mistakes counted.
func (w *worldSim) open(h *enginetest.Host, id uint64) error {
	cfg := w.cfg()
	cfg.ID = hubID + id
	if id != 0 {
		cfg.ID = id
	}
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

// hubID is the hub's; its peers' are 1, 2, ...
const hubID = 1 << 40

// suspected notes how the hub found a crash.
func (w *worldSim) suspected(ev engine.Event) {
	if ev.To != engine.Suspect || w.counting {
		return
	}
	h := w.peers[ev.ID-1].Name()
	crash, ok := w.crash[h]
	if !ok {
		return // a mistake, or the second suspicion of one life
	}
	delete(w.crash, h)
	// All hosts of a world began together and none drifts: their clocks are one.
	w.found.Crash[0] = append(w.found.Crash[0], ev.At.Sub(crash))
	w.found.Silence[0] = append(w.found.Silence[0], ev.At.Sub(ev.Peer.Stats().Last.Send))
}

// round starts the peers, lets all live for d, and has every peer crash.
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
	w.crash = make(map[string]clock.Instant)
	for i, h := range w.peers {
		w.world.Run(time.Duration(w.world.Random(int(2 * solicitPeriod))))
		if w.alive(i) {
			w.crash[h.Name()] = w.hub.Clock().Now
		}
		h.Crash()
	}
	w.world.Run(silentTime)
	return w.violated()
}

// alive reports whether the hub takes peer i for alive.
func (w *worldSim) alive(i int) bool {
	for _, s := range w.hub.Engine().Snapshot(nil) {
		if s.ID == uint64(i+1) {
			return s.State == engine.Alive
		}
	}
	return false
}

// count lets all live for d and counts.
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

// sum adds the engines' counters up.
func (w *worldSim) sum() (t tally) {
	for _, h := range append([]*enginetest.Host{w.hub}, w.peers...) {
		s := h.Engine().Stats()
		t.Sent, t.Solicited, t.Watched = t.Sent+s.Sent, t.Solicited+s.Solicited, t.Watched+s.Watched
	}
	return t
}

// violated returns the first violation of what must always hold.
func (w *worldSim) violated() error {
	if v := w.world.Violations(); len(v) > 0 {
		return fmt.Errorf("the simulated world: %v", v[0])
	}
	return nil
}
