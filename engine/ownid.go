package engine

import (
	"time"

	"systole/wire"
)

// ownID handles a datagram with this node's own id and reports whether it is done with. The datagram is
// our own, returned to us, or of another process with the same id that has proved to read what this
// node sends. Without that proof it is an introduction.
func (s *shard) ownID(h *wire.Header, p *peer, slot uint32, j int) bool {
	switch {
	case h.Incarnation == s.incarnated:
		s.counters.looped.Add(1)
		if slot := wire.Slot(h.MyDiscriminator); slot != 0 && slot < s.table.slots.Load() {
			s.letter = letter{kind: letterOwn, slot: slot, introduction: introduction{h: *h, from: *s.net.From(j)}}
			s.pass(&s.letter)
		}
	case p != nil || s.engine.hasCookie(&introduction{h: *h, from: *s.net.From(j)}, s.now):
		s.counters.collisions.Add(1)
		if p != nil && p.verdict.state() == Connecting && s.setFault(p, IDCollision) {
			s.tellFault(p, slot, IDCollision) // the process at that address is not the peer
		}
		if s.collidedAt == 0 || s.now.Sub(s.collidedAt) >= collisionGap {
			s.collidedAt = s.now
			s.publishNode(record{cause: IDCollision, id: h.Sender, incarnation: h.Incarnation})
		}
	default:
		return false
	}
	return true
}

// collisionGap is the least time between two events about one id in use twice.
const collisionGap = time.Second
