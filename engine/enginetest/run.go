package enginetest

import (
	"errors"
	"fmt"
	"time"

	"systole/engine"
)

// run is a scenario at work.
type run struct {
	scenario *Scenario
	world    *World
	hosts    map[string]*Host
	nodes    map[string]*Node
	peers    map[watch]engine.Peer
}

// watch is a node and one that it watches.
type watch struct{ node, other string }

// Result is what a scenario came to.
type Result struct {
	// Events is what was seen, the last of it if the scenario was run for its Violations.
	Events     []Seen
	Violations []Violation // empty is good
	Figures
}

// Figures sums a world up.
type Figures struct {
	Steps    int // things that happened
	Sent     uint64
	Accepted uint64
	Detected int           // crashes that a watcher found out
	Worst    time.Duration // from a crash to its verdict
	Mistakes int           // suspicions of silence against processes that ran
}

// Run runs the scenario and returns what happened. It panics with the text of Validate if the
// scenario is not valid.
func (s *Scenario) Run() *Result {
	refuse("Scenario.Run", s.validate)
	return s.run(0)
}

// run runs the scenario, which is valid, and keeps the last of what was seen; 0 keeps all.
func (s *Scenario) run(keep int) *Result {
	r := &run{s, NewWorld(s.Seed), make(map[string]*Host), make(map[string]*Node), make(map[watch]engine.Peer)}
	w := r.world
	w.keep = keep
	w.SetLinks(s.Link)
	for i := range s.Nodes {
		n := &s.Nodes[i]
		h := w.AddHost(n.Name)
		r.hosts[n.Name], r.nodes[n.Name] = h, n
		if n.Uptime > 0 {
			h.SetUptime(n.Uptime)
		}
		h.SetDrift(n.Drift)
		h.SetLatency(n.Latency)
		h.SetStamps(!n.NoStamps)
		h.SetBuffers(orRoom(n.Receive), orRoom(n.Send))
		h.SetReadTime(n.ReadTime)
		w.At(n.Start, func() { r.start(n.Name) })
	}
	for _, l := range s.Links {
		w.SetLink(r.hosts[l.From], r.hosts[l.To], l.Link)
	}
	for i := range s.Faults {
		f := &s.Faults[i]
		w.At(f.At, func() { f.apply(r) })
	}
	w.Run(s.Duration - s.Calm)
	if s.Calm > 0 {
		r.calm()
		w.Run(s.Calm)
		w.checkHealed()
	}
	w.Finish()
	return &Result{w.seen, w.violations, w.Figures()}
}

// calm undoes every fault but those of processes that have ended.
func (r *run) calm() {
	w, calm := r.world, Link{Delay: Distribution{Base: time.Millisecond}}
	w.did(nil, "all is calm")
	w.HealAll()
	for _, a := range w.hosts {
		a.Continue()
		a.Resume()
		a.Unplug(false)
		a.RefuseSends(0)
		a.SetBuffers(orRoom(0), orRoom(0))
		for _, b := range w.hosts {
			if a != b {
				w.SetLink(a, b, calm)
			}
		}
	}
}

// orRoom returns n, or the room of a new host if n is 0.
func orRoom(n int) int {
	if n == 0 {
		return 4096
	}
	return n
}

// start starts the process of a node.
func (r *run) start(name string) {
	h, n := r.hosts[name], r.nodes[name]
	var e *engine.Engine
	cfg, err := n.config()
	if err == nil {
		r.world.did(h, "process started")
		e, err = h.Open(cfg)
	}
	if err != nil {
		panic(fmt.Sprintf("enginetest: node %s: %v", name, err)) // Validate refuses such nodes
	}
	for _, other := range n.Watch {
		r.add(e, name, other)
	}
}

// add has a node's engine watch another node.
func (r *run) add(e *engine.Engine, node, other string) {
	c := engine.PeerConfig{Addr: r.hosts[other].Addr(), ID: r.nodes[other].ID}
	p, err := e.AddPeer(c)
	if errors.Is(err, engine.ErrDuplicate) {
		return // of two faults that overlapped, another one has it watch again
	}
	if err != nil {
		panic(fmt.Sprintf("enginetest: node %s: watch %s: %v", node, other, err))
	}
	r.peers[watch{node, other}] = p
	r.hosts[node].life.names[p] = other
}

// Figures sums up what has happened so far.
func (w *World) Figures() Figures {
	f := Figures{Steps: w.Steps(), Detected: w.detected, Worst: w.worst, Mistakes: w.mistakes}
	for _, h := range w.hosts {
		if h.life != nil {
			s := h.life.engine.Stats()
			f.Sent += s.Sent
			f.Accepted += s.Accepted
		}
	}
	return f
}
