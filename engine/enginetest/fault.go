package enginetest

import (
	"context"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/enginetest/netmodel"
)

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

	Refuse      FaultKind = "refuse"       // a middlebox answers what Host sends to To with port unreachable, for For
	RefuseSends FaultKind = "refuse-sends" // sends to To, or to all, fail with Errno, for For
	SlowPlay    FaultKind = "slow-play"    // a proxy plays what Host sends to To at half the speed, for For
	TakeAddress FaultKind = "take-address" // Host has the address of To, for For
	Rebind      FaultKind = "rebind"       // a NAT shows others another address of Host, for good
	MoveName    FaultKind = "move-name"    // the name of Host points to To, for For
	BreakName   FaultKind = "break-name"   // look-ups of the name of Host fail, for For
	// Count datagrams come to Host, or to all, within For: Forge, by one who knows what is public;
	// Replay, recordings of what was sent before, also in the name and at the place of others;
	// Garble, recordings that were changed, in a scenario that is Keyed.
	Forge  FaultKind = "forge"
	Replay FaultKind = "replay"
	Garble FaultKind = "garble"
)

// kinds has every kind with the fields that it takes, besides Kind and At, as files name them.
var kinds = []struct {
	kind  FaultKind
	takes []string
}{
	{Kill, []string{"for", "host"}},
	{Crash, []string{"for", "host"}},
	{Restart, []string{"host"}},
	{Leave, []string{"for", "host"}},
	{Unwatch, []string{"for", "host", "to"}},
	{Stop, []string{"for", "host"}},
	{Pause, []string{"for", "host"}},
	{PauseKeep, []string{"for", "host"}},
	{HoldSends, []string{"for", "host"}},
	{FillRoom, []string{"for", "host", "room"}},
	{Flood, []string{"for", "host", "count"}},
	{Unplug, []string{"for", "host"}},
	{NoRoute, []string{"for", "host"}},
	{StepWall, []string{"host", "by"}},
	{Drift, []string{"host", "ppm"}},
	{Cut, []string{"for", "host", "to"}},
	{Partition, []string{"for", "hosts"}},
	{Change, []string{"for", "host", "to", "link"}},
	{Refuse, []string{"for", "host", "to"}},
	{RefuseSends, []string{"for", "host", "to", "errno"}},
	{SlowPlay, []string{"for", "host", "to"}},
	{TakeAddress, []string{"for", "host", "to"}},
	{Rebind, []string{"host"}},
	{MoveName, []string{"for", "host", "to"}},
	{BreakName, []string{"for", "host"}},
	{Forge, []string{"for", "host", "count"}},
	{Replay, []string{"for", "host", "count"}},
	{Garble, []string{"for", "host", "count"}},
}

// takes returns the fields that a fault of kind k takes; ok is false if there is no such kind.
func (k FaultKind) takes() (fields []string, ok bool) {
	for _, of := range kinds {
		if of.kind == k {
			return of.takes, true
		}
	}
	return nil, false
}

// kindNames returns the names of all kinds.
func kindNames() []string {
	var list []string
	for _, of := range kinds {
		list = append(list, string(of.kind))
	}
	return list
}

// Fault is something done to the world. Fields that its Kind does not name, Validate refuses.
type Fault struct {
	Kind FaultKind
	At   time.Duration // since the world began; before Scenario.Duration
	For  time.Duration // 0: for good, or all at once; at most 1000 h
	Host string
	// To is a node. Where a way leads to it, "b" is every path to b, and "b/1" path 1 alone; an
	// address is that of path 0, or the one given. For Unwatch it is an entry of Watch.
	To    string
	Hosts []string      // some of the nodes, and not all
	By    time.Duration // within ±10 years of 365 days
	PPM   float64       // within ±500
	Room  int           // at most 1,000,000
	Count int           // at most 100,000
	Errno string        // EPERM, EACCES, EHOSTUNREACH, ENETUNREACH, EMSGSIZE, EINVAL or ENOBUFS
	Link  netmodel.Link
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
	case Forge, Replay, Garble:
		r.world.forge(h, f.Kind, f.Count, f.For)
	case Refuse, RefuseSends, SlowPlay, TakeAddress, Rebind, MoveName, BreakName:
		undo = f.onAddresses(r, h)
	default:
		undo = f.onLinks(r, h)
	}
	if undo != nil && f.For > 0 {
		r.world.At(f.At+f.For, undo) // never, if that is after the end
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
	e, key := h.Engine(), watch{f.Host, f.To}
	if e == nil || e.RemovePeer(r.peers[key]) != nil {
		return nil // it does not watch it
	}
	delete(r.peers, key)
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
		to, path := r.to(f)
		w.did(h, "cut towards %s", f.To)
		w.CutPath(h, to, path, true)
		return func() { w.did(h, "healed towards %s", f.To); w.CutPath(h, to, path, false) }
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

// to returns the node that a fault names as To, and the path.
func (r *run) to(f *Fault) (*Host, int) {
	t := r.nodes.target(f.To)
	return r.hosts[t.node], t.path
}

// onAddresses changes what leads to a node, and returns what changes it back.
func (f *Fault) onAddresses(r *run, h *Host) func() {
	w := r.world
	to, path := r.to(f)
	switch f.Kind {
	case Refuse:
		w.rejectPath(h, to, path, true)
		return func() { w.rejectPath(h, to, path, false) }
	case SlowPlay:
		w.playSlowly(h, to, path, true)
		return func() { w.playSlowly(h, to, path, false) }
	case RefuseSends:
		if to == nil {
			h.RefuseSends(errnos[f.Errno])
			return func() { h.RefuseSends(0) }
		}
		h.refuseSendsTo(to, path, errnos[f.Errno])
		return func() { h.refuseSendsTo(to, path, 0) }
	case TakeAddress:
		addr := to.Path(max(path, 0))
		h.TakeAddress(addr)
		return func() { to.TakeAddress(addr) }
	case Rebind:
		h.Rebind()
	case MoveName:
		var addrs []netip.Addr
		for i := range to.paths {
			addrs = append(addrs, to.paths[i].Addr())
		}
		w.SetName(f.Host, addrs...)
		return func() { w.SetName(f.Host) }
	case BreakName:
		w.BreakName(f.Host, true)
		return func() { w.BreakName(f.Host, false) }
	}
	return nil
}
