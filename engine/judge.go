// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"time"

	"systole/engine/clock"
)

// A judge timer only says when to check a peer. A heartbeat moves deadline.checkAt and leaves the
// timer alone; a timer that fires too early is set anew. So a heartbeat costs no operation of the
// wheel, and a live peer costs about one per margin, on a turn that sends anyway.

// checkAt sets the next check of p to at, moving the timer only if it is armed too late.
func (s *shard) checkAt(p *peer, slot uint32, at clock.Instant) {
	p.deadline.check(at)
	if p.deadline.timerAt == 0 || at < p.deadline.timerAt {
		s.armJudge(p, slot)
	}
}

// armJudge arms the timer for the next check: exactly if the check is near or on the grid, else on
// the grid one step earlier, where sends wake the loop anyway.
func (s *shard) armJudge(p *peer, slot uint32) {
	at := p.deadline.checkAt
	if at == clock.Never {
		return
	}
	if step := clock.Instant(s.grid); at > s.now+2*step && at%step != 0 {
		at = (at - step) / step * step
	}
	p.deadline.arm(at)
	s.wheel.Set(judgeTimer(slot), at)
}

// check handles a judge timer.
func (s *shard) check(p *peer, slot uint32) {
	p.deadline.arm(0)
	if p.deadline.checkAt <= s.now.Add(2*s.grid) { // while others keep the loop awake; else each peer wakes it
		s.readBelow(p, slot, s.now)
	}
	if p.deadline.checkAt > s.now {
		s.armJudge(p, slot)
		return
	}
	switch p.verdict.state() {
	case Connecting:
		s.checkConnecting(p, slot)
	case Alive, OneWay:
		s.checkHeard(p, slot)
	case Suspect:
		s.checkSuspect(p, slot)
	case Failed, Left:
		if p.pace.admitted {
			s.forgetStranger(p, slot)
		}
	}
}

// checkConnecting ends the wait for a peer that never proved to hear us.
func (s *shard) checkConnecting(p *peer, slot uint32) {
	at := s.effective(p, p.deadline.failAt)
	if s.putOff(p, slot, at) {
		return
	}
	if p.path.fault != NoCause {
		s.checkAt(p, slot, s.now.Add(p.pace.theirs())) // the peer got nothing that it could answer
		return
	}
	if !s.linkUnusable(p, slot) {
		s.transition(p, slot, Failed, NeverHeard, at)
	}
}

// checkHeard solicits a silent peer, and suspects it when the deadline has passed.
func (s *shard) checkHeard(p *peer, slot uint32) {
	at := s.effective(p, p.deadline.suspectAt)
	if at > s.now {
		s.solicit(p, slot, at)
		return
	}
	if s.putOff(p, slot, at) {
		return
	}
	why := p.path.fault
	if s.linkDown(p) {
		p.path.down(true)
		why = LocalLink
	}
	if why != NoCause {
		s.transition(p, slot, Suspect, why, at)
		s.checkAt(p, slot, s.now.Add(p.pace.theirs())) // whether the fault is over
		return
	}
	s.transition(p, slot, Suspect, Silence, at)
	s.silenced(p)
	p.pace.ask()
	s.checkAt(p, slot, s.effective(p, p.deadline.failAt))
}

// checkSuspect fails a peer that stayed silent, unless the fault may be ours.
func (s *shard) checkSuspect(p *peer, slot uint32) {
	at := s.effective(p, p.deadline.failAt)
	if p.path.fault != NoCause {
		s.checkAt(p, slot, s.now.Add(p.pace.theirs()))
		return
	}
	if (at <= s.now || p.path.linkDown) && s.linkUnusable(p, slot) {
		return
	}
	if q, _ := s.silencesOf(p); q.suspect > s.now {
		at = max(at, q.suspect)
	}
	if s.putOff(p, slot, at) {
		return
	}
	cause := p.verdict.cause()
	if cause.local() {
		cause = Silence // our fault has been over for a whole wait
	}
	s.transition(p, slot, Failed, cause, at)
}

// maxExtensions bounds how often receive drops put off the verdict on one silence, so that a flood
// cannot keep a dead peer alive.
const maxExtensions = 3

// putOff reports whether a verdict due at the instant at must wait: it is not due yet, the sockets
// have not certainly been read past it, or they dropped datagrams since the peer was last heard.
func (s *shard) putOff(p *peer, slot uint32, at clock.Instant) bool {
	if at > s.now {
		s.checkAt(p, slot, at)
		return true
	}
	if at > s.drained || s.now.Sub(at) < maxUndrained && (s.now != s.drained || !s.isSure()) {
		s.checkAt(p, slot, s.now+1)
		s.unfinished = true
		return true
	}
	s.askDrops()
	wait := max(p.deadline.wait(p.deadline.suspectAt), time.Duration(p.pace.period))
	grace := s.now.Add(min(wait, s.engine.cfg.ConnectTimeout))
	if p.deadline.extend(s.drops, grace) {
		s.counters.extended.Add(1)
		s.checkAt(p, slot, grace)
		return true
	}
	return false
}

// maxUndrained is how long a verdict waits for empty sockets once everything up to its deadline has
// been read.
const maxUndrained = 10 * time.Millisecond

// askDrops asks the kernel, at most once per turn, how many datagrams it dropped for want of buffer:
// the control messages tell it only with the next datagram.
func (s *shard) askDrops() {
	if s.dropsAsked {
		return
	}
	s.dropsAsked, s.dropsAt = true, s.now
	drops := s.net.Drops()
	if drops != s.drops {
		s.drops, s.overflowAt = drops, s.now
	}
	s.counters.dropped.Set(uint64(drops))
}

// maxSolicitations bounds the solicitations of one peer in one silence.
const maxSolicitations = 3

// askShare: no peer is solicited below this fraction, 1/askShare, of the suspicion of Suspect.
const askShare = 6

// askAt returns when a silent peer is first solicited: when its next heartbeat is late by the time
// that an answer takes, and by 1/askShare of the suspicion. So a lost heartbeat is replaced soon,
// and a detector that learns margins learns short ones, while few peers are solicited whose
// heartbeats are merely late. With a learner that check is due in every period, so it lies on the
// grid, where it causes no wake-up. Other detectors gain nothing by more time than
// maxSolicitations answers take.
func (s *shard) askAt(p *peer, state []uint64) clock.Instant {
	due := p.deadline.from.Add(p.pace.theirs() + s.askGap(p))
	at := max(due, s.table.detector.Deadline(state, s.engine.suspectLevel/askShare))
	if step := clock.Instant(s.grid); s.learners.learner == nil {
		at = max(at, p.deadline.suspectAt.Add(-maxSolicitations*s.askGap(p)))
	} else if at < clock.Never-step {
		at = (at + step - 1) / step * step
	}
	return min(at, p.deadline.suspectAt)
}

// askGap is the time that an answer to a solicitation takes: the round trip and the grid step on
// which the peer reads.
func (s *shard) askGap(p *peer) time.Duration { return p.path.roundTrip() + s.grid }

// solicit asks p to answer at once, before its deadline at. So a lost heartbeat costs a round trip
// and not a mistake.
func (s *shard) solicit(p *peer, slot uint32, at clock.Instant) {
	if !p.pace.mayPay() || !p.deadline.ask() {
		s.checkAt(p, slot, at)
		return
	}
	s.counters.solicited.Add(1)
	s.send(p, slot, s.now)
	s.checkAt(p, slot, min(at, s.now.Add(s.askGap(p))))
}

// transition moves p to state to and publishes the event. at is the instant of the evidence: the
// deadline, or the arrival.
func (s *shard) transition(p *peer, slot uint32, to State, cause Cause, at clock.Instant) {
	from := p.verdict.state()
	if !mayFollow(from, to) {
		s.counters.refusedTransitions.Add(1)
		return
	}
	level := s.suspicion(p, slot, to, cause)
	p.verdict.move(to, cause, s.now, level)
	s.count(p, from, -1)
	s.count(p, to, +1)
	s.counters.transitions.Add(1)
	s.settle(p, slot, from, to)
	s.publish(p, slot, from, to, cause, at, level)
	s.engine.contexts.note(slot)
}

// count keeps the number of peers that are heard.
func (s *shard) count(p *peer, state State, by int) {
	if state != Alive && state != OneWay {
		return
	}
	s.alive += by
	s.counters.alive.Set(uint64(s.alive))
	if p.pace.admitted {
		s.aliveStrangers += by
	}
}

// settle sets what follows from a new state: the next check, and whether to probe slowly.
func (s *shard) settle(p *peer, slot uint32, from, to State) {
	over := from == Failed || from == Left
	switch to {
	case Alive, OneWay:
		if over {
			s.resume(p, slot)
		}
		if to == Alive || over {
			s.checkAgain(p, slot)
		}
	case Failed, Left:
		s.unwatchBelow(p, slot) // no deadline has its heartbeats read
		if to == Failed && from != Failed {
			p.counts.fail()
		}
		p.deadline.check(clock.Never)
		s.goHome(p, slot)
		if p.pace.admitted {
			s.checkAt(p, slot, s.now.Add(s.engine.cfg.Accept.Forget))
		}
	}
	if p.path.named && (to == Suspect || to == Failed || to == Left) {
		s.engine.poke(slot, p.verdict.generation()) // its name may have another address
	}
}

// checkAgain sets the next check of p, which is heard, by its deadlines.
func (s *shard) checkAgain(p *peer, slot uint32) {
	if p.session.stateless() || p.deadline.held {
		s.checkAt(p, slot, p.deadline.suspectAt)
		return
	}
	s.checkAt(p, slot, s.askAt(p, s.state(slot)))
}

// resume returns from slow probing to p's period, beginning with a heartbeat at once.
func (s *shard) resume(p *peer, slot uint32) {
	p.pace.ask()
	if at := p.path.addr(); !at.IsZero() {
		s.schedule(p, slot)
	}
}

// suspicion returns the level to publish with a transition to state to.
func (s *shard) suspicion(p *peer, slot uint32, to State, cause Cause) float64 {
	var words []uint64
	if p.deadline.heard {
		words = s.state(slot)
	}
	x := s.excuse(p)
	e := s.engine
	return suspicion(s.table.detector, words, s.now.Add(-x.shift()), to, cause, e.suspectLevel, e.failLevel)
}
