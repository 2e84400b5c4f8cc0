// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"time"

	"systole/engine/clock"
	"systole/engine/internal/network"
	"systole/wire"
)

// sendDue writes the heartbeat that p's schedule asks for and schedules the next one. Heartbeats
// that became due during an own pause are skipped and counted: a burst of late ones would tell
// the peer nothing.
func (s *shard) sendDue(p *peer, slot uint32) {
	due := p.pace.nextSend
	if s.now < due { // a heartbeat that Push asked for had to wait
		s.ahead(p, slot)
		s.wheel.Set(sendTimer(slot), due)
		return
	}
	if planned := s.engine.periods[p.path.class].Load(); planned != 0 && uint32(planned/1000) != p.pace.wanted && p.pace.planned {
		p.pace.want(planned, s.grid)
	}
	interval := s.interval(p)
	next := due.Add(interval)
	if next <= s.now {
		skipped := int64(s.now-due) / int64(interval)
		next = due.Add(time.Duration(skipped) * interval)
		due = next
		next = next.Add(interval)
		p.counts.miss(uint64(skipped))
		s.counters.missed.Add(uint64(skipped))
	}
	p.pace.at(next)
	s.wheel.Set(sendTimer(slot), next)
	s.readBelow(p, slot, s.now) // for the echo, and before a fault is forgotten that it is judged by
	if epoch := s.net.Epoch(); uint16(epoch) != p.path.epoch && (!p.isHeard() || p.path.fault != NoCause) && !p.pace.admitted {
		s.reroute(p, slot)
	}
	if s.mayProbe(p) {
		s.send(p, slot, due)
	}
}

// interval is the time between two heartbeats to p. Peers that failed or left are probed slowly,
// because they may come back.
func (s *shard) interval(p *peer) time.Duration {
	if state := p.verdict.state(); state == Failed || state == Left {
		return max(time.Duration(p.pace.period), onGrid(probePeriod, s.grid))
	}
	return time.Duration(p.pace.period)
}

// probePeriod is how often a peer that failed or left is probed, at most.
const probePeriod = 250 * time.Millisecond

// mayProbe reports whether the schedule may send to p. A stranger gets no more than it sends, and
// nothing once it failed or left.
func (s *shard) mayProbe(p *peer) bool {
	if !p.pace.admitted {
		return true
	}
	state := p.verdict.state()
	return state != Failed && state != Left && p.pace.maySchedule(p.sends.next())
}

// ahead sends a heartbeat ahead of the schedule if one is asked for: at most one per gap, except
// during the handshake of a new session.
func (s *shard) ahead(p *peer, slot uint32) {
	since := s.now.Sub(clock.Instant(p.sends.last.Get()))
	if p.pace.now && p.pace.mayPay() && p.pace.mayAhead(since, p.pace.gap(s.grid)) {
		s.send(p, slot, s.now)
	}
}

// send writes one heartbeat to p, due at the instant due. A suspect that is away from home may be back
// there, so every other heartbeat goes home.
func (s *shard) send(p *peer, slot uint32, due clock.Instant) {
	s.at = p.path.addr()
	if p.path.moved && p.verdict.state() == Suspect && p.sends.next()%2 == 0 {
		s.at = s.home(p, slot)
	}
	s.sendTo(p, slot, due, &s.at)
}

// sendTo writes one heartbeat to p at an address.
func (s *shard) sendTo(p *peer, slot uint32, due clock.Instant, at *network.Addr) {
	if at.IsZero() || p.path.socket == network.NoSocket {
		return
	}
	s.fill(&s.out, p, due)
	s.handOffBelow(p, slot)
	s.followUp(&s.out, slot)
	messages := s.compose(p, slot)
	if !s.put(&s.out, messages, p.session.id.Get(), at, int(p.path.socket), p.path.source, slot) {
		return
	}
	p.pace.wrote(s.out.Sequence, len(messages))
	p.sends.wrote(s.now)
	if p.deadline.timerAt == 0 && p.verdict.state() == Connecting {
		s.connectBy(p, slot)
	}
}

// put appends a datagram with a message section to the batch of a socket. to is the receiver's id, 0
// while unknown. A refusal by the kernel is handled for the peer in slot, 0 for none. put reports false
// if the datagram cannot be signed.
func (s *shard) put(h *wire.Header, messages []byte, to uint64, at *network.Addr, socket int, source uint8, slot uint32) bool {
	h.KeyID = s.sendKey()
	b, fault := wire.Append(s.net.Next(socket)[:0], h, messages)
	if fault == wire.OK && h.KeyID != 0 {
		fault = s.sign(b, h, to, slot)
	}
	if fault != wire.OK {
		s.counters.fault(fault)
		return false
	}
	s.counters.sent.Add(1)
	n := s.net.Commit(socket, len(b), at, source, slot)
	if s.samples(h.Sequence, slot) {
		s.net.StampSend(socket)
		s.counters.sendsSampled.Add(1)
	}
	if n == batchSize {
		s.flush(socket)
	}
	return true
}

// connectBy starts the wait for a peer that was never heard, at our first heartbeat to it.
func (s *shard) connectBy(p *peer, slot uint32) {
	end := s.now.Add(s.engine.cfg.ConnectTimeout)
	p.deadline.set(s.now, end, end, false, s.pause.total, s.drops)
	s.checkAt(p, slot, end)
}

// fill sets every field of the next heartbeat to p, due at the instant due.
func (s *shard) fill(h *wire.Header, p *peer, due clock.Instant) {
	*h = wire.Header{
		Sender:           s.engine.id,
		Incarnation:      s.incarnated,
		Sequence:         p.sends.next(),
		SendInstant:      int64(s.now),
		Lateness:         saturate32(s.now.Sub(due)),
		Period:           p.pace.announced(s.grid),
		MinReceivePeriod: s.engine.minReceive,
		Progress:         s.engine.progress.Load(),
		EchoVerdict:      wireVerdict(p.verdict.state()),
	}
	p.session.echo(h, p.counts.lostIn.Get())
	d := &p.deadline
	if wait := d.wait(d.suspectAt); d.heard && wait > 0 {
		h.EchoDeadline = uint32(min(wait/time.Microsecond, 1<<32-1))
	}
	if d.heard && h.EchoIncarnation != 0 {
		h.EchoResidence = uint64(max(s.now.Sub(s.arrival(p)), 0))
	}
	h.Flags = s.flagsFor(p)
}

// arrival returns the arrival of the newest heartbeat. If it was held back, silence counts from
// earlier than that.
func (s *shard) arrival(p *peer) clock.Instant {
	if p.deadline.held {
		return p.deadline.from.Add(p.deadline.behind())
	}
	return p.deadline.from
}

// ownFlags returns the flags of every datagram of this node.
func (s *shard) ownFlags() (f wire.Flags) {
	if s.leaving.active {
		f |= wire.FlagLeaving
	}
	if s.engine.degraded.Load() {
		f |= wire.FlagDegraded
	}
	return f
}

// flagsFor returns the flags of a heartbeat to p.
func (s *shard) flagsFor(p *peer) wire.Flags {
	f := s.ownFlags()
	if p.pace.leaving {
		f |= wire.FlagLeaving
	}
	state := p.verdict.state()
	if state == Suspect || p.deadline.asked > 0 && state != Failed && state != Left {
		f |= wire.FlagSolicit
	}
	return f
}

// wireVerdict returns the verdict of an echo for a state.
func wireVerdict(s State) wire.Verdict {
	switch s {
	case Alive:
		return wire.VerdictAlive
	case OneWay:
		return wire.VerdictOneWay
	case Suspect:
		return wire.VerdictSuspect
	case Failed:
		return wire.VerdictFailed
	case Left:
		return wire.VerdictLeft
	}
	return wire.VerdictUnknown
}

// flush sends the batch of one socket and handles what the kernel refused.
func (s *shard) flush(socket int) {
	sent, refused := s.net.Flush(socket)
	if sent > refused {
		s.counters.lastSent.Set(uint64(s.now))
	}
	if refused == 0 && s.linksGone == 0 {
		return
	}
	for k := range sent {
		slot, why := s.net.Refusal(socket, k)
		if why != network.Sent {
			s.counters.sendError(why)
		}
		if slot == 0 {
			continue // an answer or a trial, which has no state
		}
		p := s.table.peer(slot)
		switch {
		case p.session.mine == 0:
			// The peer was removed meanwhile.
		case why != network.Sent:
			s.sendFailed(p, slot, why)
		case p.path.fault != NoCause:
			s.linkBack(p, slot)
		}
	}
}
