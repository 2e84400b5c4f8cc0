// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"time"

	"systole/engine/clock"
	"systole/engine/internal/udp"
	"systole/wire"
)

// sendDue writes the heartbeat that p's schedule asks for and sets the next one. Slots
// of the schedule that passed while we stood still are skipped and counted: sending
// them late in a burst would tell the peer nothing.
func (s *shard) sendDue(p *peer, slot uint32) {
	due := p.nextSend
	if planned := s.periods[p.class]; planned != 0 && uint32(planned/1000) != p.wanted && p.flags&flagPlanned != 0 {
		s.setPeriod(p, planned)
	}
	interval := s.interval(p)
	next := due.Add(interval)
	if next <= s.now {
		skipped := int64(s.now-due) / int64(interval)
		next = due.Add(time.Duration(skipped) * interval)
		due = next
		next = next.Add(interval)
		p.missed.Set(p.missed.Get() + uint64(skipped))
		s.counters.missed.Add(uint64(skipped))
	}
	p.nextSend = next
	s.wheel.Set(sendTimer(slot), next)
	if s.mayProbe(p) {
		s.send(p, slot, due)
	}
}

// interval is the time between two heartbeats to p. Peers that failed or left are
// probed slowly: they may start anew.
func (s *shard) interval(p *peer) time.Duration {
	if state := p.state(); state == Failed || state == Left {
		return max(time.Duration(p.period), onGrid(probePeriod, s.grid))
	}
	return time.Duration(p.period)
}

// probePeriod is how often a peer that failed or left is probed, at most.
const probePeriod = 250 * time.Millisecond

// mayProbe reports whether the schedule may send to p. An admitted stranger is only
// answered until it proves that it hears us, and is let go when it failed or left.
func (s *shard) mayProbe(p *peer) bool {
	if p.flags&flagAdmitted == 0 {
		return true
	}
	state := p.state()
	return p.flags&flagProven != 0 && state != Failed && state != Left
}

// send writes one heartbeat to p, due at the instant due.
func (s *shard) send(p *peer, slot uint32, due clock.Instant) {
	if p.addr.IsZero() {
		return
	}
	s.fill(&s.out, p, due)
	p.flags &^= flagKick
	s.write(p, slot, &s.out, &p.addr, int(p.socket))
}

// write puts the heartbeat h to p into the batch of its socket.
func (s *shard) write(p *peer, slot uint32, h *wire.Header, to *udp.Addr, socket int) {
	b, fault := wire.Append(s.net.Next(socket)[:0], h, nil)
	if fault != wire.OK {
		s.counters.fault(fault)
		return
	}
	if h.KeyID != 0 {
		s.sign(b, h)
	}
	p.sent.Set(h.Sequence)
	p.sentAt[h.Sequence%sentRing] = uint32(s.now >> sentUnit)
	if p.slowed != 0 && p.slowedSeq == 0 {
		p.slowedSeq = max(uint32(h.Sequence), 1)
	}
	if last := clock.Instant(p.lastSent.Get()); last != s.now {
		p.takenBefore = last
		p.lastSent.Set(uint64(s.now))
	}
	if p.timerAt == 0 && p.state() == Connecting {
		s.connectBy(p, slot)
	}
	s.counters.sent.Add(1)
	if s.net.Commit(socket, len(b), to, slot) == batchSize {
		s.flush(socket)
	}
}

// connectBy starts the patience with a peer that was never heard: from our first
// heartbeat to it.
func (s *shard) connectBy(p *peer, slot uint32) {
	p.arrival = 0
	p.failAt = s.now.Add(s.engine.cfg.ConnectTimeout)
	p.suspectAt = p.failAt
	p.pausedBefore.Set(uint64(s.pause.total))
	p.drops = s.drops
	s.lookAt(p, slot, p.failAt)
}

// fill sets every field of the next heartbeat to p, due at the instant due.
func (s *shard) fill(h *wire.Header, p *peer, due clock.Instant) {
	*h = wire.Header{
		Kind:             wire.KindHeartbeat,
		KeyID:            s.sendKey(),
		Sender:           s.engine.id,
		Destination:      p.known.Get(),
		Incarnation:      s.incarnated,
		Sequence:         p.sent.Get() + 1,
		SendInstant:      int64(s.now),
		Lateness:         saturate32(s.now.Sub(due)),
		Period:           s.announced(p),
		MinReceivePeriod: s.engine.minReceive,
		Progress:         s.engine.progress.Load(),
		EchoLost:         uint32(p.lostIn.Get()) - p.lostBefore,
		EchoVerdict:      wireVerdict(p.state()),
		EchoIncarnation:  p.life.Get(),
		EchoSequence:     p.replay.Highest(),
	}
	if p.flags&flagSucceeded != 0 {
		h.EchoIncarnation, h.EchoSequence, h.EchoLost = 0, 0, 0 // they are the other process'
	}
	if wait := p.suspectAt.Sub(p.arrival); p.arrival != 0 && wait > 0 {
		h.EchoDeadline = uint32(min(wait/time.Microsecond, 1<<32-1))
	}
	if p.arrival != 0 && h.EchoIncarnation != 0 {
		h.EchoResidence = uint64(s.now.Sub(p.arrival))
	}
	h.Flags = s.flagsFor(p)
	if p.flags&flagAwaited != 0 {
		h.Destination = 0 // whoever is at that address now may answer
	}
}

// flagsFor returns the flags of a heartbeat to p.
func (s *shard) flagsFor(p *peer) wire.Flags {
	var f wire.Flags
	if p.flags&flagLeaving != 0 || s.leaving.active {
		f |= wire.FlagLeaving
	}
	if s.engine.degraded.Load() {
		f |= wire.FlagDegraded
	}
	if state := p.state(); state == Suspect || p.solicitations > 0 && state != Failed && state != Left {
		f |= wire.FlagSolicit
	}
	return f
}

// announced returns the period to announce to p, in µs. A longer one is announced
// before it is used, and used once the peer has acknowledged the announcement: so the
// peer never waits by the old period for heartbeats of the new one (RFC 5880, 6.8.3).
func (s *shard) announced(p *peer) uint32 {
	period := p.period
	if p.slowed != 0 {
		period = int64(p.slowed) * int64(s.grid)
	}
	return uint32(period / 1000)
}

// negotiate settles the period of the heartbeats to p: as wanted here, but no faster
// than the peer asks, which counts up to maxPeriod. An admitted stranger gets theirs, the period that it announces in
// µs, as far as Accept allows.
func (s *shard) negotiate(p *peer, theirs uint32) {
	if p.flags&flagAdmitted != 0 {
		p.wanted = uint32(min(max(int64(theirs)*1000, int64(s.engine.cfg.Accept.MinPeriod)), int64(maxPeriod)) / 1000)
	}
	period := max(int64(p.wanted)*1000, min(int64(p.minPeriod)*1000, int64(maxPeriod)))
	period = int64(onGrid(time.Duration(period), s.grid))
	switch {
	case period > p.period:
		p.slowed, p.slowedSeq = uint32(period/int64(s.grid)), 0
	default:
		p.period, p.slowed = period, 0
	}
}

// wireVerdict is the state as an echo tells it.
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

// flush hands the batch of one socket to the kernel and notes what it refused.
func (s *shard) flush(socket int) {
	sent, refused := s.net.Flush(socket)
	if sent > refused {
		s.counters.lastSent.Set(uint64(s.now))
	}
	if refused == 0 && s.linksGone == 0 {
		return
	}
	for k := range sent {
		slot, errno := s.net.Refusal(socket, k)
		if errno != 0 {
			s.counters.sendError(errno)
		}
		p := s.table.peer(slot)
		switch {
		case p.owner.Load() != uint64(s.number)+1:
			// Removed since, and not to be touched: it was its goodbye, for instance.
		case errno != 0:
			s.sendFailed(p, slot, errno)
		case p.flags&flagLinkGone != 0:
			s.linkBack(p, slot)
		}
	}
}
