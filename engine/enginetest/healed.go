package enginetest

import "systole/engine"

// checkHealed checks what two processes that watch each other believe of each other.
func (w *World) checkHealed() {
	for _, h := range w.hosts {
		l := h.life
		if l == nil || l.ended != 0 {
			continue
		}
		for _, r := range l.records {
			other := w.lives[r.id]
			if r.id == 0 || other == nil || other.ended != 0 || r.state == engine.Removed {
				continue
			}
			back := other.watches(l.engine.ID())
			if len(back) != 1 || final(l, r) || final(other, back[0]) {
				continue
			}
			s := r.peer.Stats()
			if s.State == engine.Suspect && s.Cause == engine.Silence && l.host.sim.Now().Now.Sub(s.Since) < fresh*s.PeerPeriod {
				continue // a mistake, and not an old one: calm links do not keep a short margin from making some
			}
			if s.State != engine.Alive || s.Incarnation != other.engine.Incarnation() {
				w.violated(l, Healed, "%s, of incarnation %d, is %v of incarnation %d, because of %v", other.host.Name(),
					other.engine.Incarnation(), s.State, s.Incarnation, s.Cause)
			}
		}
	}
}

// fresh is for how many periods a suspicion may be a mistake that the next heartbeat mends.
const fresh = 3

// watches returns the peers with the id that l watches.
func (l *life) watches(id uint64) []*record {
	var out []*record
	for _, r := range l.records {
		if r.id == id && r.state != engine.Removed {
			out = append(out, r)
		}
	}
	return out
}

// final reports whether l will not take the peer back in its present life.
func final(l *life, r *record) bool {
	return r.state == engine.Left || r.state == engine.Failed && !l.cfg.Resurrect && r.peer.Stats().Incarnation != 0
}
