// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"encoding/binary"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/internal/kernelclock"
	"systole/engine/internal/network"
	"systole/engine/internal/oneway"
	"systole/wire"
)

// receive reads every socket. Peers are judged only up to the instant up to which all
// sockets were read: see shard.drained.
func (s *shard) receive() {
	s.drained, s.sure, s.sureAsked = s.now, s.now, false
	for i := range s.net.Sockets() {
		drained, sure := s.drain(i)
		s.drained, s.sure = min(s.drained, drained), min(s.sure, sure)
		if drained == s.now || s.now.Sub(s.errorsAt) > errorsWait {
			s.errorsAt = s.now
			s.receiveErrors(i) // which are younger than what was read
		}
	}
	s.readLetters()
	s.wakeReaders()
	if s.drained == s.now {
		s.lastRead, s.lastSure = s.now, s.sure
	}
	s.showRead()
}

// errorsWait bounds how long errors wait for an empty socket, so that a flood does not put them off for
// ever.
const errorsWait = time.Second

// drain reads a socket until it is empty, or batchesPerTurn is reached, and returns the instant up
// to which it has been read. A short batch means an empty socket, unless an error cut the batch
// short: sure is the instant up to which everything has been read even then. A socket that keeps
// failing causes no further turn (see quiet), which would take a whole CPU in vain.
func (s *shard) drain(socket int) (upTo, sure clock.Instant) {
	upTo = s.unstampedUpTo()
	fails := false
	for range batchesPerTurn {
		n, empty, err := s.net.Receive(socket)
		if fails = err != nil && n == 0; err != nil {
			s.counters.receiveErrors.Add(1)
		}
		s.counters.received.Add(uint64(n))
		s.cost.units += n
		s.prefetch(n)
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
			s.unfinished = s.unfinished || s.overflows()
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

// prefetch asks for the memory of the peers of a batch, which is cold after each wait: its lines then
// arrive side by side instead of one after the other.
func (s *shard) prefetch(n int) {
	slots := s.table.slots.Load()
	for j := range n {
		b := s.net.Datagram(j)
		if len(b) < wire.HeaderSize {
			continue
		}
		if slot := wire.Slot(binary.BigEndian.Uint64(b[wire.DiscriminatorOffset:])); slot != 0 && slot < slots {
			s.table.prefetch(slot)
		}
	}
}

// readUpTo returns the instant up to which a socket that may hold more has been read: the stamp of
// datagram j, the last one read, because a socket is first in, first out.
func (s *shard) readUpTo(j int) clock.Instant {
	if stamp, ok := s.stamp(j); ok {
		return stamp.At
	}
	return s.unstampedUpTo()
}

// unstampedUpTo is readUpTo without kernel stamps: the instant at which the sockets were last read
// empty, but at most maxUndrained ago, so that a flood does not put off every verdict.
func (s *shard) unstampedUpTo() clock.Instant {
	return max(s.lastSure, s.now.Add(-maxUndrained))
}

// isSure reports whether the sockets were certainly read up to s.drained. If a short batch was taken
// for the last one, it asks the sockets, at most once per turn, whether an error cut it short.
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

// arrived returns the arrival of datagram j: its kernel stamp or, without a plausible stamp, the instant
// of the present turn.
func (s *shard) arrived(j int) clock.Stamp {
	if stamp, ok := s.stamp(j); ok {
		return stamp
	}
	if s.net.Stamp(j) != 0 {
		s.counters.stampsRefused.Add(1)
	}
	return clock.Stamp{At: s.now}
}

// stamp returns the kernel's stamp of datagram j, if there is a plausible one.
func (s *shard) stamp(j int) (clock.Stamp, bool) {
	stamp := s.net.Stamp(j)
	if stamp == 0 {
		return clock.Stamp{}, false
	}
	return kernelclock.Convert(s.reading, stamp, s.lastSure, s.previous)
}

// datagram handles one datagram. One that is malformed or not authentic is counted under its fault
// and changes nothing else.
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
	bySocket := s.arrived(j)
	arrival := s.stampBelow(p, h, bySocket)
	s.readBelow(p, slot, arrival.At)
	s.stamped(arrival, bySocket)
	s.cut = s.net.Stamp(j) != 0 && kernelclock.IsAfter(s.reading, s.net.Stamp(j))
	if p.session.is(h) {
		s.heartbeat(p, slot, h, messages, s.net.From(j), arrival.At)
	} else {
		s.otherSession(p, slot, h, j, arrival.At, socket)
	}
}

// stamped counts the stamp of the present datagram, and sets what it tells of this host's delays. bySocket
// is the arrival at the datagram's socket.
func (s *shard) stamped(arrival, bySocket clock.Stamp) {
	s.counters.stamped[arrival.Source].Add(1)
	s.delays, s.cut = Delays{Source: arrival.Source}, false
	if arrival.Source == clock.User {
		return
	}
	from := arrival.At
	if bySocket != arrival && bySocket.Source != clock.User {
		from = bySocket.At
		s.delays.Host = time.Duration(saturate32(max(from.Sub(arrival.At), 1)))
	}
	s.delays.Read = time.Duration(saturate32(max(s.now.Sub(from), 1)))
}

// peerOf returns the peer of this shard with the given discriminator of ours, nil if there is none.
func (s *shard) peerOf(discriminator uint64) *peer {
	slot := wire.Slot(discriminator)
	if slot == 0 || slot >= s.table.slots.Load() || network.ShardOf(slot, len(s.engine.shards)) != s.number {
		return nil
	}
	if p := s.table.peer(slot); p.session.mine == discriminator {
		return p
	}
	return nil
}

// heartbeat handles a datagram of p's session. messages is the message section that is to be handed on:
// nil if the datagram began the session.
func (s *shard) heartbeat(p *peer, slot uint32, h *wire.Header, messages []byte, from *network.Addr, arrival clock.Instant) {
	highest, ok := p.session.accept(h.Sequence)
	if !ok {
		p.counts.duplicate()
		s.counters.duplicated.Add(1)
		return
	}
	state := p.verdict.state()
	if state == Left {
		s.counters.stale.Add(1) // sent before the goodbye
		return
	}
	if s.isBuried(p, h) {
		s.heardBuried(p, slot)
		return
	}
	if !p.session.stateless() {
		p.counts.accept() // an answer is no heartbeat of the peer's schedule
	}
	p.pace.earn(len(messages))
	s.counters.accepted.Add(1)
	if h.Sequence < highest {
		wasLost := h.Sequence > p.session.firstSeq
		p.counts.reorder(wasLost)
		if wasLost && !p.session.stateless() {
			s.lostIn(p, slot, -1, 0)
		}
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
	if len(messages) > 0 {
		s.handOn(p, slot, h, messages, arrival)
	}
	if h.Flags&wire.FlagLeaving != 0 {
		s.transition(p, slot, Left, Goodbye, s.now)
		p.pace.handshake() // acknowledges the goodbye; if the peer watches us again, this begins the session
		return
	}
	if !p.path.isAt(from) {
		s.fromElsewhere(p, slot, from)
	}
	s.heard(p, slot, h)
	if h.Flags&wire.FlagSolicit != 0 {
		p.pace.ask()
	}
	s.ahead(p, slot)
}

// follows counts the heartbeats that are missing between h and the highest one before it. None is
// missing before the peer judges us: until then its heartbeats are part of the handshake.
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
	if lost > 0 {
		s.askDrops() // perhaps a receive buffer of ours overflows: see overflows
	}
	p.counts.follow(gap, lost)
	if !p.session.stateless() {
		s.lostIn(p, slot, int64(lost), lost+1)
	}
	s.pooled(p, slot, h, arrival, lost)
}

// manyLost is how many missing heartbeats are believed without a check.
const manyLost = 64

// believable reports whether the peer can have sent that many heartbeats during the silence: it sends
// at most one per sixteenth of the period.
func believable(missing uint64, silence time.Duration, period uint32) bool {
	sixteenth := time.Duration(period) * time.Microsecond / 16
	return missing <= uint64(max(silence, 0)/max(sixteenth, 1))+manyLost
}

// take records a new heartbeat: arrival, delays, echo, negotiated period, detector. It reports
// whether the heartbeat proves that the peer lives: one that was held back for longer than the
// wait for the peer's failure does not.
func (s *shard) take(p *peer, slot uint32, h *wire.Header, arrival clock.Instant) bool {
	p.path.down(false) // the heartbeat came by our link
	p.counts.progressed(h.Progress)
	p.verdict.flag(degradedBit, h.Flags&wire.FlagDegraded != 0)
	p.pace.heard(h.Period, h.MinReceivePeriod, s.grid, s.engine.cfg.Accept.MinPeriod)
	measured := oneway.Heartbeat{Arrival: arrival, Send: clock.Instant(h.SendInstant)}
	roundTrip := s.echo(p, slot, h, &measured)
	if s.cut {
		p.path.unmeasured()
	} else {
		p.path.arrived(&measured)
	}
	if !p.session.stateless() { // an answer's sequence is an instant
		s.record(h, arrival, roundTrip)
	}
	lag := p.deadline.behind()
	held := p.deadline.heard && lag > s.lagLimit(p) && !p.session.stateless()
	if held {
		arrival = arrival.Add(-lag) // when it would have arrived
	}
	s.detect(p, slot, h, arrival, held)
	s.watchBelow(p, slot)

	if p.session.stateless() {
		return true
	}
	told := s.followedUp(p, slot, h)
	delays := s.sampled(p, slot, h, arrival, roundTrip, told)
	s.figured(p, slot, &delays, roundTrip, told)
	s.slowed(p, slot, h, told)
	return !held || p.deadline.failAt > s.now
}

// detect feeds the detector and sets the deadlines. Answers follow no schedule, so a stateless
// session is judged by answerWait and not by the detector.
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
		l.Learn(state, &s.learners.pools[p.path.class]) // at once, because its deadline may have passed
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

// checkSilence sets the next check of a peer: when it is to be solicited. A peer whose heartbeats are
// held back is not solicited, because its answer would be held back too.
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

// showSummary publishes the detector's summary, from which other goroutines compute the suspicion.
func (s *shard) showSummary(slot uint32, state []uint64) {
	c, i := s.table.at(slot)
	s.table.summary.Push(s.table.summaryWindow(c, i), state[:s.table.summary.Words])
}

// echo reads the echo of h: losses towards the peer, round trip, lag, and the acknowledgement of a
// slower period. It returns the round trip in nanoseconds, 0 if this echo gives none, and adds the
// exchange to measured.
func (s *shard) echo(p *peer, slot uint32, h *wire.Header, measured *oneway.Heartbeat) (roundTrip uint32) {
	if h.EchoIncarnation != s.incarnated || h.EchoSequence == 0 {
		return 0
	}
	arrival, residence := measured.Arrival, time.Duration(h.EchoResidence)
	if h.EchoSequence > p.sends.sequence.Get() { // the sequence of an answer: the instant of its writing
		s.lag(p, arrival.Sub(clock.Instant(h.EchoSequence)), residence, true, arrival)
		return 0
	}
	lost := p.counts.echo(h.EchoLost)
	if advance, counted := p.session.heard(h.EchoSequence); counted {
		s.lostOut(p, slot, lost, advance)
	}
	p.pace.echoed(h.EchoSequence, s.grid)
	away, exact := p.sends.since(h.EchoSequence, arrival)
	s.lag(p, away, residence, exact, arrival)
	trip := away - residence
	if !exact || residence > staleEcho*time.Duration(p.pace.period) || p.deadline.behind() > s.lagLimit(p) || s.cut {
		return 0 // a datagram that was held back does not measure the path
	}
	measured.Exchanged, measured.RoundTrip, measured.Residence = true, trip, residence
	if trip <= 0 {
		return 0 // by the skew of the clocks
	}
	roundTrip = saturate32(trip)
	p.path.trip(trip)
	s.learners.trip(p.path.class, roundTrip)
	return roundTrip
}

// lag records the lag of a heartbeat: its age in excess of the least round trip. The heartbeat echoes
// one that was sent away before the arrival and that the peer held for residence. away is a lower
// bound unless exact; below 0 it is unknown. Without a measured round trip there is no lag.
func (s *shard) lag(p *peer, away, residence time.Duration, exact bool, arrival clock.Instant) {
	if away < 0 {
		return
	}
	if away <= residence {
		p.deadline.lagged(0)
		return
	}
	stood := time.Duration(s.lostAt(arrival) - s.lostAt(arrival.Add(-away))) // own pauses
	lag := away - residence - p.path.leastTrip() - stood
	if p.path.leastTrip() != 0 && (exact || lag > p.deadline.behind()) {
		p.deadline.lagged(lag)
	}
}

// staleEcho is how many periods an echo may have waited at the peer to give a round trip.
const staleEcho = 4

// lagLimit returns the lag above which a heartbeat was held back on its path, by a queue or by
// somebody who replays recordings. A peer that failed or was held back is alive again only by a
// heartbeat with a small lag.
func (s *shard) lagLimit(p *peer) time.Duration {
	if p.deadline.held || p.verdict.state() == Failed {
		return leastLag
	}
	return max(p.deadline.wait(p.deadline.suspectAt), leastLag)
}

// leastLag is more than what a change of routes adds to a round trip.
const leastLag = 500 * time.Millisecond

// heard moves p to the state that a new heartbeat of its session proves: alive if p hears us, else
// one-way.
func (s *shard) heard(p *peer, slot uint32, h *wire.Header) {
	if p.path.fault == OwnNode {
		s.setFault(p, NoCause) // another node answers
	}
	state := p.verdict.state()
	to, cause := Alive, ReachableAgain
	switch {
	case p.path.fault != NoCause:
		to, cause = OneWay, p.path.fault // the kernel refuses our heartbeats to p
	case h.EchoIncarnation != s.incarnated:
		p.pace.ask() // our next heartbeat tells p our incarnation
		if state == Alive && s.now.Sub(s.incarnatedAt) < s.engine.cfg.ConnectTimeout {
			return // p may have sent this before it heard of our new incarnation
		}
		to, cause = OneWay, Deaf
	case p.deadline.held && (state == Failed || state == Suspect && s.effective(p, p.deadline.failAt) <= s.now):
		return // sent too long ago to prove that p lives
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
