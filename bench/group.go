package main

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"systole/engine"
	"systole/engine/clock"
	"systole/engine/detect"
)

// A group is an end of a trial made of engines, each watching all of the group at the other
// end: n engines here and n there are n² peers at each end.

// group is one end.
type group struct {
	engines []*engine.Engine
	peers   []engine.Peer

	mu    sync.Mutex // guards what follows
	began []engine.Stats
	made  []mistake                     // since start
	last  map[engine.Peer]clock.Instant // suspicion of each peer
}

// groupDetectors are what engines judge by, by name and period; nil is their default.
var groupDetectors = map[string]func(time.Duration) detect.Detector{
	"default": func(time.Duration) detect.Detector { return nil },
	"chen":    func(period time.Duration) detect.Detector { return &detect.Chen{Alpha: period} },
	"fixed":   func(time.Duration) detect.Detector { return &detect.Fixed{Multiplier: 4} },
}

// runGroup is a group's main.
func runGroup(args []string) error {
	flags := flag.NewFlagSet("group", flag.ContinueOnError)
	local := flags.String("local", "", "own address; further engines take the ports after it")
	remote := flags.String("remote", "", "the other end's")
	count := flags.Int("count", 10, "engines")
	period := flags.Duration("period", 10*time.Millisecond, "")
	name := flags.String("detector", "default", "")
	side := flags.Int("side", 0, "0 or 1")
	if err := flags.Parse(args); err != nil {
		return err
	}
	detector, ok := groupDetectors[*name]
	if !ok {
		return fmt.Errorf("no detector %q", *name)
	}
	from, err := netip.ParseAddrPort(*local)
	if err != nil {
		return err
	}
	to, err := netip.ParseAddrPort(*remote)
	if err != nil {
		return err
	}
	g := &group{last: make(map[engine.Peer]clock.Instant)}
	for i := range *count {
		cfg := engine.Config{
			ID: groupID(*side, i), Listen: []netip.AddrPort{beside(from, i)}, Period: *period, Detector: detector(*period),
			ConnectTimeout: time.Minute, ExpectedPeers: *count, Window: groupWindow,
			Sched: engine.Sched{Class: engine.FIFO, Priority: endPriority, Procs: 1},
		}
		if err := g.open(cfg, to, *count, *side); err != nil {
			return err
		}
	}
	return answer(g)
}

// groupID is the id of engine i on a side.
func groupID(side, i int) uint64 { return uint64(1+side)<<32 + uint64(i) }

// beside is the address i ports on.
func beside(a netip.AddrPort, i int) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr(), a.Port()+uint16(i))
}

// open adds an engine that watches all of the other end.
func (g *group) open(cfg engine.Config, to netip.AddrPort, count, side int) error {
	e, err := engine.Open(cfg)
	if err != nil {
		return err
	}
	g.engines = append(g.engines, e)
	events := e.Subscribe()
	for i := range count {
		p, err := e.AddPeer(engine.PeerConfig{Addr: beside(to, i), ID: groupID(1-side, i)})
		if err != nil {
			return err
		}
		g.peers = append(g.peers, p)
	}
	go g.watch(events)
	return nil
}

// watch notes suspicions until the engine closes.
func (g *group) watch(events *engine.Subscription) {
	for {
		ev, err := events.Next(context.Background())
		if err != nil {
			return
		}
		g.mu.Lock()
		switch {
		case ev.To == engine.Suspect:
			g.last[ev.Peer] = ev.At
		case (ev.From == engine.Suspect || ev.From == engine.Failed) && ev.Cause == engine.ReachableAgain, ev.From == engine.Suspect && ev.To == engine.OneWay:
			g.made = append(g.made, mistake{g.last[ev.Peer], lostAt(ev.Peer, g.last[ev.Peer])})
		}
		g.mu.Unlock()
	}
}

// groupWindow is how many heartbeats lostAt can look back.
const groupWindow = 128

// lostAt reports whether p's first heartbeat after the instant at was not the next one after
// the last before it.
func lostAt(p engine.Peer, at clock.Instant) bool {
	var samples [groupWindow]engine.Sample
	n, _ := p.Samples(samples[:])
	for i := 1; i < n; i++ {
		if a, b := &samples[i-1], &samples[i]; a.Arrival <= at && b.Arrival > at {
			return b.Sequence != a.Sequence+1
		}
	}
	return false
}

// met reports whether all peers are alive.
func (g *group) met() bool {
	for _, p := range g.peers {
		if p.State() != engine.Alive {
			return false
		}
	}
	return true
}

// start begins to count.
func (g *group) start() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.made, g.began = nil, nil
	for _, e := range g.engines {
		g.began = append(g.began, e.Stats())
	}
}

// count returns what was counted since start.
func (g *group) count() tally {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := tally{Mistakes: []uint64{uint64(len(g.made))}, OfLoss: []uint64{ofLoss(g.made, len(g.peers))}}
	for i, e := range g.engines {
		s, b := e.Stats(), &g.began[i]
		t.Sent += s.Sent - b.Sent
		t.Solicited += s.Solicited - b.Solicited
		t.Calls += s.Calls - b.Calls
		t.Watched += s.Watched - b.Watched
	}
	return t
}

// found returns how the crash of the other end was found. Both ends are on one machine, so
// their clocks are one.
func (g *group) found(crash clock.Instant) findings {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := newFindings(1)
	for _, p := range g.peers {
		at := g.last[p]
		if at < crash {
			continue // not found, or suspected before by mistake
		}
		f.Crash[0] = append(f.Crash[0], at.Sub(crash))
		f.Silence[0] = append(f.Silence[0], at.Sub(p.Stats().Last.Send))
	}
	return f
}
