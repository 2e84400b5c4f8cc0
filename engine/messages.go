// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"systole/engine/clock"
	"systole/wire"
)

// followCarriers loads the carriers that Carry and Close have changed.
func (s *shard) followCarriers() { s.carriers = *s.engine.carriers.Load() }

// carrierOf returns the carrier of a message type, nil if there is none.
func (s *shard) carrierOf(messageType uint16) *Carrier {
	for _, c := range s.carriers {
		if c.messageType == messageType {
			return c
		}
	}
	return nil
}

// compose returns the message section of the next heartbeat to p. A process that has not proved to hear
// us gets none. A stranger gets what its own messages have paid for; so that no carrier takes it all,
// each heartbeat begins with another carrier.
func (s *shard) compose(p *peer, slot uint32) []byte {
	n := len(s.carriers)
	if n == 0 || p.session.stateless() {
		return nil
	}
	section, room := s.section[:0], p.pace.room(MaxRoom)
	first := int(p.sends.next() % uint64(n))
	for k := range n {
		c := s.carriers[(first+k)%n]
		size, ok := c.out.body(slot, p.verdict.generation(), &s.body)
		if !ok || len(section)+wire.MessageHeaderSize+size > room {
			continue
		}
		body := s.value[:size]
		unpackBody(body, s.body[1:])
		section, _ = wire.AppendMessage(section, c.messageType, body)
	}
	return section
}

// handOn passes the messages of a heartbeat of p's session, which is later than any before, to their
// carriers. It passes none of a heartbeat that was held back on its path or was meant for an earlier
// incarnation of this node: the message may no longer hold.
func (s *shard) handOn(p *peer, slot uint32, h *wire.Header, section []byte, arrival clock.Instant) {
	if p.session.stateless() || p.deadline.held || h.EchoIncarnation != s.incarnated {
		return
	}
	rec := &s.message
	rec[messageIncarnation], rec[messageSequence], rec[messageArrival] = h.Incarnation, h.Sequence, uint64(arrival)
	for kind, value, rest, ok := wire.CutMessage(section); ok; kind, value, rest, ok = wire.CutMessage(rest) {
		c := s.carrierOf(kind)
		switch {
		case c == nil:
			s.counters.unknownMessages.Add(1)
		case len(value) > c.room:
			s.counters.longMessages.Add(1)
		default:
			rec[messagePeer] = uint64(p.verdict.generation())<<32 | uint64(len(value))
			packBody(rec[messageBody:], value)
			c.in.put(slot, rec)
		}
	}
}

// push sends p a heartbeat at once, or, if the last one was sent too recently, as soon as the gap
// between both allows. Peers that failed or left are only probed.
func (s *shard) push(p *peer, slot uint32) {
	if state := p.verdict.state(); state == Failed || state == Left {
		return
	}
	p.pace.ask()
	s.ahead(p, slot)
	at := clock.Instant(p.sends.last.Get()).Add(p.pace.gap(s.grid))
	if p.pace.now && at < p.pace.nextSend {
		s.wheel.Set(sendTimer(slot), at) // see sendDue
	}
}
