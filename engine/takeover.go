package engine

import (
	"time"

	"systole/engine/clock"
	"systole/engine/internal/network"
	"systole/wire"
)

// A new session of a peer begins with a first contact, a restart, another process at the peer's
// address, or a process that watches this node anew. It takes a proof that the process reads what
// is sent to the peer: our discriminator for the peer, or a returned cookie.

// otherSession handles datagram j, which has our discriminator for p and is not of p's session.
func (s *shard) otherSession(p *peer, slot uint32, h *wire.Header, j int, arrival clock.Instant, socket int) {
	in := s.introduction(h, j, socket, arrival)
	switch {
	case s.isFresh(p, h) && !s.isBeforeGoodbye(p, slot, h) && s.yields(p, slot, in):
		s.takeOver(p, slot, in)
	case s.isBuried(p, h):
		s.heardBuried(p, slot)
	case p.session.same(h) && h.Flags&wire.FlagLeaving == 0 && !s.leaving.active:
		s.answerTo(in) // another watch of the same process, which no peer here corresponds to
	default:
		s.introduced(in)
	}
}

// returnsAnswer handles an introduction that returned its cookie and belongs to p.
func (s *shard) returnsAnswer(p *peer, slot uint32, in *introduction) {
	h := &in.h
	goodbye := h.Flags&wire.FlagLeaving != 0
	switch {
	case p.session.is(h):
		s.heartbeat(p, slot, h, nil, &in.from, in.arrival)
	case h.EchoIncarnation == s.incarnated && !goodbye && s.isRecent(p, slot, in) && s.yields(p, slot, in):
		if s.replacesAtHome(p, slot, in) {
			s.goHome(p, slot)
			s.unwatchBelow(p, slot)
			p.session.part(s.discriminator(slot)) // the process elsewhere knows the former one
		}
		if p.path.socket == network.NoSocket {
			p.path.via(in.socket, in.source)
		}
		s.takeOver(p, slot, in)
	case goodbye || s.isBuried(p, h):
		s.counters.stale.Add(1)
	default:
		s.answerTo(in) // another watch of the same process, or a later answer has to be returned
	}
}

// isFresh reports whether h echoes a later heartbeat of ours than any datagram before it: a recording
// does not. A goodbye begins no session, but may end a stateless one.
func (s *shard) isFresh(p *peer, h *wire.Header) bool {
	if h.Flags&wire.FlagLeaving != 0 && (!p.session.same(h) || !p.session.stateless()) {
		return false
	}
	return h.EchoIncarnation == s.incarnated && h.EchoSequence > p.session.echoed && h.EchoSequence <= p.sends.sequence.Get()
}

// isBeforeGoodbye reports whether h was sent before the goodbye of its process: then it is late, and
// the process has left. Both instants are of the process's clock.
func (s *shard) isBeforeGoodbye(p *peer, slot uint32, h *wire.Header) bool {
	if p.verdict.state() != Left || !p.session.same(h) {
		return false
	}
	goodbye := clock.Instant(p.session.highest()) // of an answer: its sequence is an instant
	if !p.session.stateless() {
		goodbye = s.table.newest(slot).Send
	}
	return clock.Instant(h.SendInstant) <= goodbye
}

// replacesAtHome reports whether an introduction is of another process than p's session and came from the
// home that p is away from. That process is then the peer, although the other one is heard elsewhere.
func (s *shard) replacesAtHome(p *peer, slot uint32, in *introduction) bool {
	return !p.session.same(&in.h) && s.isHome(p, slot, &in.from)
}

// yields reports whether the session of an introduction may replace p's session: that one never began,
// is silent or stateless, is of a process that has restarted, or of one that another replaces at home. A
// process with another id must also write from an address of the peer. Otherwise an attacker who relays our
// heartbeats to a third process could put that process in the peer's place.
func (s *shard) yields(p *peer, slot uint32, in *introduction) bool {
	n, h, atHome := &p.session, &in.h, s.replacesAtHome(p, slot, in)
	id := n.id.Get()
	switch {
	case s.isBuried(p, h) || h.Sender != id && (n.pinned || id != 0 && !atHome && !p.path.isAt(&in.from)):
		return false
	case n.theirs.Get() == 0 || atHome || s.silent(p):
		return true
	}
	return h.Sender == id && (h.Incarnation > n.incarnation.Get() || n.same(h) && n.stateless())
}

// isRecent reports whether the answer that an introduction returns was written after everything that was
// heard of p. The answer's sequence is the instant of its writing. A recording of another watch of the
// same process returns an earlier answer. When both nodes begin at once, each may answer before it
// hears the other: then the answer may be as old as the session.
//
// From another process at p's home, the answer need only be written after p moved away, because p may be
// heard elsewhere more often than an answer takes to be returned. A recording begins no second session,
// because an answer is older than the session that its return began.
func (s *shard) isRecent(p *peer, slot uint32, in *introduction) bool {
	h := &in.h
	written, after := clock.Instant(h.EchoSequence), p.session.since
	bothBegin := p.isHeard() && p.session.same(h) && p.session.stateless()
	switch {
	case s.replacesAtHome(p, slot, in):
		after = max(after, s.homes[slot].left)
	case p.deadline.heard && !bothBegin:
		after = max(after, p.deadline.from)
	}
	return written >= after && written <= s.now
}

// silent reports whether p's process has been silent for so long that another process may take its
// place. Two periods are enough: the other process has proved that it is at p's address.
func (s *shard) silent(p *peer) bool {
	return !p.isHeard() || s.now.Sub(p.deadline.from) > 2*p.pace.theirs()+p.path.roundTrip()+s.grid
}

// isHeard reports whether p is alive or one-way.
func (p *peer) isHeard() bool {
	state := p.verdict.state()
	return state == Alive || state == OneWay
}

// takeOver begins the session of an introduction, which is its first heartbeat, and forgets what was learned
// from another process's arrivals.
func (s *shard) takeOver(p *peer, slot uint32, in *introduction) {
	h := &in.h
	state, same := p.verdict.state(), p.session.same(h)
	cause := Restarted
	switch {
	case same:
		cause = ReachableAgain
	case p.session.incarnation.Get() == 0:
		cause = FirstContact
	}
	if p.path.fault.ofID() {
		s.setFault(p, NoCause) // another node answers now
	}
	s.forget(slot)
	s.unwatchBelow(p, slot)
	p.session.take(h, p.counts.lostIn.Get(), s.now)
	if !same {
		p.path.renew()
	}
	wait := s.answerWait(p)
	p.deadline.set(s.now, s.now.Add(wait), s.now.Add(2*wait), false, s.pause.total, s.drops)
	p.pace.handshake()
	s.engine.sessions.Add(1)
	if !same || state != Alive {
		s.transition(p, slot, Alive, cause, s.now)
	}
	s.heartbeat(p, slot, h, nil, &in.from, in.arrival)
}

// answerWait is how long a peer with a stateless session may be silent: the connect timeout, as
// before the first contact, or three of our periods, since it writes only when it is written to.
func (s *shard) answerWait(p *peer) time.Duration {
	return max(s.engine.cfg.ConnectTimeout, 3*time.Duration(p.pace.period))
}

// isBuried reports whether h comes from an incarnation of p whose failure is final.
func (s *shard) isBuried(p *peer, h *wire.Header) bool {
	return p.verdict.state() == Failed && s.engine.cfg.Final && p.session.same(h)
}

// heardBuried handles a heartbeat of an incarnation whose failure is final: it is published once,
// and the peer is told by our next heartbeat.
func (s *shard) heardBuried(p *peer, slot uint32) {
	s.counters.stale.Add(1)
	if p.verdict.cause() != BuriedHeard {
		s.transition(p, slot, Failed, BuriedHeard, s.now)
	}
	p.pace.earn(0)
	p.pace.ask()
	s.ahead(p, slot)
}
