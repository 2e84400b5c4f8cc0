package engine

import (
	"golang.org/x/sys/unix"

	"systole/engine/clock"
	"systole/engine/internal/network"
	"systole/engine/internal/udp"
)

// What this node's own side refuses accuses nobody: a send that the kernel does not take, an
// interface without a carrier. It has a cause of its own, and the peer is not judged meanwhile.

// ourSide returns what a send error says of this node, NoCause if it says nothing.
func ourSide(errno unix.Errno) Cause {
	switch errno {
	case unix.ENETUNREACH:
		return LocalNoRoute
	case unix.EHOSTUNREACH:
		return LocalUnreachable
	case unix.EADDRNOTAVAIL:
		return LocalAddress
	case unix.ENETDOWN, unix.ENODEV, unix.ENXIO, unix.ENONET:
		return LocalLink
	case unix.EPERM:
		return LocalNotPermitted
	case unix.EACCES:
		return LocalProhibited
	case unix.EMSGSIZE:
		return LocalTooBig
	case unix.ENOBUFS, unix.ENOMEM, unix.EAGAIN:
		return LocalNoBuffer
	}
	if udp.LocalFault(errno) {
		return LocalRefused
	}
	return NoCause
}

// setFault notes why our side has no way to p; NoCause: it has one.
func (s *shard) setFault(p *peer, why Cause) (changed bool) {
	was := p.path.fault != NoCause
	changed = p.path.refuse(why)
	switch is := why != NoCause; {
	case is && !was:
		s.linksGone++
	case was && !is:
		s.linksGone--
	}
	return changed
}

// sendFailed notes that the kernel did not take a heartbeat to p. A full buffer passes by itself: it
// is a fault only if nothing was sent to p for as long as p may be silent, for then p may have
// nothing to answer.
func (s *shard) sendFailed(p *peer, slot uint32, errno unix.Errno) {
	p.counts.miss(1)
	p.sends.refused(s.now)
	p.pace.earn() // what was not sent costs nothing
	why := ourSide(errno)
	if p.pace.admitted && p.path.source != network.AnySource && (why == LocalRefused || why == LocalAddress) {
		s.at = p.path.addr() // the address that it came to is none of ours any more
		p.path.via(s.net.SocketFor(&s.at, network.AnySource), network.AnySource)
		return
	}
	last := clock.Instant(p.sends.last.Get())
	if why == NoCause || why == LocalNoBuffer && last != 0 && s.now.Sub(last) < p.deadline.wait(p.deadline.suspectAt) {
		return
	}
	if s.setFault(p, why) {
		s.tellFault(p, slot, why)
	}
}

// tellFault publishes why our side has no way to p. One-way is what p is while it is heard.
func (s *shard) tellFault(p *peer, slot uint32, why Cause) {
	switch p.verdict.state() {
	case Connecting:
		s.transition(p, slot, Connecting, why, s.now)
	case Alive:
		if why == LocalNoBuffer {
			return // what p's next heartbeat says, or its silence, comes of it
		}
		s.transition(p, slot, Suspect, why, s.now)
		s.checkAt(p, slot, s.effective(p, p.deadline.failAt))
	}
}

// reroute chooses the socket for p's address anew, as the routes have it now.
func (s *shard) reroute(p *peer, slot uint32) {
	s.at = p.path.addr()
	p.path.via(s.net.SocketFor(&s.at, p.path.source), p.path.source)
	p.path.asOf(s.net.Epoch())
	switch {
	case p.path.socket == network.NoSocket:
		if s.setFault(p, NoSocket) {
			s.tellFault(p, slot, NoSocket)
		}
	case p.path.fault != NoCause:
		s.wayBack(p, slot) // there may be one now
	}
}

// comesBack handles a heartbeat to a peer that this node itself has read: the address is its own. Of a
// peer that is heard, or was, somebody has only played it back.
func (s *shard) comesBack(l *letter) {
	p := s.peerOf(l.h.MyDiscriminator)
	if p == nil || p.verdict.state() != Connecting || l.from != p.path.addr() ||
		!p.sends.is(l.h.Sequence, clock.Instant(l.h.SendInstant)) {
		return
	}
	if s.setFault(p, OwnNode) {
		s.tellFault(p, l.slot, OwnNode)
	}
}

// linkBack notes that the kernel takes heartbeats to p again.
func (s *shard) linkBack(p *peer, slot uint32) {
	if !p.path.fault.ofID() { // which is not the kernel's
		s.wayBack(p, slot)
	}
}

// wayBack notes that there is a way to p again: the deadline of a silent peer starts afresh, since
// nothing could be heard meanwhile. One that was heard has its own.
func (s *shard) wayBack(p *peer, slot uint32) {
	s.setFault(p, NoCause)
	if p.path.linkDown && !s.linkDown(p) {
		p.path.down(false) // that is over as well: one wait serves both
	}
	if state := p.verdict.state(); state == Connecting || state == Suspect {
		s.startAfresh(p, slot)
	}
}

// linkDown reports whether there is no way out to p.
func (s *shard) linkDown(p *peer) bool {
	s.at = p.path.addr()
	return s.net.LinkDown(&s.at) || s.net.DeviceDown(p.path.source)
}

// linkUnusable reports whether the verdict on p must wait because the interface towards
// it is down, or was until now: then its deadlines start afresh.
func (s *shard) linkUnusable(p *peer, slot uint32) bool {
	down := s.linkDown(p)
	was := p.path.down(down)
	switch {
	case down:
		s.checkAt(p, slot, s.now.Add(p.pace.theirs()))
		if !was && p.verdict.state() == Connecting {
			s.transition(p, slot, Connecting, LocalLink, s.now)
		}
	case was:
		s.startAfresh(p, slot)
	}
	return down || was
}

// startAfresh gives p its whole wait from now on.
func (s *shard) startAfresh(p *peer, slot uint32) {
	if p.verdict.state() == Connecting {
		s.connectBy(p, slot)
		return
	}
	grace := s.now.Add(p.deadline.wait(p.deadline.failAt))
	p.deadline.forgive(grace)
	s.checkAt(p, slot, grace)
}

// returned handles a port unreachable that quotes a heartbeat of ours, which this shard has sent if
// it sent it at all: the peer's host is up and nothing listens there. It is evidence at once for
// tempFail. It is evidence for permFail if it comes again for a heartbeat sent a round trip and a
// period of the peer's later, with nothing heard in between: a firewall may refuse for a process that lives.
func (s *shard) returned(l *letter) {
	p := s.peerOf(l.h.MyDiscriminator)
	sent := clock.Instant(l.h.SendInstant)
	if p == nil || l.from != p.path.addr() || !p.sends.is(l.h.Sequence, sent) {
		s.counters.errorsForeign.Add(1)
		return
	}
	state := p.verdict.state()
	if state == Failed || state == Left || p.deadline.heard && p.deadline.from >= sent {
		return // heard since that heartbeat was sent: what refused it is no longer true
	}
	later, again := p.deadline.refuse(sent)
	switch {
	case !again && state != Suspect:
		s.transition(p, l.slot, Suspect, PortUnreachable, s.now)
		s.checkAt(p, l.slot, s.refusedDeadline(p))
	case again && later >= p.path.roundTrip()+p.pace.theirs()-s.grid:
		s.transition(p, l.slot, Failed, PortUnreachable, s.now)
	}
}

// refusedDeadline is when a refused peer fails if the second refusal is lost: as late
// as silence would have it.
func (s *shard) refusedDeadline(p *peer) clock.Instant {
	if at := p.deadline.failAt; at != 0 && at != clock.Never {
		return s.effective(p, at)
	}
	return s.now.Add(s.engine.cfg.ConnectTimeout)
}
