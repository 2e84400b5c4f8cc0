package enginetest

import (
	"slices"

	"systole/engine"
)

// pair is a process, and another one that it watches by an entry of its Watch.
type pair struct {
	watcher *process
	peer    engine.Peer
	other   *process
	target  target
}

// checkHealed checks that all processes that should hear each other believe each other alive. It
// begins with who should, and not with what they remember of each other: they may have forgotten.
func (r *run) checkHealed() {
	for _, p := range r.pairs() {
		if !r.takes(&p) || !r.canMeet(&p) || p.isFinal() || p.saidGoodbye(r) || r.awaits(p.watcher, p.other) || r.awaits(p.other, p.watcher) {
			continue
		}
		s := p.peer.Stats()
		if s.State != engine.Alive || s.ID != p.other.engine.ID() || s.Incarnation != p.other.engine.Incarnation() {
			if !isFresh(p.watcher, &s) {
				r.world.violated(p.watcher, ruleHealed, "%s, of id %#x and incarnation %d, is %v of id %#x and incarnation %d, because of %v",
					p.other.host.Name(), p.other.engine.ID(), p.other.engine.Incarnation(), s.State, s.ID, s.Incarnation, s.Cause)
			}
		}
		p.checkOther(r.world)
		r.checkCarriedInCalm(&p)
	}
}

// checkOther checks that the process that is watched believes its watcher alive as well.
func (p *pair) checkOther(w *World) {
	known := p.other.watches(p.watcher.engine.ID())
	for _, r := range known {
		s := r.peer.Stats()
		if s.State == engine.Alive && s.Incarnation == p.watcher.engine.Incarnation() || isFresh(p.other, &s) {
			return
		}
	}
	what := "not watched"
	if len(known) > 0 {
		s := known[0].peer.Stats()
		what = s.State.String() + " because of " + s.Cause.String()
	}
	w.violated(p.other, ruleHealed, "%s, of incarnation %d, which watches this node, is %s", p.watcher.host.Name(), p.watcher.engine.Incarnation(), what)
}

// pairs returns all pairs of processes that run, in the order of the scenario.
func (r *run) pairs() []pair {
	var out []pair
	for i := range r.scenario.Nodes {
		n := &r.scenario.Nodes[i]
		l := r.hosts[n.Name].process
		if l == nil || l.ended != 0 {
			continue
		}
		for _, entry := range n.Watch {
			p, ok := r.peers[watch{n.Name, entry}]
			t := r.nodes.target(entry)
			other := r.holder(t)
			if !ok || other == nil || r.watchedTwice(n, entry, other) {
				continue
			}
			if other.process != nil && other.process.ended == 0 && other.process != l {
				out = append(out, pair{l, p, other.process, t})
			}
		}
	}
	return out
}

// watchedTwice reports whether another entry of a node's leads to a host as well, over the same path
// or, by name, over one that nobody knows: one of the two peers is enough.
func (r *run) watchedTwice(n *Node, entry string, host *Host) bool {
	t := r.nodes.target(entry)
	for _, e := range n.Watch {
		o := r.nodes.target(e)
		if e != entry && (t.byName || o.byName) && r.holder(o) == host {
			return true
		}
	}
	return false
}

// canMeet reports whether each finds the other: each writes to where the other is, or one does, and both
// have the session, or the other admits strangers. A NAT may have shown a node where nobody is any more.
func (r *run) canMeet(p *pair) bool {
	back, watches := r.watchBack(p)
	if !watches {
		return reaches(p.peer, p.other)
	}
	there, here := reaches(p.peer, p.other), reaches(back, p.watcher)
	if !there && p.hearsElsewhere() {
		return false
	}
	session := p.watcher.knows(p.peer, p.other) && p.other.knows(back, p.watcher)
	return there && here || (there || here) && session || there && p.other.cfg.Accept.Anyone
}

// hearsElsewhere reports whether the watcher has admitted the other where it is, as a stranger: the session is
// of that peer.
func (p *pair) hearsElsewhere() bool {
	for _, r := range p.watcher.watches(p.other.engine.ID()) {
		if s := r.peer.Stats(); r.peer != p.peer && s.State == engine.Alive && reaches(r.peer, p.other) {
			return true
		}
	}
	return false
}

// reaches reports whether heartbeats to a peer go to where a process is.
func reaches(p engine.Peer, other *process) bool {
	return slices.Contains(other.host.paths, p.Stats().Addr)
}

// knows reports whether a peer of l has heard a heartbeat of a process, and so has its discriminator: an
// answer without state is none.
func (l *process) knows(p engine.Peer, other *process) bool {
	s := p.Stats()
	return s.ID == other.engine.ID() && s.Incarnation == other.engine.Incarnation() && s.LastArrival > l.record(p).begun
}

// holder returns the host that a target leads to now, nil if none.
func (r *run) holder(t target) *Host {
	if !t.byName {
		return r.hosts[t.node]
	}
	addrs, err := r.world.sim.Lookup(t.node)
	if err != nil {
		return nil
	}
	for _, h := range r.world.hosts {
		if h.paths[0].Addr() == addrs[0] {
			return h
		}
	}
	return nil
}

// takes reports whether the process that is watched has a use for its watcher: it watches it
// over the same path, or has room for it as a stranger.
func (r *run) takes(p *pair) bool {
	if r.watchesBack(p) {
		return true
	}
	cfg := &p.other.cfg.Accept
	if !cfg.Anyone {
		return false
	}
	strangers := 0
	for _, q := range r.pairs() {
		if q.other == p.other && !r.watchesBack(&q) {
			strangers++
		}
	}
	return strangers+r.world.holdsEnded(p.other) <= max(cfg.Max, 0) || cfg.Max == 0
}

// holdsEnded returns how many processes that have ended l takes for running: they keep their room.
func (w *World) holdsEnded(l *process) (n int) {
	for _, r := range l.records {
		s := r.peer.Stats()
		other := w.processes[s.ID]
		if watched(s.State) && (other == nil || other.ended != 0 || other.engine.Incarnation() != s.Incarnation) {
			n++
		}
	}
	return n
}

// watchesBack reports whether the one that is watched watches its watcher over the same path.
func (r *run) watchesBack(p *pair) bool {
	_, ok := r.watchBack(p)
	return ok
}

// watchBack returns by which peer the one that is watched watches its watcher over the same path. Of
// several addresses of a name, nobody knows which one is taken.
func (r *run) watchBack(p *pair) (engine.Peer, bool) {
	for _, q := range r.pairs() {
		if q.watcher != p.other || q.other != p.watcher {
			continue
		}
		byName := p.target.byName || q.target.byName
		if byName && len(p.other.host.paths) == 1 && len(p.watcher.host.paths) == 1 || !byName && p.target.at() == q.target.at() {
			return q.peer, true
		}
	}
	return engine.Peer{}, false
}

// saidGoodbye reports whether the one that is watched no longer watches its watcher, said so, and
// has not begun anew.
func (p *pair) saidGoodbye(r *run) bool {
	s := p.peer.Stats()
	return s.State == engine.Left && s.Incarnation == p.other.engine.Incarnation() && !r.watchesBack(p)
}

// awaits reports whether l has yet to find out that a process of another host ended that had an
// id of its own choice: until then, who has another id there is another node. Detected bounds that.
func (r *run) awaits(l, other *process) bool {
	for _, known := range l.records {
		last := r.world.processes[known.id]
		if known.id != other.engine.ID() && last != nil && last.ended != 0 && last.host == other.host && watched(known.peer.State()) {
			return true
		}
	}
	return false
}

// isFinal reports whether one has failed for the other, which takes it back in a new incarnation only.
func (p *pair) isFinal() bool {
	return hasBuried(p.watcher, p.other) || hasBuried(p.other, p.watcher)
}

// hasBuried reports whether the present incarnation of other has failed for l, for good.
func hasBuried(l, other *process) bool {
	if !isFinal(&l.cfg) {
		return false
	}
	for _, r := range l.watches(other.engine.ID()) {
		if r.state == engine.Failed && r.peer.Stats().Incarnation == other.engine.Incarnation() {
			return true
		}
	}
	return false
}

// isFresh reports whether what l believes of a peer is a mistake that the next heartbeat mends, or
// one of the peer's: calm links do not keep a short margin from making some.
func isFresh(l *process, s *engine.PeerStats) bool {
	mistake := s.State == engine.Suspect && s.Cause == engine.Silence || s.State == engine.OneWay && s.Cause == engine.Deaf
	return mistake && l.host.sim.Now().Now.Sub(s.Since) < fresh*s.PeerPeriod
}

// fresh is for how many periods a suspicion may be a mistake that the next heartbeat mends.
const fresh = 3

// watches returns the peers with the id that l watches.
func (l *process) watches(id uint64) []*record {
	var out []*record
	for _, r := range l.records {
		if r.id == id && r.state != engine.Removed {
			out = append(out, r)
		}
	}
	return out
}
