// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"time"

	"systole/engine/clock"
)

// A judge timer only says when to look. Heartbeats move p.checkAt and leave the timer
// where it is; a timer that fires too early is set anew. So a heartbeat costs no wheel
// operation, and a live peer costs one about every margin, on a turn that sends anyway.

// lookAt sets the next look at p to at, moving the timer only if it is armed too late.
func (s *shard) lookAt(p *peer, slot uint32, at clock.Instant) {
	p.checkAt = at
	if p.timerAt == 0 || at < p.timerAt {
		s.armJudge(p, slot)
	}
}

// armJudge arms the timer for p.checkAt: exactly when it is near or on the raster on which
// sends turn the loop anyway, else a grid step earlier on that.
func (s *shard) armJudge(p *peer, slot uint32) {
	at := p.checkAt
	if at == clock.Never {
		return
	}
	if step := clock.Instant(s.grid); at > s.now+2*step && at%step != 0 {
		at = (at - step) / step * step
	}
	p.timerAt = at
	s.wheel.Set(judgeTimer(slot), at)
}

// look is what a judge timer does.
func (s *shard) look(p *peer, slot uint32) {
	if p.checkAt > s.now {
		s.armJudge(p, slot)
		return
	}
	switch p.state() {
	case Connecting:
		s.lookConnecting(p, slot)
	case Alive, OneWay:
		s.lookHeard(p, slot)
	case Suspect:
		s.lookSuspect(p, slot)
	case Failed, Left:
		if p.flags&flagAdmitted != 0 {
			s.remove(p, slot, Forgotten)
		}
	}
}

// lookConnecting ends the patience with a peer that never proved to hear us.
func (s *shard) lookConnecting(p *peer, slot uint32) {
	at := s.effective(p, p.failAt)
	if s.putOff(p, slot, at) {
		return
	}
	heard := p.candidate != 0 && s.now.Sub(p.candidateAt) < s.engine.cfg.ConnectTimeout
	switch {
	case p.flags&(flagAdmitted|flagProven) == flagAdmitted:
		s.remove(p, slot, Forgotten) // a stranger that never answered: perhaps forged
	case p.flags&flagLinkGone != 0:
		s.lookAt(p, slot, s.now.Add(s.period(p))) // nothing was sent that it could answer
	case s.linkUnusable(p, slot):
	case heard:
		s.transition(p, slot, OneWay, Deaf, at)
		s.grantDeaf(p)
		s.lookAt(p, slot, p.suspectAt)
	default:
		s.transition(p, slot, Failed, NeverHeard, at)
	}
}

// lookHeard asks a silent peer, and suspects it when the deadline has passed.
func (s *shard) lookHeard(p *peer, slot uint32) {
	at := s.effective(p, p.suspectAt)
	if at > s.now {
		s.solicit(p, slot, at)
		return
	}
	if s.putOff(p, slot, at) {
		return
	}
	down := s.net.LinkDown(&p.addr)
	if down {
		p.flags |= flagLinkDown
	}
	if down || p.flags&flagLinkGone != 0 {
		s.transition(p, slot, Suspect, LocalLink, at)
		s.lookAt(p, slot, s.effective(p, p.failAt))
		return
	}
	s.transition(p, slot, Suspect, Silence, at)
	s.silenced(s.granted(p, p.suspectAt))
	p.flags |= flagKick
	s.lookAt(p, slot, s.effective(p, p.failAt))
}

// lookSuspect declares a peer failed that stayed silent, unless the fault may be ours.
func (s *shard) lookSuspect(p *peer, slot uint32) {
	at := s.effective(p, p.failAt)
	if p.life.Get() == 0 && p.candidate != 0 && p.suspectAt > s.now {
		s.transition(p, slot, OneWay, Deaf, p.candidateAt) // heard again, and still deaf
		s.lookAt(p, slot, p.suspectAt)
		return
	}
	if p.flags&flagLinkGone != 0 {
		s.lookAt(p, slot, s.now.Add(s.period(p)))
		return
	}
	if at <= s.now && s.linkUnusable(p, slot) {
		return
	}
	if s.silences.suspect > s.now {
		at = max(at, s.silences.suspect)
	}
	if s.putOff(p, slot, at) {
		return
	}
	_, _, _, cause := unpackStatus(p.status.Get())
	if cause == LocalLink {
		cause = Silence // our link has been back for the whole of a wait
	}
	s.transition(p, slot, Failed, cause, at)
}

// maxExtensions bounds how often an overflowing socket puts off the verdict on one
// silence, so that a flood cannot keep the dead alive.
const maxExtensions = 3

// putOff reports whether a verdict that was due at the instant at must wait: it is not
// yet due, the sockets have not been read past it, for certain, or they overflowed since
// the peer was last read.
func (s *shard) putOff(p *peer, slot uint32, at clock.Instant) bool {
	if at > s.now {
		s.lookAt(p, slot, at)
		return true
	}
	if at > s.drained || s.now.Sub(at) < maxUndrained && (s.now != s.drained || !s.isSure()) {
		s.lookAt(p, slot, s.now+1)
		s.unfinished = true
		return true
	}
	s.askDrops()
	if p.drops != s.drops && p.extensions < maxExtensions {
		p.extensions++
		p.drops = s.drops
		wait := max(s.granted(p, p.suspectAt), time.Duration(p.period))
		grace := s.now.Add(min(wait, s.engine.cfg.ConnectTimeout))
		p.graceTo.Set(uint64(grace))
		s.counters.extended.Add(1)
		s.lookAt(p, slot, grace)
		return true
	}
	return false
}

// maxUndrained is how long a verdict waits for the sockets to be read empty when
// everything up to its deadline has been read already.
const maxUndrained = 10 * time.Millisecond

// askDrops asks the kernel, once per turn at most, how many datagrams it dropped for
// want of buffer: the control messages tell it only with the next datagram.
func (s *shard) askDrops() {
	if s.dropsAsked {
		return
	}
	s.dropsAsked = true
	s.drops = s.net.Drops()
	s.counters.dropped.Set(uint64(s.drops))
}

// maxSolicitations bounds the heartbeats that ask one silent peer to answer at once.
const maxSolicitations = 3

// askShare is the share of the suspicion, one in so many, before which nobody is asked.
const askShare = 6

// askAt returns when a peer that stays silent is first asked: when its next heartbeat is
// late by what an answer takes, and by askShare of the suspicion. So few are asked whose
// heartbeats were on their way, and steady traffic stays as it is; but a lost heartbeat
// is replaced soon, and a detector that learns margins learns short ones. That look is due
// in every period, so it waits for the raster, where it wakes nobody. Other detectors gain
// nothing by more time than maxSolicitations answers take.
func (s *shard) askAt(p *peer, state []uint64) clock.Instant {
	due := p.arrival.Add(s.period(p) + s.askGap(p))
	at := max(due, s.table.detector.Deadline(state, s.engine.suspectLevel/askShare))
	if step := clock.Instant(s.grid); s.pupils.learner == nil {
		at = max(at, p.suspectAt.Add(-maxSolicitations*s.askGap(p)))
	} else if at < clock.Never-step {
		at = (at + step - 1) / step * step
	}
	return min(at, p.suspectAt)
}

// askGap is the time an answer to a solicitation takes: the round trip and the raster on
// which the peer reads. We read before we judge, so ours does not count.
func (s *shard) askGap(p *peer) time.Duration {
	return time.Duration(p.roundTrips.Get()>>32) + s.grid
}

// solicit asks p to answer at once, before its deadline at passes. A lost heartbeat
// so costs a round trip and not a mistake.
func (s *shard) solicit(p *peer, slot uint32, at clock.Instant) {
	if p.solicitations >= maxSolicitations {
		s.lookAt(p, slot, at)
		return
	}
	p.solicitations++
	s.counters.solicited.Add(1)
	s.send(p, slot, s.now)
	s.lookAt(p, slot, min(at, s.now.Add(s.askGap(p))))
}

// transition moves p to state to and publishes the event. at is the instant that the
// evidence is of: the deadline, or the arrival.
func (s *shard) transition(p *peer, slot uint32, to State, cause Cause, at clock.Instant) {
	from := p.state()
	if !mayFollow(from, to) {
		s.counters.refusedTransitions.Add(1)
		return
	}
	suspicion := s.suspicion(p, slot, to)
	p.publishVerdict(to, cause, s.now, suspicion)
	s.count(from, -1)
	s.count(to, +1)
	s.counters.transitions.Add(1)
	s.settle(p, slot, to)
	if (from == Failed || from == Left) && (to == Alive || to == OneWay) {
		s.resume(p, slot)
	}
	s.publish(p, slot, from, to, cause, at, suspicion)
}

// count keeps the number of peers that are heard.
func (s *shard) count(state State, by int) {
	if state == Alive || state == OneWay {
		s.alive += by
	}
}

// settle sets what a new state asks for: the patience, and the period of probing.
func (s *shard) settle(p *peer, slot uint32, to State) {
	switch to {
	case Alive:
		p.flags = p.flags&^flagLinkDown | flagProven
		s.unawait(p, slot)
		s.lookAt(p, slot, s.askAt(p, s.state(slot)))
	case Suspect:
		s.await(p, slot)
	case Failed, Left:
		s.await(p, slot)
		p.checkAt = clock.Never
		if p.flags&flagNamed != 0 {
			s.engine.ask() // its name may have another address
		}
		if p.flags&flagAdmitted != 0 {
			s.lookAt(p, slot, s.now.Add(s.engine.cfg.Accept.Forget))
		}
	}
}

// resume goes back to p's period, which it is told, from that of probing, and tells p at
// once: else it would wait for the rest of a probe's.
func (s *shard) resume(p *peer, slot uint32) {
	p.flags |= flagKick
	if !p.addr.IsZero() {
		s.schedule(p, slot)
	}
}

// suspicion returns the level to publish with a transition to state to.
func (s *shard) suspicion(p *peer, slot uint32, to State) float64 {
	if p.arrival == 0 {
		return 0
	}
	level := s.table.detector.Suspicion(s.state(slot), s.now)
	switch to {
	case Suspect:
		return max(level, s.engine.suspectLevel)
	case Failed:
		return max(level, s.engine.failLevel)
	}
	return level
}
