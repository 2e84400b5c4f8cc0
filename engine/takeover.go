package engine

import (
	"time"

	"systole/engine/clock"
	"systole/engine/internal/book"
	"systole/engine/internal/network"
	"systole/engine/internal/udp"
	"systole/wire"
)

// A session begins with a first contact, a restart, a process that follows another one at its
// address, or a peer that watches this node anew. Whoever begins one has proved to read what is
// sent to the peer: by its discriminator, or by an answer to an introduction that it returned.

// otherSession takes datagram j, which has the discriminator for p and is of another session.
func (s *shard) otherSession(p *peer, slot uint32, h *wire.Header, j int, arrival clock.Instant, socket int) {
	from := s.net.From(j)
	goodbye := h.Flags&wire.FlagLeaving != 0 // begins nothing; it may end what an answer began
	fresh := p.session.fresh(h, s.incarnated, p.sends.sequence.Get()) && (!goodbye || p.session.same(h) && p.session.stateless())
	switch {
	case fresh && p.session.yields(h, s.isAt(p, slot, from), s.silent(p) || s.isHome(p, slot, from)):
		s.takeOver(p, slot, h)
		s.heartbeat(p, slot, h, from, arrival)
	case p.session.isBuried(h):
		s.buriedHeard(p, slot)
	case p.session.same(h) && !goodbye && !s.leaving.active:
		// Another watch of the process, for which there is no peer here.
		s.letter.introduction = introduction{h: *h, from: *from, arrival: arrival, socket: uint8(socket), source: s.net.Source(j)}
		s.introduced(&s.letter.introduction)
	default:
		s.introduce(h, j, socket) // it proves too little to be of p
	}
}

// returnsAnswer takes an introduction that returned our answer and belongs to p.
func (s *shard) returnsAnswer(p *peer, slot uint32, in *introduction) {
	h := &in.h
	switch {
	case p.session.is(h):
		s.heartbeat(p, slot, h, &in.from, in.arrival)
	case h.EchoIncarnation == s.incarnated && s.isLate(p, h) && h.Flags&wire.FlagLeaving == 0 &&
		p.session.yields(h, s.isAt(p, slot, &in.from), s.silent(p) || s.isHome(p, slot, &in.from)):
		s.takeOver(p, slot, h)
		if p.path.socket == network.NoSocket {
			p.path.via(in.socket, in.source)
		}
		s.heartbeat(p, slot, h, &in.from, in.arrival)
	case h.Flags&wire.FlagLeaving != 0 || p.session.isBuried(h):
		s.counters.stale.Add(1)
	default:
		s.introduced(in) // another watch of the process, or a process that has to return a later answer
	}
}

// isLate reports whether the answer that h returns was written after all that was heard of p: a recording
// of another watch of its process returns an earlier one. The answer's sequence is the instant of its
// writing. Where two begin at once, each may have written its own before it had the other's: then it lies in
// the session of that.
func (s *shard) isLate(p *peer, h *wire.Header) bool {
	written, after := clock.Instant(h.EchoSequence), p.session.since
	if begins := p.touches() && p.session.same(h) && p.session.stateless(); p.deadline.heard && !begins {
		after = max(after, p.deadline.from)
	}
	return written >= after && written <= s.now
}

// silent reports whether nothing is heard of p's process, so that another one may be p. Two periods
// of silence say so as well to a process that has proved to be where p was.
func (s *shard) silent(p *peer) bool {
	state := p.verdict.state()
	return state != Alive && state != OneWay || s.now.Sub(p.deadline.from) > 2*p.pace.theirs()+p.path.roundTrip()+s.grid
}

// touches reports whether p is heard, as far as this node believes.
func (p *peer) touches() bool {
	state := p.verdict.state()
	return state == Alive || state == OneWay
}

// takeOver begins the session of h. What was learned of another process' arrivals says nothing of it.
func (s *shard) takeOver(p *peer, slot uint32, h *wire.Header) {
	state, same := p.verdict.state(), p.session.same(h)
	cause := Restarted
	switch {
	case same:
		cause = ReachableAgain
	case p.session.incarnation.Get() == 0:
		cause = FirstContact
	}
	if p.path.fault.ofID() {
		s.setFault(p, NoCause) // it is not, after all
	}
	s.forget(slot)
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
}

// answerWait is for how long a peer may be silent of which only answers without state are heard: it has
// what a first contact has, and speaks as often as we do.
func (s *shard) answerWait(p *peer) time.Duration {
	return max(s.engine.cfg.ConnectTimeout, 3*time.Duration(p.pace.period))
}

// addStranger makes a stranger the peer of the slot that it gets.
func (s *shard) addStranger(l *letter) {
	s.add(l.slot, l.generation, &watch{
		addr: l.from, id: l.h.Sender, class: strangerClass, admit: true, socket: l.socket, source: l.source,
	})
}

// buriedHeard tells once that a peer is heard whose failure is final, and tells the peer so.
func (s *shard) buriedHeard(p *peer, slot uint32) {
	s.counters.stale.Add(1)
	if p.session.tell() {
		s.transition(p, slot, Failed, BuriedHeard, s.now)
	}
	p.pace.earn()
	p.pace.ask()
	s.ahead(p, slot)
}

// fromElsewhere handles a new heartbeat of p's from another address than that which is written to. That
// one is tried by a heartbeat with a discriminator of its own, which makes it the first of another watch
// of p's process: it is answered, and the answer returns what only who reads there can know. So somebody
// who copies heartbeats moves nobody, and has no more sent than he copies.
func (s *shard) fromElsewhere(p *peer, slot uint32, from *udp.Addr) {
	socket := s.net.SocketFor(from, p.path.source)
	if socket == network.NoSocket || !p.pace.mayPay() {
		return
	}
	s.fill(&s.out, p, s.now)
	s.out.MyDiscriminator = p.path.try(from, s.discriminator(slot))
	s.out.Sequence = max(p.sends.sequence.Get(), 1) // the next one is the first after it, whoever takes it for what
	p.pace.pay()
	s.put(&s.out, p.session.id.Get(), from, int(socket), p.path.source, 0)
}

// movesTo moves the peer of which an introduction answers the trial of another address. It reports false
// if it answers none.
func (s *shard) movesTo(h *wire.Header, from *udp.Addr) bool {
	slot := wire.Slot(h.YourDiscriminator)
	if slot == 0 || slot >= s.table.slots.Load() || s.engine.shardOf(slot) != s.number {
		return false
	}
	p := s.table.peer(slot)
	if p.session.mine == 0 || !p.path.answered(from, h.YourDiscriminator) || !p.session.same(h) {
		return false
	}
	if !p.pace.admitted {
		s.leaveHome(p, slot)
	} else if e := p.entry(slot); !s.engine.book.Move(s.place(p, slot), book.Place{Addr: *from, ID: p.session.id.Get()}, e) {
		return true // its next answer finds the book free
	}
	if wire.Slot(h.MyDiscriminator) != 0 {
		p.session.rename(h.YourDiscriminator) // it has taken the trial for our session
	}
	p.path.place(from)
	s.reroute(p, slot)
	s.counters.moved.Add(1)
	return true
}

// A peer that was added by address is at home there, and so is one by name where that points. Who has
// moved is elsewhere; the few that have are in shard.homes.

// home returns where the configuration has p, or where a stranger is.
func (s *shard) home(p *peer, slot uint32) udp.Addr {
	if p.path.moved {
		return s.homes[slot]
	}
	return p.path.addr()
}

// leaveHome notes that p is about to move.
func (s *shard) leaveHome(p *peer, slot uint32) {
	if s.homes == nil {
		s.homes = make(map[uint32]udp.Addr)
	}
	s.homes[slot] = s.home(p, slot)
	p.path.leave(true)
}

// goHome returns to where the configuration has p, which is silent where it is.
func (s *shard) goHome(p *peer, slot uint32) {
	if p.path.moved {
		home := s.homes[slot]
		s.resides(p, slot, &home)
		s.reroute(p, slot)
	}
}

// resides makes an address p's home.
func (s *shard) resides(p *peer, slot uint32, at *udp.Addr) {
	delete(s.homes, slot)
	p.path.leave(false)
	p.path.place(at)
}

// isAt reports whether heartbeats to p go to an address, or the configuration has p there.
func (s *shard) isAt(p *peer, slot uint32, a *udp.Addr) bool {
	return *a == p.path.addr() || *a == s.home(p, slot)
}

// isHome reports whether p has moved away from an address.
func (s *shard) isHome(p *peer, slot uint32, a *udp.Addr) bool {
	return p.path.moved && *a == s.homes[slot]
}
