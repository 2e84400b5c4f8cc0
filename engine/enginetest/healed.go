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
			if len(back) != 1 || final(l, r, other) || final(other, back[0], l) {
				continue
			}
			s := r.peer.Stats()
			mistake := s.State == engine.Suspect && s.Cause == engine.Silence || s.State == engine.OneWay && s.Cause == engine.Deaf
			if mistake && l.host.sim.Now().Now.Sub(s.Since) < fresh*s.PeerPeriod {
				continue // not an old one, or one of the peer's: calm links do not keep a short margin from making some
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

// final reports whether l will not take the peer back in its present life, which is other: for
// what it did, or because a clock that went back gave it a lesser incarnation than it had before.
func final(l *life, r *record, other *life) bool {
	known := r.peer.Stats().Incarnation
	return known > other.engine.Incarnation() || r.state == engine.Failed && !l.cfg.Resurrect && known != 0
}
