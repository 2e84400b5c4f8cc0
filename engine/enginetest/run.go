package enginetest

import (
	"errors"
	"fmt"
	"time"

	"systole/engine"
	"systole/engine/enginetest/netmodel"
)

// run is a scenario at work.
type run struct {
	scenario *Scenario
	world    *World
	hosts    map[string]*Host
	nodes    names
	peers    map[watch]engine.Peer // that are watched, by the last process of their node
}

// watch is a node and an entry of its Watch.
type watch struct{ node, entry string }

// Result is what a scenario came to.
type Result struct {
	Events     []Seen      // what was seen
	Violations []Violation // empty is good
	Figures
}

// Figures sums a world up.
type Figures struct {
	Steps     int // things that happened
	Sent      uint64
	Accepted  uint64
	Detected  int           // crashes that a watcher found out
	Worst     time.Duration // from a crash to its verdict
	Delivered uint64        // messages
	Mistakes  int           // suspicions of silence against processes that ran
}

// Run runs the scenario and returns what happened. It panics if the
// scenario is not valid.
func (s *Scenario) Run() *Result {
	refuse("Scenario.Run", s.validate)
	r := &run{s, NewWorld(s.Seed), make(map[string]*Host), make(names), make(map[watch]engine.Peer)}
	w := r.world
	w.SetLinks(s.Link)
	w.quiet = s.quiet()
	if s.forges() {
		w.hireForger()
	}
	for i := range s.Nodes {
		n := &s.Nodes[i]
		h := w.AddHost(n.Name)
		r.hosts[n.Name], r.nodes[n.Name] = h, n
		h.Set(n.Machine)
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
		r.checkHealed()
	}
	w.Finish()
	return &Result{w.seen, w.violations, w.figures()}
}

// calm undoes every fault but those of processes that have ended.
func (r *run) calm() {
	w, calm := r.world, netmodel.Link{Delay: netmodel.Distribution{Base: time.Millisecond}}
	w.did(nil, "all is calm")
	w.noteSaid()
	w.HealAll()
	w.restoreAddresses()
	for _, a := range w.hosts {
		a.Continue()
		a.Resume()
		a.unplug(false)
		a.refuseSends(0)
		a.sim.RefuseNone()
		w.sim.BreakName(a.Name(), false)
		a.sim.Room, a.sim.SendRoom = orRoom(0), orRoom(0)
		for _, b := range w.hosts {
			if a != b {
				w.SetLink(a, b, calm)
				w.sim.Reject(a.sim, b.sim, allPaths, false)
				w.sim.PlaySlowly(a.sim, b.sim, allPaths, false)
			}
		}
	}
}

// start starts the process of a node.
func (r *run) start(name string) {
	h, n := r.hosts[name], r.nodes[name]
	var e *engine.Engine
	cfg, err := n.config()
	if r.scenario.Keyed {
		cfg.Keys = sharedKeys
	}
	if err == nil {
		r.world.did(h, "process started")
		e, err = h.Open(cfg)
	}
	if err == nil && n.Carries > 0 {
		err = h.carry(n.Carries)
	}
	if err != nil {
		panic(fmt.Sprintf("enginetest: node %s: %v", name, err)) // validate refuses such nodes
	}
	for key := range r.peers {
		if key.node == name {
			delete(r.peers, key) // of its last process
		}
	}
	for _, entry := range n.Watch {
		r.add(e, name, entry)
	}
}

// add has a node's engine watch what an entry stands for.
func (r *run) add(e *engine.Engine, node, entry string) {
	key := watch{node, entry}
	p, err := e.AddPeer(r.peerConfig(entry))
	if errors.Is(err, engine.ErrDuplicate) {
		return // of two faults that overlapped, another one has it watch again
	}
	if err != nil {
		panic(fmt.Sprintf("enginetest: node %s: watch %s: %v", node, entry, err))
	}
	r.peers[key] = p
	r.hosts[node].process.names[p] = r.nodes.target(entry).node
}

// peerConfig returns what a node tells its engine about an entry of its Watch. Who is watched by
// name is whoever is there.
func (r *run) peerConfig(entry string) engine.PeerConfig {
	t := r.nodes.target(entry)
	if t.byName {
		return engine.PeerConfig{Name: fmt.Sprintf("%s:%d", t.node, port)}
	}
	return engine.PeerConfig{Addr: r.hosts[t.node].Path(t.at()), ID: r.nodes[t.node].ID}
}

// figures sums up what has happened so far.
func (w *World) figures() Figures {
	f := Figures{Delivered: w.delivered, Steps: w.sim.Steps(), Detected: w.detected, Worst: w.worst, Mistakes: w.mistakes}
	for _, h := range w.hosts {
		if h.process != nil {
			s := h.process.engine.Stats()
			f.Sent += s.Heartbeats.Sent
			f.Accepted += s.Heartbeats.Accepted
		}
	}
	return f
}
