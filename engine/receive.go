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
	s.readLetters()
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

// datagram judges one datagram: whole and well-formed, authentic, of a known peer. Whatever fails is
// counted under its name and changes nothing else.
func (s *shard) datagram(socket, j int) {
	b := s.net.Datagram(j)
	h := &s.in
	messages, fault := wire.Decode(b, h)
	if fault != wire.OK {
		s.counters.fault(fault)
		return
	}
	slot := wire.Slot(h.YourDiscriminator)
	p := s.peerOf(h.YourDiscriminator)
	if p == nil {
		slot = 0
	}
	if fault := s.authentic(b, h, slot); fault != wire.OK {
		s.counters.fault(fault)
		s.note(refusedKeys, s.net.From(j))
		return
	}
	if h.Sender == s.engine.id && s.ownID(h, p, slot, j) {
		return
	}
	if p == nil {
		s.introduce(h, j, socket)
		return
	}
	if len(messages) > 0 {
		s.messages(messages)
	}
	arrival, stamped := s.arrived(j)
	if s.stamped = stamped; stamped {
		s.counters.stamped.Add(1)
	}
	if p.session.is(h) {
		s.heartbeat(p, slot, h, s.net.From(j), arrival)
	} else {
		s.otherSession(p, slot, h, j, arrival, socket)
	}
}

// peerOf returns the peer of this shard with a discriminator of ours, nil if there is none.
func (s *shard) peerOf(discriminator uint64) *peer {
	slot := wire.Slot(discriminator)
	if slot == 0 || slot >= s.table.slots.Load() || udp.ShardOf(slot, len(s.engine.shards)) != s.number {
		return nil
	}
	if p := s.table.peer(slot); p.session.mine == discriminator {
		return p
	}
	return nil
}

// heartbeat takes a datagram of the session that p is in.
func (s *shard) heartbeat(p *peer, slot uint32, h *wire.Header, from *udp.Addr, arrival clock.Instant) {
	highest, ok := p.session.accept(h.Sequence)
	if !ok {
		p.counts.duplicate()
		s.counters.duplicated.Add(1)
		return
	}
	state := p.verdict.state()
	if state == Left {
		s.counters.stale.Add(1) // it was on its way when the peer left
		return
	}
	if p.session.isBuried(h) {
		s.buriedHeard(p, slot)
		return
	}
	if !p.session.stateless() {
		p.counts.accept() // answers are none of the peer's heartbeats
	}
	p.pace.earn()
	s.counters.accepted.Add(1)
	if h.Sequence < highest {
		p.counts.reorder(h.Sequence > p.session.firstSeq)
		s.counters.reordered.Add(1)
		if !p.session.stateless() {
			s.record(h, arrival, 0)
		}
		return
	}
	s.follows(p, slot, h, highest, arrival)
	if !s.take(p, slot, h, arrival) {
		return
	}
	if h.Flags&wire.FlagLeaving != 0 {
		s.transition(p, slot, Left, Goodbye, s.now)
		p.pace.handshake() // tell it that it was heard; should it watch us again, that is a handshake
		return
	}
	if at := p.path.addr(); *from != at {
		s.fromElsewhere(p, slot, from)
	}
	s.heard(p, slot, h)
	if h.Flags&wire.FlagSolicit != 0 {
		p.pace.ask()
	}
	s.ahead(p, slot)
}

// follows counts what lies between a heartbeat and the highest before it. Nothing is counted as
// lost before the peer judges us, which it does from when its session has begun.
func (s *shard) follows(p *peer, slot uint32, h *wire.Header, highest uint64, arrival clock.Instant) {
	if highest == 0 || h.EchoVerdict == wire.VerdictUnknown {
		p.session.countFrom(h.Sequence)
		return
	}
	lost, gap := h.Sequence-highest-1, arrival.Sub(p.deadline.from)
	if lost > manyLost && !believable(lost, gap, h.Period) || highest < p.session.firstSeq {
		lost = 0
		p.session.countFrom(h.Sequence)
	}
	p.counts.follow(gap, lost)
	s.pooled(p, slot, h, arrival, lost)
}

// manyLost is how many heartbeats may be missing before it is asked whether they can have been
// sent.
const manyLost = 64

// believable reports whether so many missing heartbeats can have been lost: those outside the
// schedule come no closer than a sixteenth of the period.
func believable(missing uint64, silence time.Duration, period uint32) bool {
	sixteenth := time.Duration(period) * time.Microsecond / 16
	return missing <= uint64(max(silence, 0)/max(sixteenth, 1))+manyLost
}

// take records what a new heartbeat tells: arrival, delays, echo, negotiated period, and what the
// detector makes of it. It reports whether that is a sign of life: not what was written before the
// whole wait for the peer's failure began.
func (s *shard) take(p *peer, slot uint32, h *wire.Header, arrival clock.Instant) bool {
	p.path.arrived(int64(arrival)-h.SendInstant, h.Lateness, s.now.Sub(arrival))
	p.path.down(false) // our link was there to bring it
	p.counts.progressed(h.Progress)
	p.verdict.degrade(h.Flags&wire.FlagDegraded != 0)
	p.pace.heard(h.Period, h.MinReceivePeriod, s.grid, s.engine.cfg.Accept.MinPeriod)
	roundTrip := s.echo(p, h, arrival)
	if !p.session.stateless() { // whose sequence is an instant, and none of the schedule's
		s.record(h, arrival, roundTrip)
	}
	lag := p.deadline.behind()
	held := p.deadline.heard && lag > s.lagLimit(p) && !p.session.stateless()
	if held {
		arrival = arrival.Add(-lag) // when it would have come
	}
	s.detect(p, slot, h, arrival, held)

	if p.session.stateless() {
		return true
	}
	c, i := s.table.at(slot)
	var rec [sampleWords]uint64
	encodeSample(&rec, h.Sequence, arrival, clock.Instant(h.SendInstant), h.Lateness, roundTrip, p.path.read)
	s.table.samples.Push(s.table.sampleWindow(c, i), rec[:])
	return !held || p.deadline.failAt > s.now
}

// detect feeds the detector and sets the deadlines. A session without state is no schedule: it is
// granted what a first contact is.
func (s *shard) detect(p *peer, slot uint32, h *wire.Header, arrival clock.Instant, held bool) {
	lost := s.lostAt(arrival)
	if p.session.stateless() {
		wait := s.answerWait(p)
		p.deadline.set(arrival, arrival.Add(wait), arrival.Add(2*wait), true, lost, s.drops)
		s.checkAt(p, slot, p.deadline.suspectAt)
		return
	}
	state := s.state(slot)
	hb := &s.beat
	*hb = detect.Heartbeat{
		Sequence: h.Sequence,
		Send:     clock.Instant(h.SendInstant),
		Late:     time.Duration(h.Lateness),
		Arrival:  arrival,
		Period:   time.Duration(h.Period) * time.Microsecond,
		Paused:   time.Duration(lost - int64(p.deadline.paused.Get())),
	}
	d := s.table.detector
	d.Heartbeat(state, hb)
	if l := s.learners.learner; held && l != nil && l.Due(state) {
		l.Learn(state, &s.learners.pools[p.path.class]) // now: its deadline may have passed
	}
	s.showSummary(slot, state) // before the pauses at its arrival: see Engine.summarize
	p.deadline.set(arrival, d.Deadline(state, s.engine.suspectLevel), d.Deadline(state, s.engine.failLevel), true, lost, s.drops)
	if held {
		p.deadline.hold()
	}
	s.checkSilence(p, slot, state)
	if l := s.learners.learner; l != nil && l.Due(state) {
		s.learners.toLearn(slot)
	}
}

// checkSilence has a peer that is judged checked when it is to be asked. One that was held back is not
// asked: its answer would be as late.
func (s *shard) checkSilence(p *peer, slot uint32, state []uint64) {
	now := p.verdict.state()
	switch {
	case now == Failed || now == Left:
	case p.deadline.held:
		s.checkAt(p, slot, p.deadline.suspectAt)
	default:
		s.checkAt(p, slot, s.askAt(p, state))
	}
}

// showSummary publishes what the detector's suspicion follows from.
func (s *shard) showSummary(slot uint32, state []uint64) {
	c, i := s.table.at(slot)
	s.table.summary.Push(s.table.summaryWindow(c, i), state[:s.table.summary.Words])
}

// echo reads what the peer hears of us: the losses towards it, the round trip of the heartbeat that it
// names, by how much the datagram is older than the least round trip explains, and whether it has
// acknowledged our slower period. It returns the round trip in nanoseconds, 0 if this echo gives none.
func (s *shard) echo(p *peer, h *wire.Header, arrival clock.Instant) (roundTrip uint32) {
	if h.EchoIncarnation != s.incarnated || h.EchoSequence == 0 {
		return 0
	}
	residence := time.Duration(h.EchoResidence)
	if h.EchoSequence > p.sends.sequence.Get() { // an answer's, which is the instant of its writing
		s.lag(p, arrival.Sub(clock.Instant(h.EchoSequence)), residence, true, arrival)
		return 0
	}
	p.session.heard(h.EchoSequence)
	p.counts.echo(h.EchoLost)
	p.pace.echoed(h.EchoSequence, s.grid)
	away, exact := p.sends.since(h.EchoSequence, arrival)
	s.lag(p, away, residence, exact, arrival)
	trip := away - residence
	if !exact || trip <= 0 || residence > staleEcho*time.Duration(p.pace.period) || p.deadline.behind() > s.lagLimit(p) {
		return 0 // what was held back says nothing of the way
	}
	roundTrip = saturate32(trip)
	p.path.trip(trip)
	s.learners.trip(p.path.class, roundTrip)
	return roundTrip
}

// lag notes by how much a heartbeat is older than the least round trip explains: it echoes one that was
// sent away before its arrival and was with the peer for a residence. Unless away is exact, it was longer ago;
// below 0, nobody knows. A way that is not known explains any lag.
func (s *shard) lag(p *peer, away, residence time.Duration, exact bool, arrival clock.Instant) {
	if away < 0 {
		return
	}
	if away <= residence {
		p.deadline.lagged(0)
		return
	}
	stood := time.Duration(s.lostAt(arrival) - s.lostAt(arrival.Add(-away))) // is nobody's fault but ours
	lag := away - residence - p.path.leastTrip() - stood
	if p.path.leastTrip() != 0 && (exact || lag > p.deadline.behind()) {
		p.deadline.lagged(lag)
	}
}

// staleEcho is how many periods an echo may have waited at the peer to give a round trip.
const staleEcho = 4

// lagLimit returns by how much a heartbeat may be older than the least round trip explains. Beyond
// that it was held back on its way, by a queue or by somebody. One that was so comes back, as a failed one
// does, only by what was written lately.
func (s *shard) lagLimit(p *peer) time.Duration {
	if p.deadline.held || p.verdict.state() == Failed {
		return leastLag
	}
	return max(p.deadline.wait(p.deadline.suspectAt), leastLag)
}

// leastLag is more than what a change of routes adds to a way.
const leastLag = 500 * time.Millisecond

// messages walks the datagram's message section. This version knows no message: it
// counts them and passes them by, so that newer peers can talk to it.
func (s *shard) messages(section []byte) {
	for it := wire.MessagesOf(section); it.Next(); {
		s.counters.unknownMessages.Add(1)
	}
}

// heard is called for each new heartbeat of p's session: p is alive, if it hears us.
func (s *shard) heard(p *peer, slot uint32, h *wire.Header) {
	if p.path.fault == OwnNode {
		s.setFault(p, NoCause) // it is another node
	}
	state := p.verdict.state()
	to, cause := Alive, ReachableAgain
	switch {
	case p.path.fault != NoCause:
		to, cause = OneWay, p.path.fault // it cannot hear us, and soon will say so
	case h.EchoIncarnation != s.incarnated:
		p.pace.ask() // tell it who we are now
		if state == Alive && s.now.Sub(s.incarnatedAt) < s.engine.cfg.ConnectTimeout {
			return // it wrote this before it can have heard of our new incarnation
		}
		to, cause = OneWay, Deaf
	case p.deadline.held && (state == Failed || state == Suspect && s.effective(p, p.deadline.failAt) <= s.now):
		return // it was written too long ago to be life
	case p.deadline.held:
		to, cause = OneWay, HeldBack
	case h.EchoVerdict == wire.VerdictSuspect:
		to, cause = OneWay, Deaf
	case h.EchoVerdict == wire.VerdictFailed:
		to, cause = OneWay, Buried
	}
	if state == to && (to == Alive || cause == p.verdict.cause()) {
		return
	}
	if to == Alive && state == Suspect {
		p.counts.mistake()
		s.counters.mistakes.Add(1)
	}
	s.transition(p, slot, to, cause, p.deadline.from)
}
