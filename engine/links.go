package engine

import (
	"golang.org/x/sys/unix"

	"systole/engine/clock"
	"systole/engine/internal/network"
	"systole/engine/internal/udp"
	"systole/wire"
)

// ourSide reports whether a send error says that this node has no way out to the peer:
// no route, the source address gone, the interface down (udp(7), ip(7)). Such an
// error accuses nobody.
func ourSide(errno unix.Errno) bool {
	switch errno {
	case unix.ENETUNREACH, unix.EADDRNOTAVAIL, unix.ENETDOWN, unix.ENODEV, unix.EINVAL, unix.ENONET:
		return true
	}
	return false
}

// setLinkGone notes whether our side has no way to p. Nothing else writes that flag, and
// the count of the peers that have it.
func (s *shard) setLinkGone(p *peer, gone bool) {
	switch {
	case gone && p.flags&flagLinkGone == 0:
		p.flags |= flagLinkGone
		s.linksGone++
	case !gone && p.flags&flagLinkGone != 0:
		p.flags &^= flagLinkGone
		s.linksGone--
	}
}

// sendFailed notes that the kernel did not take a heartbeat to p.
func (s *shard) sendFailed(p *peer, slot uint32, errno unix.Errno) {
	p.missed.Set(p.missed.Get() + 1)
	if clock.Instant(p.lastSent.Get()) == s.now {
		p.lastSent.Set(uint64(p.takenBefore)) // it was set when the heartbeat was written
	}
	if !ourSide(errno) {
		return
	}
	s.setLinkGone(p, true)
	if p.state() == Alive { // one-way is what it is while it is heard
		s.transition(p, slot, Suspect, LocalLink, s.now)
		s.lookAt(p, slot, s.effective(p, p.failAt))
	}
}

// linkBack notes that the kernel takes heartbeats to p again: the deadline of a silent peer
// starts afresh, since nothing could be heard meanwhile. One that was heard has its own.
func (s *shard) linkBack(p *peer, slot uint32) {
	s.setLinkGone(p, false)
	if p.flags&flagLinkDown != 0 && !s.net.LinkDown(&p.addr) {
		p.flags &^= flagLinkDown // that is over as well: one wait serves both
	}
	if state := p.state(); state == Connecting || state == Suspect {
		s.startAfresh(p, slot)
	}
}

// linkUnusable reports whether the verdict on p must wait because the interface towards
// it is down, or was until now: then its deadlines start afresh.
func (s *shard) linkUnusable(p *peer, slot uint32) bool {
	down := s.net.LinkDown(&p.addr)
	switch {
	case down:
		p.flags |= flagLinkDown
		s.lookAt(p, slot, s.now.Add(s.period(p)))
	case p.flags&flagLinkDown != 0:
		p.flags &^= flagLinkDown
		s.startAfresh(p, slot)
	default:
		return false
	}
	return true
}

// startAfresh gives p its whole wait from now on.
func (s *shard) startAfresh(p *peer, slot uint32) {
	if p.state() == Connecting {
		s.connectBy(p, slot)
		return
	}
	grace := s.now.Add(s.granted(p, p.failAt))
	p.graceTo.Set(uint64(grace))
	s.lookAt(p, slot, grace)
}

// receiveErrors reads the socket's error queue: what the network returned of our own
// heartbeats.
func (s *shard) receiveErrors(socket int) {
	for range errorsPerTurn {
		e, ok := s.net.NextError(socket)
		if !ok {
			return
		}
		s.counters.errorsQueued.Add(1)
		if e.PortUnreachable && !s.passRefusal(&e) {
			s.refused(&e)
		}
	}
	s.unfinished = true
}

// errorsPerTurn bounds the reading of one socket's error queue.
const errorsPerTurn = 256

// refused handles a port unreachable that quotes one of our heartbeats: the peer's
// host is up and nothing listens there. It is evidence at once for tempFail, and for
// permFail if it comes again for a heartbeat sent after it, with nothing heard in between.
func (s *shard) refused(e *network.Returned) {
	h := &s.in
	slot := s.quotedSlot(h, e)
	if slot == noSlot {
		s.counters.errorsForeign.Add(1)
		return
	}
	p := s.table.peer(slot)
	switch state := p.state(); {
	case state == Failed || state == Left || state == Removed || state == Unknown:
	case p.arrival.Sub(clock.Instant(h.SendInstant)) > 0:
		// Heard since that heartbeat was sent: what refused it is no longer true.
	case p.flags&flagRefused == 0:
		p.flags |= flagRefused
		p.refusedSeq = uint32(p.sent.Get())
		if state != Suspect {
			s.transition(p, slot, Suspect, PortUnreachable, s.now)
			s.lookAt(p, slot, s.refusedDeadline(p))
		}
		s.send(p, slot, s.now)
	case int32(uint32(h.Sequence)-p.refusedSeq) > 0:
		s.transition(p, slot, Failed, PortUnreachable, s.now)
	}
}

// quotedAge is how many heartbeats back a returned one may be.
const quotedAge = 1024

// refusedDeadline is when a refused peer fails if the second refusal is lost: as late
// as silence would have it.
func (s *shard) refusedDeadline(p *peer) clock.Instant {
	if p.failAt == 0 || p.failAt == clock.Never {
		return s.now.Add(s.engine.cfg.ConnectTimeout)
	}
	return s.effective(p, p.failAt)
}

// quotedSlot decodes a returned heartbeat into h and returns the slot of the peer that it
// was for: by the peer's id, or, while that is not known, by its address. It returns noSlot
// unless what is quoted proves that the heartbeat is ours: of this incarnation, to where
// the peer is now, with a sequence not long ago. An answer to somebody who replays what the
// peer once sent went to him, so he can quote it, and say that it went to the peer.
func (s *shard) quotedSlot(h *wire.Header, e *network.Returned) uint32 {
	if !s.quotedOurs(e, h) {
		return noSlot
	}
	var slot uint32
	if h.Destination != 0 {
		slot = s.index.lookup(h.Destination)
	} else {
		slot = s.awaitedSlot(&e.Peer)
	}
	if slot == noSlot {
		return noSlot
	}
	p := s.table.peer(slot)
	switch {
	case e.Peer != p.addr:
	case h.SendInstant == int64(p.answeredAt):
	case h.Sequence > p.sent.Get() || p.sent.Get()-h.Sequence > quotedAge:
	default:
		return slot
	}
	return noSlot
}

// quotedOurs decodes a returned heartbeat into h and reports whether it claims to be of this
// incarnation of ours.
func (s *shard) quotedOurs(e *network.Returned, h *wire.Header) bool {
	return wire.DecodeQuoted(e.Quoted, h) == wire.OK && h.Sender == s.engine.id && h.Incarnation == s.incarnated
}

// awaitedSlot returns the slot of this shard's that waits at an address.
func (s *shard) awaitedSlot(addr *udp.Addr) uint32 {
	waits, answer := s.engine.awaited.lookup(*addr)
	if answer != somebodyAwaited || s.waiting(waits, addr) == nil {
		return noSlot
	}
	return waits.slot
}
