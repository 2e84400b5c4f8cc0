package enginetest

import (
	"context"
	"net/netip"
	"time"

	"systole/engine/enginetest/netmodel"
	"systole/engine/internal/network"
)

// The kinds of faults; Fault says what each does.
const (
	kindKill        = "kill"
	kindCrash       = "crash"
	kindUnwatch     = "unwatch"
	kindRestart     = "restart"
	kindLeave       = "leave"
	kindStop        = "stop"
	kindPause       = "pause"
	kindPauseKeep   = "pause-keep"
	kindHoldSends   = "hold-sends"
	kindFillRoom    = "fill"
	kindFlood       = "flood"
	kindUnplug      = "unplug"
	kindNoRoute     = "no-route"
	kindStepWall    = "step-wall"
	kindDrift       = "drift"
	kindCut         = "cut"
	kindPartition   = "partition"
	kindChange      = "link"
	kindRefuse      = "refuse"
	kindRefuseSends = "refuse-sends"
	kindSlowPlay    = "slow-play"
	kindTakeAddress = "take-address"
	kindRebind      = "rebind"
	kindMoveName    = "move-name"
	kindBreakName   = "break-name"
	kindForge       = "forge"
	kindReplay      = "replay"
	kindGarble      = "garble"
)

// kinds has every kind with the fields that it takes, besides Kind and At, as files name them.
var kinds = []struct {
	kind  string
	takes []string
}{
	{kindKill, []string{"for", "host"}},
	{kindCrash, []string{"for", "host"}},
	{kindRestart, []string{"host"}},
	{kindLeave, []string{"for", "host"}},
	{kindUnwatch, []string{"for", "host", "to"}},
	{kindStop, []string{"for", "host"}},
	{kindPause, []string{"for", "host"}},
	{kindPauseKeep, []string{"for", "host"}},
	{kindHoldSends, []string{"for", "host"}},
	{kindFillRoom, []string{"for", "host", "room"}},
	{kindFlood, []string{"for", "host", "count"}},
	{kindUnplug, []string{"for", "host"}},
	{kindNoRoute, []string{"for", "host"}},
	{kindStepWall, []string{"host", "by"}},
	{kindDrift, []string{"host", "ppm"}},
	{kindCut, []string{"for", "host", "to"}},
	{kindPartition, []string{"for", "hosts"}},
	{kindChange, []string{"for", "host", "to", "link"}},
	{kindRefuse, []string{"for", "host", "to"}},
	{kindRefuseSends, []string{"for", "host", "to", "errno"}},
	{kindSlowPlay, []string{"for", "host", "to"}},
	{kindTakeAddress, []string{"for", "host", "to"}},
	{kindRebind, []string{"host"}},
	{kindMoveName, []string{"for", "host", "to"}},
	{kindBreakName, []string{"for", "host"}},
	{kindForge, []string{"for", "host", "count"}},
	{kindReplay, []string{"for", "host", "count"}},
	{kindGarble, []string{"for", "host", "count"}},
}

// takesOf returns the fields that a fault of a kind takes; ok is false if there is no such kind.
func takesOf(kind string) (fields []string, ok bool) {
	for _, of := range kinds {
		if of.kind == kind {
			return of.takes, true
		}
	}
	return nil, false
}

// kindNames returns the names of all kinds.
func kindNames() []string {
	var list []string
	for _, of := range kinds {
		list = append(list, of.kind)
	}
	return list
}

// Fault is something done to the world. Fields for which its Kind has no use are refused. The kinds,
// with the fields that each uses besides At:
//
//	kill          For Host            the process of Host ends; For later it starts again
//	crash         For Host            the machine is switched off; likewise
//	restart       Host                the process ends and starts, at once
//	leave         For Host            the process says goodbye and ends; For later it starts again
//	unwatch       For Host To         Host does not watch To
//	stop          For Host            the process stands still, as after SIGSTOP
//	pause         For Host            the machine stands still; what arrives is lost
//	pause-keep    For Host            the same; what arrives comes at the end
//	hold-sends    For Host            what Host sends leaves at the end
//	fill          For Host Room       the receive buffer holds Room datagrams
//	flood         For Host Count      Count datagrams of nobody's arrive
//	unplug        For Host            no carrier
//	no-route      For Host            sends fail with ENETUNREACH
//	refuse-sends  For Host To Errno   sends to To, or to all, fail with Errno
//	step-wall     Host By             the wall clock steps by By
//	drift         Host PPM            the clocks gain PPM from now on
//	cut           For Host To         nothing arrives from Host at To
//	partition     For Hosts           nothing arrives from Hosts at all others, nor back
//	link          For Host To Link    the way from Host to To, or all ways, are Link
//	refuse        For Host To         a middlebox answers what Host sends to To with port unreachable
//	slow-play     For Host To         a proxy plays what Host sends to To at half the speed
//	take-address  For Host To         Host has the address of To
//	rebind        Host                a NAT shows others another address of Host
//	move-name     For Host To         the name of Host points to To
//	break-name    For Host            look-ups of the name of Host fail
//	forge         For Host Count      Count datagrams come to Host, or to all, by one who knows what is public
//	replay        For Host Count      likewise: recordings, also in the name and at the place of others
//	garble        For Host Count      likewise: recordings that were changed, in a scenario that is Keyed
type Fault struct {
	Kind string
	At   time.Duration // since the world began; before Scenario.Duration
	For  time.Duration // 0: for good, or all at once; at most 1000 h
	Host string
	// To is a node. Where a way leads to it, "b" is every path to b, and "b/1" path 1 alone; an
	// address is that of path 0, or the one given. For unwatch it is an entry of Watch.
	To    string
	Hosts []string      // some of the nodes, and not all
	By    time.Duration // within ±10 years of 365 days
	PPM   float64       // within ±500
	Room  int           // at most 1,000,000
	Count int           // at most 100,000
	Errno string        // EPERM, EACCES, EHOSTUNREACH, ENETUNREACH, EMSGSIZE, EINVAL or ENOBUFS
	Link  netmodel.Link
}

// Do does f at f.At, or at once if that has passed, and undoes it when f.For is over. Hosts are named as
// nodes of a Scenario are. A world does not know how the program opens its engine and whom it watches: Do
// panics for unwatch and restart, for kill, crash and leave with For, and if f is not valid.
func (w *World) Do(f Fault) {
	r := &run{scenario: &Scenario{Link: w.sim.Links()}, world: w, hosts: make(map[string]*Host), nodes: make(names)}
	for _, h := range w.hosts {
		r.hosts[h.Name()] = h
		r.nodes[h.Name()] = &Node{Name: h.Name(), Machine: Machine{Paths: len(h.paths)}}
	}
	refuse("World.Do", func(bad faults) {
		within(bad, "fault.at", f.At, 0, maxDuration)
		if f.startsAnew() {
			bad("fault.kind", "%s starts something again, which needs a Scenario", f.Kind)
			return
		}
		f.validate(bad, r.nodes, "fault")
	})
	if f.At <= w.Now() {
		f.At = w.Now()
		f.apply(r)
		return
	}
	w.At(f.At, func() { f.apply(r) })
}

// startsAnew reports whether the fault starts a process, or a watch.
func (f *Fault) startsAnew() bool {
	switch f.Kind {
	case kindRestart, kindUnwatch:
		return true
	case kindKill, kindCrash, kindLeave:
		return f.For > 0
	}
	return false
}

// apply does the fault and, when its time is over, undoes it.
func (f *Fault) apply(r *run) {
	h := r.hosts[f.Host]
	var undo func()
	switch f.Kind {
	case kindKill, kindCrash, kindRestart, kindLeave:
		undo = f.end(r, h)
	case kindStop:
		h.Stop()
		undo = h.Continue
	case kindPause, kindPauseKeep:
		h.Pause(f.Kind == kindPauseKeep)
		undo = h.Resume
	case kindHoldSends:
		h.holdSends(f.For)
	case kindFillRoom:
		room := h.sim.Room
		r.world.did(h, "room for %d datagrams", f.Room)
		h.sim.Room = f.Room
		undo = func() { h.sim.Room = room }
	case kindFlood:
		h.flood(f.Count, f.For)
	case kindUnplug:
		h.unplug(true)
		undo = func() { h.unplug(false) }
	case kindNoRoute:
		h.refuseSends(network.NoRoute)
		undo = func() { h.refuseSends(network.Sent) }
	case kindUnwatch:
		undo = f.unwatch(r, h)
	case kindStepWall:
		h.stepWall(f.By)
	case kindDrift:
		h.sim.SetDrift(f.PPM)
	case kindForge, kindReplay, kindGarble:
		r.world.forge(h, f.Kind, f.Count, f.For)
	case kindRefuse, kindRefuseSends, kindSlowPlay, kindTakeAddress, kindRebind, kindMoveName, kindBreakName:
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
	case kindKill:
		h.Kill()
	case kindCrash:
		h.Crash()
	case kindRestart:
		r.start(h.Name())
		return nil
	case kindLeave:
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
	case f.Kind == kindCut:
		to, path := r.to(f)
		w.did(h, "cut towards %s", f.To)
		w.sim.CutPlane(h.sim, to.sim, path, true)
		return func() { w.did(h, "healed towards %s", f.To); w.sim.CutPlane(h.sim, to.sim, path, false) }
	case f.Kind == kindPartition:
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
	case kindRefuse:
		w.reject(h, to, path, true)
		return func() { w.reject(h, to, path, false) }
	case kindSlowPlay:
		w.playSlowly(h, to, path, true)
		return func() { w.playSlowly(h, to, path, false) }
	case kindRefuseSends:
		if to == nil {
			h.refuseSends(errnos[f.Errno])
			return func() { h.refuseSends(network.Sent) }
		}
		h.refuseSendsTo(to, path, errnos[f.Errno])
		return func() { h.refuseSendsTo(to, path, network.Sent) }
	case kindTakeAddress:
		addr := to.Path(max(path, 0))
		h.takeAddress(addr)
		return func() { to.takeAddress(addr) }
	case kindRebind:
		h.rebind()
	case kindMoveName:
		var addrs []netip.Addr
		for i := range to.paths {
			addrs = append(addrs, to.paths[i].Addr())
		}
		w.setName(f.Host, addrs...)
		return func() { w.setName(f.Host) }
	case kindBreakName:
		w.breakName(f.Host, true)
		return func() { w.breakName(f.Host, false) }
	}
	return nil
}
