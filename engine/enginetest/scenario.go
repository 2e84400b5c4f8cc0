package enginetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine"
	"systole/engine/detect"
)

// Scenario is a world and what is done to it, as a file holds it: see ParseScenario.
type Scenario struct {
	Seed     uint64        // of all chance
	Duration time.Duration // how long the world runs; at most 1000 h
	// Calm is how much of Duration, at its end, passes without faults and on links that take
	// a millisecond and lose nothing, so that the Healed rule can be checked. Faults that end
	// later than its beginning are not what it is for. 0: the world ends as it is.
	Calm   time.Duration
	Link   Link // between all nodes that Links does not name
	Nodes  []Node
	Links  []Between
	Faults []Fault
}

// Node is a host with an engine.
type Node struct {
	Name  string
	ID    uint64        // 0: one of the world's choice, new at every start
	Start time.Duration // when it is switched on
	// Watch names the nodes that it watches from its start on.
	Watch []string
	// Detector is NAME or NAME:PARAM, as systole replay has it. Empty: the engine's own.
	Detector         string
	Period           time.Duration // 0: the engine's own default, and so below
	MinReceivePeriod time.Duration
	ConnectTimeout   time.Duration
	DetectWithin     time.Duration // what is promised; not with a Detector
	MistakeEvery     time.Duration
	Resurrect        bool
	Accept           bool          // strangers become peers
	Forget           time.Duration // of strangers that failed or left

	Receive, Send int           // datagrams that the buffers hold; 0: 4096
	Uptime        time.Duration // of the machine at its start; 0: an hour
	Drift         float64       // of its clocks, ppm
	Latency       Distribution  // how late the process runs after it is woken
	NoStamps      bool          // its kernel stamps no arrivals
	ReadTime      time.Duration // that its process takes for each datagram; at most 1 ms
}

// Between is the way from one node to another.
type Between struct {
	From, To string
	Link     Link
}

// FaultKind is what a Fault does.
type FaultKind string

const (
	Kill      FaultKind = "kill"       // the process of Host; For later it starts again
	Crash     FaultKind = "crash"      // the machine; likewise
	Unwatch   FaultKind = "unwatch"    // Host no longer watches To, for For
	Restart   FaultKind = "restart"    // the process, at once
	Leave     FaultKind = "leave"      // the process says goodbye; For later it starts again
	Stop      FaultKind = "stop"       // SIGSTOP, for For
	Pause     FaultKind = "pause"      // the machine, for For; what arrives is lost
	PauseKeep FaultKind = "pause-keep" // the same; what arrives comes at its end
	HoldSends FaultKind = "hold-sends" // what Host sends leaves after For
	FillRoom  FaultKind = "fill"       // its receive buffer holds Room datagrams, for For
	Flood     FaultKind = "flood"      // Count datagrams of nobody's arrive at Host within For
	Unplug    FaultKind = "unplug"     // no carrier, for For
	NoRoute   FaultKind = "no-route"   // sends fail with ENETUNREACH, for For
	StepWall  FaultKind = "step-wall"  // the wall clock steps by By
	Drift     FaultKind = "drift"      // the clocks gain PPM from now on
	Cut       FaultKind = "cut"        // the way from Host to To, for For
	Partition FaultKind = "partition"  // both ways between Hosts and all others, for For
	Change    FaultKind = "link"       // the way from Host to To, or all, is Link for For
)

// Fault is something done to the world.
type Fault struct {
	Kind  FaultKind
	At    time.Duration // since the world began
	For   time.Duration // 0: for good
	Host  string
	To    string
	Hosts []string
	By    time.Duration
	PPM   float64
	Room  int
	Count int // at most 100,000
	Link  Link
}

// maxDuration bounds a scenario.
const maxDuration = 1000 * time.Hour

// Validate reports every fault of the scenario at once, joined.
func (s *Scenario) Validate() error {
	var list []error
	bad := func(field, format string, args ...any) {
		list = append(list, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	if s.Duration <= 0 || s.Duration > maxDuration {
		bad("duration", "%v is not within 0 to %v", s.Duration, maxDuration)
	}
	if s.Calm < 0 || s.Calm > s.Duration {
		bad("calm", "%v is not within 0 to duration", s.Calm)
	}
	s.Link.validate(bad, "link")
	names := make(map[string]bool)
	ids := make(map[uint64]bool)
	for i, n := range s.Nodes {
		if n.Name == "" || names[n.Name] {
			bad(fmt.Sprintf("nodes[%d].name", i), "%q is empty or taken", n.Name)
		}
		if n.ID != 0 && ids[n.ID] {
			bad(fmt.Sprintf("nodes[%d].id", i), "%d is taken", n.ID)
		}
		names[n.Name], ids[n.ID] = true, true
	}
	known := func(field, name string) {
		if !names[name] {
			bad(field, "there is no node %q", name)
		}
	}
	for i := range s.Nodes {
		s.Nodes[i].validate(bad, known, fmt.Sprintf("nodes[%d]", i))
	}
	for i, l := range s.Links {
		at := fmt.Sprintf("links[%d]", i)
		known(at+".from", l.From)
		known(at+".to", l.To)
		l.Link.validate(bad, at+".link")
	}
	for i := range s.Faults {
		s.Faults[i].validate(bad, known, fmt.Sprintf("faults[%d]", i))
	}
	return errors.Join(list...)
}

// validate reports the faults of n.
func (n *Node) validate(bad faults, known func(field, name string), at string) {
	for i, w := range n.Watch {
		known(at+".watch", w)
		if w == n.Name || slices.Contains(n.Watch[:i], w) {
			bad(at+".watch", "%q is the node itself, or there twice", w)
		}
	}
	cfg, err := n.config()
	if err != nil {
		bad(at+".detector", "%v", err)
	}
	if err := cfg.Validate(); err != nil {
		bad(at, "%v", err)
	}
	n.Latency.validate(bad, at+".latency")
	if n.Receive < 0 || n.Send < 0 || n.Uptime < 0 || n.Start < 0 {
		bad(at, "receive, send, uptime and start must not be negative")
	}
	if n.ReadTime < 0 || n.ReadTime > time.Millisecond {
		bad(at+".read_time", "%v is not within 0 to 1 ms", n.ReadTime)
	}
	if !(n.Drift >= -500 && n.Drift <= 500) {
		bad(at+".drift", "%v ppm is not within ±500", n.Drift)
	}
}

// validate reports the faults of f.
func (f *Fault) validate(bad faults, known func(field, name string), at string) {
	if f.At < 0 || f.For < 0 || f.Room < 0 {
		bad(at, "at, for and room must not be negative")
	}
	if !(f.PPM >= -500 && f.PPM <= 500) {
		bad(at+".ppm", "%v is not within ±500", f.PPM)
	}
	if f.Count < 0 || f.Count > 100_000 {
		bad(at+".count", "%d is not within 0 to 100,000", f.Count)
	}
	f.Link.validate(bad, at+".link")
	switch f.Kind {
	case Partition:
		for _, h := range f.Hosts {
			known(at+".hosts", h)
		}
		return
	case Change:
		if f.Host == "" && f.To == "" {
			return
		}
		known(at+".to", f.To)
	case Cut, Unwatch:
		known(at+".to", f.To)
	case Kill, Crash, Restart, Leave, Stop, Pause, PauseKeep, HoldSends, FillRoom, Flood, Unplug, NoRoute, StepWall, Drift:
	default:
		bad(at+".kind", "%q is none of kill, crash, restart, leave, unwatch, stop, pause, pause-keep, hold-sends, fill, flood, unplug, "+
			"no-route, step-wall, drift, cut, partition, link", f.Kind)
	}
	known(at+".host", f.Host)
	switch f.Kind {
	case Stop, Pause, PauseKeep, HoldSends:
		if f.For == 0 {
			bad(at+".for", "%s needs a time", f.Kind)
		}
	case Flood:
		if f.Count == 0 {
			bad(at+".count", "%s needs one", f.Kind)
		}
	}
}

// config returns the node's engine configuration.
func (n *Node) config() (engine.Config, error) {
	d, err := ParseDetector(n.Detector)
	window := 0
	if n.DetectWithin != 0 {
		window = lookBack // see checkPromised
	}
	return engine.Config{
		Window: window,
		ID:     n.ID, Period: n.Period, MinReceivePeriod: n.MinReceivePeriod, ConnectTimeout: n.ConnectTimeout,
		Detector: d, Resurrect: n.Resurrect, Promise: detect.Promise{DetectWithin: n.DetectWithin, MistakeEvery: n.MistakeEvery},
		Accept: engine.Accept{Anyone: n.Accept, Forget: n.Forget},
	}, err
}

// ParseDetector returns the detector that NAME or NAME:PARAM names: fixed:N periods, chen:D
// and 2w:D margins, phi:N and phi-exp:N thresholds, bertier:N and oz:N factors, margin:D the
// time between mistakes. Empty is nil, the engine's own.
func ParseDetector(text string) (detect.Detector, error) {
	name, param, _ := strings.Cut(text, ":")
	var number float64
	var duration time.Duration
	var err error
	switch {
	case param == "":
	case name == "chen" || name == "2w" || name == "margin":
		duration, err = time.ParseDuration(param)
	default:
		number, err = strconv.ParseFloat(param, 64)
	}
	if err != nil {
		return nil, fmt.Errorf("detector %q: %w", text, err)
	}
	var d detect.Detector
	switch name {
	case "":
		return nil, nil
	case "fixed":
		d = &detect.Fixed{Multiplier: number}
	case "chen":
		d = &detect.Chen{Alpha: duration}
	case "2w":
		d = &detect.TwoWindow{Alpha: duration}
	case "oz":
		d = &detect.Oz{Decrease: number}
	case "bertier":
		d = &detect.Bertier{Phi: number}
	case "phi":
		d = &detect.PhiNormal{Threshold: number}
	case "phi-exp":
		d = &detect.PhiExponential{Threshold: number}
	case "margin":
		d = &detect.Margin{MistakeEvery: duration}
	default:
		return nil, fmt.Errorf("detector %q: want fixed, chen, 2w, oz, bertier, phi, phi-exp or margin", text)
	}
	if v, ok := d.(interface{ Validate() error }); ok {
		if err := v.Validate(); err != nil {
			return nil, fmt.Errorf("detector %q: %w", text, err)
		}
	}
	return d, nil
}

// apply does the fault and, when its time is over, undoes it.
func (f *Fault) apply(r *run) {
	h := r.hosts[f.Host]
	var undo func()
	switch f.Kind {
	case Kill, Crash, Restart, Leave:
		undo = f.end(r, h)
	case Stop:
		h.Stop()
		undo = h.Continue
	case Pause, PauseKeep:
		h.Pause(f.Kind == PauseKeep)
		undo = h.Resume
	case HoldSends:
		h.HoldSends(f.For)
	case FillRoom:
		room, send := h.sim.Room, h.sim.SendRoom
		r.world.did(h, "room for %d datagrams", f.Room)
		h.SetBuffers(f.Room, send)
		undo = func() { h.SetBuffers(room, send) }
	case Flood:
		h.Flood(f.Count, f.For)
	case Unplug:
		h.Unplug(true)
		undo = func() { h.Unplug(false) }
	case NoRoute:
		h.RefuseSends(unix.ENETUNREACH)
		undo = func() { h.RefuseSends(0) }
	case Unwatch:
		undo = f.unwatch(r, h)
	case StepWall:
		h.StepWall(f.By)
	case Drift:
		h.SetDrift(f.PPM)
	default:
		undo = f.onLinks(r, h)
	}
	if undo != nil && f.For > 0 {
		r.world.At(f.At+f.For, undo)
	}
}

// end ends the process of a node, and returns what starts it again.
func (f *Fault) end(r *run, h *Host) func() {
	switch f.Kind {
	case Kill:
		h.Kill()
	case Crash:
		h.Crash()
	case Restart:
		r.start(h.Name())
		return nil
	case Leave:
		r.world.did(h, "process leaves")
		if e := h.Engine(); e != nil {
			_ = e.Shutdown(context.Background()) // it returns at once; busy is as good as killed later
		}
	}
	return func() { r.start(h.Name()) }
}

// unwatch ends the watch of a node by another, and returns what begins it anew.
func (f *Fault) unwatch(r *run, h *Host) func() {
	e, p := h.Engine(), r.peers[watch{f.Host, f.To}]
	if e == nil || e.RemovePeer(p) != nil {
		return nil // it does not watch it
	}
	r.world.did(h, "no longer watches %s", f.To)
	return func() {
		if h.Engine() != e {
			return // the next process watches it from its start on
		}
		r.world.did(h, "watches %s again", f.To)
		r.add(e, f.Host, f.To)
	}
}

// onLinks cuts or changes links, and returns what mends them.
func (f *Fault) onLinks(r *run, h *Host) func() {
	w := r.world
	switch {
	case f.Kind == Cut:
		to := r.hosts[f.To]
		w.did(h, "cut towards %s", f.To)
		w.Cut(h, to)
		return func() { w.did(h, "healed towards %s", f.To); w.Heal(h, to) }
	case f.Kind == Partition:
		var part []*Host
		for _, name := range f.Hosts {
			part = append(part, r.hosts[name])
		}
		w.did(nil, "partition of %v", f.Hosts)
		w.Partition(part...)
		return func() { w.did(nil, "all healed"); w.HealAll() }
	case h == nil:
		w.did(nil, "links changed")
		w.SetLinks(f.Link)
		return func() { w.did(nil, "links as before"); w.SetLinks(r.scenario.Link) }
	}
	to := r.hosts[f.To]
	before := w.sim.LinkBetween(h.sim, to.sim)
	w.did(h, "link towards %s changed", f.To)
	w.SetLink(h, to, f.Link)
	return func() { w.did(h, "link towards %s as before", f.To); w.sim.SetLink(h.sim, to.sim, before) }
}
