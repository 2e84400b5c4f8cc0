package main

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"systole/engine"
	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/detect/published"
)

// group is the end of a trial that consists of engines. Each engine watches all engines of the other
// end: with n engines at either end, each end has n² peers.
type group struct {
	engines []*engine.Engine
	peers   []engine.Peer

	mu        sync.Mutex                    // guards what follows
	began     []engine.Stats                // of the engines, when the counting began
	mistakes  []mistake                     // since then
	suspected map[engine.Peer]clock.Instant // latest suspicion of each peer
}

// groupDetectors are the detectors of engines, by name and period; nil is the engine's default.
var groupDetectors = map[string]func(period time.Duration) detect.Detector{
	"default": func(time.Duration) detect.Detector { return nil },
	"chen":    func(period time.Duration) detect.Detector { return published.Chen(period, 0, 0) },
	"fixed":   func(time.Duration) detect.Detector { return published.Fixed(4, 0) },
}

// runGroup is the subcommand group.
func runGroup(options string) error {
	var o endOptions
	if err := o.decode(options); err != nil {
		return err
	}
	g := &group{suspected: make(map[engine.Peer]clock.Instant)}
	for i := range o.Count {
		cfg, err := groupConfig(&o, i)
		if err != nil {
			return err
		}
		if err := g.open(cfg, &o); err != nil {
			return err
		}
	}
	return serveEnd(g)
}

// groupConfig returns the configuration of engine i.
func groupConfig(o *endOptions, i int) (engine.Config, error) {
	detector, ok := groupDetectors[o.Detectors]
	if !ok {
		return engine.Config{}, fmt.Errorf("there is no detector %q", o.Detectors)
	}
	return engine.Config{
		ID: groupID(o.Side, i), Listen: []netip.AddrPort{portAfter(o.Local, i)}, Period: o.Period, Detector: detector(o.Period),
		ConnectTimeout: time.Minute, ExpectedPeers: o.Count, Window: groupWindow,
		Sched: engine.Sched{FIFO: endPriority, Procs: 1},
	}, nil
}

// groupID returns the id of engine i on a side.
func groupID(side, i int) uint64 { return uint64(1+side)<<32 + uint64(i) }

// portAfter returns a with a port greater by i.
func portAfter(a netip.AddrPort, i int) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr(), a.Port()+uint16(i))
}

// open opens an engine that watches all engines of the other end.
func (g *group) open(cfg engine.Config, o *endOptions) error {
	e, err := engine.Open(cfg)
	if err != nil {
		return err
	}
	g.engines = append(g.engines, e)
	events := e.Subscribe()
	for i := range o.Count {
		p, err := e.AddPeer(engine.PeerConfig{Addr: portAfter(o.Remote, i), ID: groupID(1-o.Side, i)})
		if err != nil {
			return err
		}
		g.peers = append(g.peers, p)
	}
	go g.watch(events)
	return nil
}

// watch notes events until the engine closes.
func (g *group) watch(events *engine.Subscription) {
	for {
		ev, err := events.Next(context.Background())
		if err != nil {
			return
		}
		g.note(&ev)
	}
}

// note notes the suspicions among events, and those that were mistakes.
func (g *group) note(ev *engine.Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case ev.To == engine.Suspect:
		g.suspected[ev.Peer] = ev.At
	case endsMistake(ev):
		at := g.suspected[ev.Peer]
		var samples [groupWindow]engine.Sample
		n, _ := ev.Peer.Samples(samples[:])
		g.mistakes = append(g.mistakes, mistake{at, lostAfter(samples[:n], at)})
	}
}

// endsMistake reports whether ev is the end of a suspicion of a peer that lived.
func endsMistake(ev *engine.Event) bool {
	switch ev.From {
	case engine.Suspect:
		return ev.Cause == engine.ReachableAgain || ev.To == engine.OneWay
	case engine.Failed:
		return ev.Cause == engine.ReachableAgain
	}
	return false
}

// groupWindow is how many heartbeats of a peer lostAfter can see.
const groupWindow = 128

// lostAfter reports whether heartbeats were lost between the last one until at and the first one
// after it. The samples are in the order of arrival.
func lostAfter(samples []engine.Sample, at clock.Instant) bool {
	for i := 1; i < len(samples); i++ {
		if a, b := &samples[i-1], &samples[i]; a.Arrival <= at && b.Arrival > at {
			return b.Sequence != a.Sequence+1
		}
	}
	return false
}

// heardAll implements end.
func (g *group) heardAll() bool {
	for _, p := range g.peers {
		if p.State() != engine.Alive {
			return false
		}
	}
	return true
}

// start implements end.
func (g *group) start() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mistakes, g.began = nil, nil
	for _, e := range g.engines {
		g.began = append(g.began, e.Stats())
	}
}

// count implements end.
func (g *group) count() tally {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := tally{Mistakes: []uint64{uint64(len(g.mistakes))}, OfLoss: []uint64{ofLoss(g.mistakes, len(g.peers))}}
	for i, e := range g.engines {
		s, b := e.Stats(), &g.began[i]
		t.Sent += s.Heartbeats.Sent - b.Heartbeats.Sent
		t.Solicited += s.Heartbeats.Solicited - b.Heartbeats.Solicited
		t.Calls += s.Loop.Calls - b.Loop.Calls
		t.Watched += s.Verdicts.Watched - b.Verdicts.Watched
	}
	return t
}

// detections implements end. Both ends are on one machine, so they have one clock.
func (g *group) detections(crash clock.Instant) detections {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := newDetections(1)
	for _, p := range g.peers {
		// A suspicion before the crash was a mistake, and did not detect the crash.
		if at := g.suspected[p]; at >= crash {
			d.note(0, at.Sub(crash), at.Sub(p.Stats().Last.Send))
		}
	}
	return d
}
