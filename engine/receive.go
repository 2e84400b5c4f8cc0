// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/internal/udp"
	"systole/wire"
)

// receive reads every socket. What was read decides up to which instant peers may be
// judged: see shard.drained.
func (s *shard) receive() {
	s.drained, s.sure, s.sureAsked = s.now, s.now, false
	for i := range s.net.Sockets() {
		drained, sure := s.drain(i)
		s.drained, s.sure = min(s.drained, drained), min(s.sure, sure)
		s.receiveErrors(i)
	}
	s.takeRefusals()
	if s.drained == s.now {
		s.lastRead, s.lastSure = s.now, s.sure
	}
	s.showRead()
}

// drain reads a socket until it is empty, or batchesPerTurn is reached, and returns up to
// when it has been read. A short batch is the last one, unless an error cut it short: sure is
// up to when everything has been read in that case as well. A socket that keeps failing is not
// turned for at once, nor waited for: see quiet. That would take a whole CPU and help nobody.
func (s *shard) drain(socket int) (upTo, sure clock.Instant) {
	upTo = s.unstampedUpTo()
	fails := false
	for range batchesPerTurn {
		n, empty, err := s.net.Receive(socket)
		if fails = err != nil && n == 0; err != nil {
			s.counters.receiveErrors.Add(1)
		}
		s.counters.received.Add(uint64(n))
		s.work.units += n
		for j := range n {
			s.datagram(socket, j)
		}
		if empty && n == 0 {
			return s.now, s.now
		}
		if n > 0 {
			upTo = s.readUpTo(n - 1)
		}
		if empty {
			return s.now, upTo
		}
	}
	if fails {
		s.failedAt = s.now
	} else {
		s.unfinished = true
	}
	return upTo, upTo
}

// readUpTo returns up to when a socket has been read that may hold more, datagram j being
// the last. It is first in, first out: up to the stamp of that one.
func (s *shard) readUpTo(j int) clock.Instant {
	if arrival, ok := s.stamp(j); ok {
		return arrival
	}
	return s.unstampedUpTo()
}

// unstampedUpTo is that without a stamp: only what came before the sockets were last read
// empty is sure; but that must not keep the dead alive for as long as a flood lasts.
func (s *shard) unstampedUpTo() clock.Instant {
	return max(s.lastSure, s.now.Add(-maxUndrained))
}

// isSure reports whether the sockets were read up to s.drained for certain. It asks them, once
// per turn at most, if a short batch was taken for the last one: had an error cut it short,
// the socket would know.
func (s *shard) isSure() bool {
	if s.sure < s.drained && !s.sureAsked {
		s.sureAsked = true
		interrupted := false
		for i := range s.net.Sockets() {
			interrupted = s.net.Interrupted(i) || interrupted
		}
		if !interrupted {
			s.sure = s.drained
		}
	}
	return s.sure >= s.drained
}

// arrived returns when the kernel had datagram j, and whether the kernel said so.
// Without a plausible stamp it is the present turn.
func (s *shard) arrived(j int) (clock.Instant, bool) {
	if at, ok := s.stamp(j); ok {
		return at, true
	}
	if s.net.Stamp(j) != 0 {
		s.counters.stampsRefused.Add(1)
	}
	return s.now, false
}

// stamp returns the kernel's stamp of datagram j, if there is a plausible one.
func (s *shard) stamp(j int) (clock.Instant, bool) {
	stamp := s.net.Stamp(j)
	if stamp == 0 {
		return 0, false
	}
	return s.reading.Convert(stamp, s.lastSure, s.previous)
}

// datagram judges one datagram: whole and well-formed, authentic, for us, of a known
// peer. Whatever fails is counted under its name and changes nothing else.
func (s *shard) datagram(socket, j int) {
	b := s.net.Datagram(j)
	h := &s.in
	messages, fault := wire.Decode(b, h)
	if fault != wire.OK {
		s.counters.fault(fault)
		return
	}
	if h.Destination != 0 && h.Destination != s.engine.id {
		s.counters.misdirected.Add(1)
		return
	}
	slot := s.index.lookup(h.Sender)
	if fault := s.authentic(b, h, slot); fault != wire.OK {
		s.counters.fault(fault)
		return
	}
	if h.Sender == s.engine.id {
		s.ownID(h)
		return
	}
	if slot == noSlot {
		if slot = s.stranger(h, s.net.From(j), socket); slot == noSlot {
			return
		}
	}
	if len(messages) > 0 {
		s.messages(messages)
	}
	arrival, stamped := s.arrived(j)
	if s.stamped = stamped; stamped {
		s.counters.stamped.Add(1)
	}
	p := s.table.peer(slot)
	switch life := p.life.Get(); {
	case h.Incarnation < life:
		s.pastLife(p, slot, h, j, socket)
	case h.Incarnation > life || p.flags&flagSucceeded != 0:
		s.newLife(p, slot, h, j, arrival, socket)
	default:
		s.sameLife(p, slot, h, j, arrival, socket)
	}
}

// sameLife takes a heartbeat of the incarnation that p is known by.
func (s *shard) sameLife(p *peer, slot uint32, h *wire.Header, j int, arrival clock.Instant, socket int) {
	highest := p.replay.Highest()
	if !p.replay.Accept(h.Sequence) {
		p.odd.Set(p.odd.Get() + 1<<32)
		s.counters.duplicated.Add(1)
		return
	}
	if p.state() == Left {
		if !s.watchesAgain(p, slot, h, highest) {
			s.counters.stale.Add(1)
			return
		}
		highest = 0 // what it sends counts from here on
	}
	p.received.Set(p.received.Get() + 1)
	s.counters.accepted.Add(1)
	if h.Sequence < highest {
		p.odd.Set(p.odd.Get() + 1)
		if h.Sequence > p.firstSeq {
			p.lostIn.Set(p.lostIn.Get() - 1) // it was counted when its successor came
		}
		s.counters.reordered.Add(1)
		s.record(h, arrival, 0)
		return
	}
	if highest == 0 {
		p.firstSeq = h.Sequence // earlier ones were never waited for
	} else {
		lost := h.Sequence - highest - 1
		if lost > manyLost && !believable(lost, arrival.Sub(p.arrival), h.Period) {
			lost, p.firstSeq = 0, h.Sequence
		}
		p.lostIn.Set(p.lostIn.Get() + lost)
		p.watched.Add(uint64(max(arrival.Sub(p.arrival), 0)))
		s.pooled(p, h, arrival, lost)
	}
	p.candidate = 0
	s.take(p, slot, h, arrival)
	if h.Flags&wire.FlagLeaving != 0 {
		s.transition(p, slot, Left, Goodbye, s.now)
		p.flags |= flagKick     // tell it that it was heard
		p.freeKicks = kicksFree // should it watch us again, that is a handshake
		return
	}
	if from := s.net.From(j); *from != p.addr && h.EchoIncarnation == s.incarnated {
		s.moves(p, slot, from, socket) // only an authentic, fresh heartbeat gets here
	}
	s.heard(p, slot, h)
	if h.Flags&wire.FlagSolicit != 0 {
		p.flags |= flagKick
	}
	s.kick(p, slot)
}

// manyLost is how many heartbeats may be missing before it is asked whether they can have
// been sent.
const manyLost = 64

// believable reports whether so many missing heartbeats can have been lost. A peer that
// had removed this node, and took it back, goes on with greater sequences, which were
// nobody's; heartbeats outside the schedule come no closer than a sixteenth of its period.
func believable(missing uint64, silence time.Duration, period uint32) bool {
	sixteenth := time.Duration(period) * time.Microsecond / 16
	return missing <= uint64(max(silence, 0)/max(sixteenth, 1))+manyLost
}

// take records what a new heartbeat tells: arrival, delays, echo, negotiated period,
// and what the detector makes of it.
func (s *shard) take(p *peer, slot uint32, h *wire.Header, arrival clock.Instant) {
	p.arrival = arrival
	lost := s.lostAt(arrival)
	paused := lost - int64(p.pausedBefore.Get())
	p.drops = s.drops
	p.late = h.Lateness
	p.read = saturate32(s.now.Sub(arrival))
	p.network = s.pathDelay(p, int64(arrival)-h.SendInstant)
	p.progress.Set(h.Progress)
	p.theirVerdict = h.EchoVerdict
	p.flags &^= flagDegraded | flagLinkDown // our link was there to bring it
	if h.Flags&wire.FlagDegraded != 0 {
		p.flags |= flagDegraded
	}
	if h.MinReceivePeriod != p.minPeriod || p.flags&flagAdmitted != 0 && h.Period != uint32(p.remote.Get()>>32) {
		p.minPeriod = h.MinReceivePeriod
		s.negotiate(p, h.Period)
	}
	if remote := uint64(h.Period)<<32 | uint64(p.period/1000); remote != p.remote.Get() {
		p.remote.Set(remote)
	}
	roundTrip := s.echo(p, h)
	s.detect(p, slot, h, time.Duration(paused))
	s.record(h, arrival, roundTrip)
	// Last: see Engine.summarize. What was granted for an earlier silence is over.
	if paused != 0 {
		p.pausedBefore.Set(uint64(lost))
	}
	if p.graceTo.Get() != 0 {
		p.graceTo.Set(0)
	}

	c, i := s.table.at(slot)
	var rec [sampleWords]uint64
	encodeSample(&rec, h.Sequence, arrival, clock.Instant(h.SendInstant), h.Lateness, roundTrip, p.read)
	s.table.samples.Push(s.table.sampleWindow(c, i), rec[:])
}

// detect feeds the detector. paused is what this node stood still since the arrival before.
func (s *shard) detect(p *peer, slot uint32, h *wire.Header, paused time.Duration) {
	state := s.state(slot)
	hb := &s.beat
	*hb = detect.Heartbeat{
		Sequence: h.Sequence,
		Send:     clock.Instant(h.SendInstant),
		Late:     time.Duration(h.Lateness),
		Arrival:  p.arrival,
		Period:   time.Duration(h.Period) * time.Microsecond,
		Paused:   paused,
	}
	s.table.detector.Heartbeat(state, hb)
	p.extensions, p.solicitations = 0, 0
	p.flags &^= flagRefused
	s.setDeadlines(p, slot, state)
	if l := s.pupils.learner; l != nil && l.Due(state) {
		s.pupils.toLearn(slot)
	}
}

// setDeadlines stores the deadlines of both levels and publishes what they follow from. A peer
// that failed or left has none in force: the next look at it is when it is forgotten.
func (s *shard) setDeadlines(p *peer, slot uint32, state []uint64) {
	d := s.table.detector
	p.suspectAt = d.Deadline(state, s.engine.suspectLevel)
	p.failAt = d.Deadline(state, s.engine.failLevel)
	if now := p.state(); now != Failed && now != Left {
		s.lookAt(p, slot, s.askAt(p, state))
	}
	c, i := s.table.at(slot)
	s.table.summary.Push(s.table.summaryWindow(c, i), state[:s.table.summary.Words])
}

// pathSampleRun is how many heartbeats a generation of the least path time lasts.
const pathSampleRun = 256

// pathDelay returns by how much path, an arrival on our clock less a send instant on
// the sender's, lies above the least seen lately. The unknown difference of the clocks
// is in both and cancels; two generations let their skew age out.
func (s *shard) pathDelay(p *peer, path int64) uint32 {
	base := int64(p.pathBase.Get())
	if p.pathSamples == 0 && p.nextPathBase == 0 {
		base, p.nextPathBase = path, path
	}
	p.nextPathBase = min(p.nextPathBase, path)
	base = min(base, path)
	if p.pathSamples++; p.pathSamples == pathSampleRun {
		base, p.nextPathBase, p.pathSamples = p.nextPathBase, path, 1
		base = min(base, path)
	}
	p.pathBase.Set(uint64(base))
	return saturate32(time.Duration(path - base))
}

// echo reads what the peer hears of us: the losses towards it, the round trip of the
// heartbeat it names, and whether it has acknowledged our slower period. It returns
// the round trip in nanoseconds, 0 if this echo gives none.
func (s *shard) echo(p *peer, h *wire.Header) uint32 {
	if h.EchoIncarnation != s.incarnated || h.EchoSequence <= p.sentFrom.Get() || h.EchoSequence > p.sent.Get() {
		return 0
	}
	if lost := uint64(h.EchoLost); lost != p.lostOut.Get() {
		p.lostOut.Set(lost)
	}
	if p.slowed != 0 && p.slowedSeq != 0 && int32(uint32(h.EchoSequence)-p.slowedSeq) >= 0 {
		p.period, p.slowed = int64(p.slowed)*int64(s.grid), 0
	}
	if p.sent.Get()-h.EchoSequence >= sentRing {
		return 0
	}
	away := uint64(uint32(p.arrival>>sentUnit)-p.sentAt[h.EchoSequence%sentRing]) << sentUnit
	if away <= h.EchoResidence {
		return 0
	}
	roundTrip := saturate32(time.Duration(away - h.EchoResidence))
	p.roundTrips.Set(smooth(p.roundTrips.Get(), roundTrip))
	s.pupils.trip(p.class, roundTrip)
	return roundTrip
}

// smooth updates a smoothed and a least round trip, packed in one word. The gain of
// 1/8 is RFC 6298's.
func smooth(packed uint64, sample uint32) uint64 {
	smoothed, least := uint32(packed>>32), uint32(packed)
	if packed == 0 {
		return uint64(sample)<<32 | uint64(sample)
	}
	smoothed = uint32((7*uint64(smoothed) + uint64(sample)) / 8)
	return uint64(smoothed)<<32 | uint64(min(least, sample))
}

// messages walks the datagram's message section. This version knows no message: it
// counts them and passes them by, so that newer peers can talk to it.
func (s *shard) messages(section []byte) {
	for it := wire.MessagesOf(section); it.Next(); {
		s.counters.unknownMessages.Add(1)
	}
}

// kick sends a heartbeat ahead of the schedule if one is asked for: at most one per
// kickGap, whatever a peer or a forger asks. The handshake of a new life is not held up.
func (s *shard) kick(p *peer, slot uint32) {
	if p.flags&flagKick == 0 {
		return
	}
	switch {
	case s.now.Sub(clock.Instant(p.lastSent.Get())) >= s.kickGap(p):
	case p.freeKicks > 0:
		p.freeKicks--
	default:
		return // the flag stays; the next scheduled heartbeat serves as the answer
	}
	s.send(p, slot, s.now)
}

// kickGap is the least time between heartbeats outside the schedule.
func (s *shard) kickGap(p *peer) time.Duration {
	return max(s.grid, time.Duration(p.period)/8) - s.grid/2
}

// kicksFree is how many heartbeats of a handshake may follow each other without a gap.
const kicksFree = 2

// heard is called for each new heartbeat of p's incarnation: p is alive, if it hears us.
func (s *shard) heard(p *peer, slot uint32, h *wire.Header) {
	state := p.state()
	if state == Failed && !s.engine.cfg.Resurrect {
		return
	}
	to, cause := Alive, ReachableAgain
	switch {
	case p.flags&flagLinkGone != 0:
		to, cause = OneWay, LocalLink // it cannot hear us, and soon will say so
	case h.EchoIncarnation != s.incarnated:
		p.flags |= flagKick // tell it who we are now
		if h.EchoIncarnation > s.incarnated {
			s.otherSelf(h)
		}
		if state == Alive && p.arrival < clock.Instant(p.decided.Get()).Add(p.suspectAt.Sub(p.arrival)) {
			return // it wrote this before it can have heard us
		}
		to, cause = OneWay, Deaf
	case h.EchoVerdict == wire.VerdictSuspect:
		to, cause = OneWay, Deaf
	case h.EchoVerdict == wire.VerdictFailed:
		to, cause = OneWay, Buried
	}
	if state == to {
		return
	}
	if to == Alive && state == Suspect {
		p.mistakes.Set(p.mistakes.Get() + 1)
		s.counters.mistakes.Add(1)
	}
	s.transition(p, slot, to, cause, p.arrival)
	if state == Failed || state == Left {
		s.lookAt(p, slot, s.askAt(p, s.state(slot))) // its deadlines are in force again
	}
}

// socketFor returns the socket that addr's family needs.
func (s *shard) socketFor(addr *udp.Addr) uint8 { return s.net.SocketFor(addr) }
