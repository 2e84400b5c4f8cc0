package engine

import (
	"systole/engine/clock"
	"systole/engine/internal/book"
	"systole/engine/internal/network"
	"systole/wire"
)

// A peer moves to another address only after that address has answered a trial: a heartbeat with
// a discriminator that is sent there and nowhere else. A configured peer that has moved keeps its
// home, the address that the configuration or its name gives. Few peers are away from home, so
// their homes are kept in shard.homes and not in the peer.

// home is the home of a peer that is away.
type home struct {
	addr network.Addr
	left clock.Instant // when the peer moved away
}

// fromElsewhere sends a trial to the address from which a heartbeat of p's session came. The peer
// takes the trial for the first heartbeat of another watch and answers it; the answer returns the
// discriminator. Somebody who relays heartbeats therefore moves no peer, and causes no more
// datagrams than he relays.
func (s *shard) fromElsewhere(p *peer, slot uint32, from *network.Addr) {
	socket := s.net.SocketFor(from, p.path.source)
	if socket == network.NoSocket || !p.pace.mayPay() {
		return
	}
	s.fill(&s.out, p, s.now)
	s.out.MyDiscriminator = p.path.try(from, s.discriminator(slot))
	s.out.Sequence = max(p.sends.sequence.Get(), 1) // so that p's next heartbeat is the first after the trial
	p.pace.pay()
	s.put(&s.out, nil, p.session.id.Get(), from, int(socket), p.path.source, 0)
}

// movesTo moves a peer if h answers its trial of the address from. It reports whether h does.
func (s *shard) movesTo(h *wire.Header, from *network.Addr) bool {
	slot := wire.Slot(h.YourDiscriminator)
	if slot == 0 || slot >= s.table.slots.Load() || s.engine.shardOf(slot) != s.number {
		return false
	}
	p := s.table.peer(slot)
	if p.session.mine == 0 || !p.path.answered(from, h.YourDiscriminator) || !p.session.same(h) {
		return false
	}
	to := book.Place{Addr: *from, ID: p.session.id.Get()}
	if p.pace.admitted && !s.engine.book.Move(s.place(p, slot), to, p.entry(slot)) {
		return true // the book is in use; the next answer will do
	}
	if wire.Slot(h.MyDiscriminator) != 0 {
		s.unwatchBelow(p, slot)
		p.session.rename(h.YourDiscriminator) // the peer has taken the trial for our session
	}
	if p.pace.admitted || s.isHome(p, slot, from) {
		s.resides(p, slot, from)
	} else {
		s.leaveHome(p, slot)
		p.path.place(from)
	}
	s.reroute(p, slot)
	s.counters.moved.Add(1)
	return true
}

// home returns the address that the configuration or its name gives p; for a stranger, its address.
func (s *shard) home(p *peer, slot uint32) network.Addr {
	if p.path.moved {
		return s.homes[slot].addr
	}
	return p.path.addr()
}

// leaveHome records p's home before p moves, unless p is away already.
func (s *shard) leaveHome(p *peer, slot uint32) {
	if p.path.moved {
		return
	}
	if s.homes == nil {
		s.homes = make(map[uint32]home)
	}
	s.homes[slot] = home{p.path.addr(), s.now}
	p.path.leave(true)
}

// goHome moves p back home.
func (s *shard) goHome(p *peer, slot uint32) {
	if p.path.moved {
		home := s.homes[slot].addr
		s.resides(p, slot, &home)
		s.reroute(p, slot)
	}
}

// resides makes an address p's home and moves p there.
func (s *shard) resides(p *peer, slot uint32, at *network.Addr) {
	delete(s.homes, slot)
	p.path.leave(false)
	p.path.place(at)
}

// isHome reports whether an address is the home that p is away from.
func (s *shard) isHome(p *peer, slot uint32, a *network.Addr) bool {
	return p.path.moved && *a == s.homes[slot].addr
}
