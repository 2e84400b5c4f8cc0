package engine

import (
	"systole/engine/clock"
	"systole/engine/internal/network"
)

// A fault of this host accuses no peer: a send that the kernel refuses, an interface without
// a carrier. It has a cause of its own, and the peer is not judged meanwhile.

// ourSides are the causes of refused sends that are faults of this host.
var ourSides = [...]Cause{
	network.NoBuffer: LocalNoBuffer, network.NoRoute: LocalNoRoute, network.Unreachable: LocalUnreachable,
	network.NoAddress: LocalAddress, network.LinkFailed: LocalLink, network.NotPermitted: LocalNotPermitted,
	network.Prohibited: LocalProhibited, network.TooBig: LocalTooBig, network.Refused: LocalRefused,
	network.Foreign: NoCause,
}

// ourSide returns the cause of a refused send that is a fault of this host, otherwise NoCause.
func ourSide(why network.Refusal) Cause { return ourSides[min(why, network.Foreign)] }

// setFault sets why this host cannot send to p, NoCause if it can.
func (s *shard) setFault(p *peer, why Cause) (changed bool) {
	if p.path.fault != NoCause {
		s.linksGone--
	}
	if why != NoCause {
		s.linksGone++
	}
	return p.path.refuse(why)
}

// sendFailed handles a heartbeat to p that the kernel refused. A full buffer empties by itself: it
// is a fault only if nothing was sent to p for as long as p may be silent, because p may then have
// had nothing to answer.
func (s *shard) sendFailed(p *peer, slot uint32, refusal network.Refusal) {
	p.counts.miss(1)
	p.sends.refused(s.now)
	p.pace.earn(0) // what was not sent costs nothing
	why := ourSide(refusal)
	if p.pace.admitted && p.path.source != network.AnySource && (why == LocalRefused || why == LocalAddress) {
		s.at = p.path.addr() // the local address that p wrote to is gone
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

// tellFault publishes why this host cannot send to p. A peer that is heard becomes one-way elsewhere.
func (s *shard) tellFault(p *peer, slot uint32, why Cause) {
	switch p.verdict.state() {
	case Connecting:
		s.transition(p, slot, Connecting, why, s.now)
	case Alive:
		if why == LocalNoBuffer {
			return // p's next heartbeat, or its silence, shows the effect
		}
		s.transition(p, slot, Suspect, why, s.now)
		s.checkAt(p, slot, s.effective(p, p.deadline.failAt))
	}
}

// reroute chooses the socket for p's address by the present routes.
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
		s.clearFault(p, slot) // it may be over
	}
}

// comesBack handles a heartbeat of ours to a peer that this node has received: the address is its own.
// If the peer has been heard, the heartbeat was only replayed.
func (s *shard) comesBack(l *letter) {
	p := s.peerOf(l.h.MyDiscriminator)
	if p == nil || p.verdict.state() != Connecting || !p.path.isAt(&l.from) ||
		!p.sends.is(l.h.Sequence, clock.Instant(l.h.SendInstant)) {
		return
	}
	if s.setFault(p, OwnNode) {
		s.tellFault(p, l.slot, OwnNode)
	}
}

// linkBack handles a heartbeat to p that the kernel took.
func (s *shard) linkBack(p *peer, slot uint32) {
	if !p.path.fault.ofID() { // the kernel has no part in that fault
		s.clearFault(p, slot)
	}
}

// clearFault ends a fault. The deadline of a silent peer restarts, since the peer could not be heard
// meanwhile; a peer that was heard has a deadline of its own.
func (s *shard) clearFault(p *peer, slot uint32) {
	s.setFault(p, NoCause)
	if state := p.verdict.state(); state != Connecting && state != Suspect {
		return
	}
	if p.path.linkDown && s.linkUnusable(p, slot) {
		return // which restarts the deadline as soon as the link is back
	}
	s.restartDeadline(p, slot)
}

// linkDown reports whether the interface towards p is down, or there is no route.
func (s *shard) linkDown(p *peer) bool {
	s.at = p.path.addr()
	return s.net.LinkDown(&s.at) || s.net.DeviceDown(p.path.source)
}

// linkUnusable reports whether the verdict on p must wait because the interface towards p is
// down, or was until now: then p's deadline restarts.
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
		s.restartDeadline(p, slot)
	}
	return down || was
}

// restartDeadline grants p the whole wait from now on.
func (s *shard) restartDeadline(p *peer, slot uint32) {
	if p.verdict.state() == Connecting {
		s.connectBy(p, slot)
		return
	}
	grace := s.now.Add(p.deadline.wait(p.deadline.failAt))
	p.deadline.forgive(grace)
	s.checkAt(p, slot, grace)
}

// returned handles a port unreachable that quotes a heartbeat of ours, which this shard has sent if
// any did: the peer's host is up and has no socket there. That is evidence for tempFail at once. It
// is evidence for permFail if another one quotes a heartbeat sent a round trip and a period of the
// peer's later, with nothing heard in between: a firewall may refuse for a process that lives.
func (s *shard) returned(l *letter) {
	p := s.peerOf(l.h.MyDiscriminator)
	sent := clock.Instant(l.h.SendInstant)
	if p == nil || !p.path.isAt(&l.from) || !p.sends.is(l.h.Sequence, sent) {
		s.counters.errorsForeign.Add(1)
		return
	}
	s.readBelow(p, l.slot, s.now)
	state := p.verdict.state()
	if state == Failed || state == Left || p.deadline.heard && p.deadline.from >= sent {
		return // the peer was heard after that heartbeat was sent
	}
	later, again := p.deadline.refuse(sent)
	switch {
	case !again && state != Suspect:
		s.transition(p, l.slot, Suspect, PortUnreachable, s.now)
		// If the second refusal is lost, the peer fails as late as by silence.
		failAt := s.now.Add(s.engine.cfg.ConnectTimeout)
		if at := p.deadline.failAt; at != 0 && at != clock.Never {
			failAt = s.effective(p, at)
		}
		s.checkAt(p, l.slot, failAt)
	case again && later >= p.path.roundTrip()+p.pace.theirs()-s.grid:
		s.transition(p, l.slot, Failed, PortUnreachable, s.now)
	}
}
