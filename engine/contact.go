package engine

import (
	"time"

	"systole/engine/clock"
	"systole/engine/internal/udp"
	"systole/wire"
)

// newLife takes a heartbeat of a greater incarnation than p is known by, or of any if another
// process has followed p. It becomes the peer's life when it proves that it hears us, by naming
// our present incarnation: a recording of some other life cannot. Until then it is a candidate,
// and our next heartbeat, sent at once, names it so that it can prove itself.
func (s *shard) newLife(p *peer, slot uint32, h *wire.Header, j int, arrival clock.Instant, socket int) {
	if h.Flags&wire.FlagLeaving != 0 || p.isOver(h) {
		s.counters.stale.Add(1) // it left before we met it, or is buried
		return
	}
	if h.EchoIncarnation == s.incarnated && h.EchoSequence <= p.sent.Get() && h.EchoSequence > p.sentFrom.Get() {
		s.adoptLife(p, slot, h)
		s.sameLife(p, slot, h, j, arrival, socket)
		return
	}
	if h.Incarnation < p.candidate && arrival.Sub(p.candidateAt) < candidateTime {
		s.counters.stale.Add(1)
		return
	}
	if h.EchoIncarnation > s.incarnated {
		s.otherSelf(h)
	}
	if h.Incarnation != p.candidate || h.Sequence > p.candidateSeq {
		p.candidate, p.candidateSeq, p.candidateAt = h.Incarnation, h.Sequence, arrival
		s.answer(p, slot, h, s.net.From(j), socket)
		s.stillDeaf(p)
	}
	s.counters.unproven.Add(1)
}

// stillDeaf grants more silence to a peer that was heard and never proved to hear us, unless
// it is failed already: what we hear has not failed.
func (s *shard) stillDeaf(p *peer) {
	if state := p.state(); p.life.Get() == 0 && (state == OneWay || state == Suspect) {
		s.grantDeaf(p)
	}
}

// grantDeaf sets until when a peer that never proved to hear us may be silent.
func (s *shard) grantDeaf(p *peer) {
	p.pausedBefore.Set(uint64(s.lostAt(p.candidateAt)))
	p.graceTo.Set(0)
	p.suspectAt = p.candidateAt.Add(s.engine.cfg.ConnectTimeout)
	p.failAt = p.suspectAt.Add(s.engine.cfg.ConnectTimeout)
}

// watchesAgain reports whether h, new and of the life that p said goodbye in, takes that back:
// p had removed this node and has added it again. Its sequences go on after the goodbye's,
// highest or below, while what was still on its way then is below that; and it has heard us
// since. Until it has, it is told at once who we are.
func (s *shard) watchesAgain(p *peer, slot uint32, h *wire.Header, highest uint64) bool {
	if h.Sequence < highest || h.Flags&wire.FlagLeaving != 0 {
		return false
	}
	if h.EchoIncarnation != s.incarnated {
		p.flags |= flagKick
		s.kick(p, slot)
		return false
	}
	s.forget(slot)
	return true
}

// answer sends a candidate one heartbeat, to where it wrote from, that names its
// incarnation. It goes out at most once per kickGap and is as long as what came, so it
// amplifies nothing that a forger could send.
func (s *shard) answer(p *peer, slot uint32, in *wire.Header, to *udp.Addr, socket int) {
	if p.answeredAt != 0 && s.now.Sub(p.answeredAt) < s.kickGap(p) {
		return
	}
	p.answeredAt = s.now
	h := &s.out
	s.fill(h, p, s.now)
	h.Destination = in.Sender
	h.EchoIncarnation, h.EchoSequence = in.Incarnation, in.Sequence
	h.EchoResidence = uint64(s.now.Sub(p.candidateAt))
	h.EchoLost, h.EchoDeadline, h.EchoVerdict = 0, 0, wire.VerdictUnknown
	s.write(p, slot, h, to, socket)
}

// pastLife takes a heartbeat of an incarnation that is over. Its writer may be a process
// whose clock went back, or one of two with the same id, and must learn of the other:
// it is answered, rarely, with the incarnation that is in force.
func (s *shard) pastLife(p *peer, slot uint32, h *wire.Header, j, socket int) {
	s.counters.stale.Add(1)
	if h.Destination != s.engine.id || p.answeredAt != 0 && s.now.Sub(p.answeredAt) < collisionGap {
		return
	}
	p.answeredAt = s.now
	s.fill(&s.out, p, s.now)
	s.write(p, slot, &s.out, s.net.From(j), socket)
}

// candidateTime is how long a candidate keeps lesser ones away: recordings played in
// any order then delay a true restart by no more.
const candidateTime = time.Second

// adoptLife makes h's incarnation the peer's life and forgets the old one's statistics
// of arrival, which say nothing of the new process.
func (s *shard) adoptLife(p *peer, slot uint32, h *wire.Header) {
	first := p.life.Get() == 0
	s.forget(slot)
	p.life.Set(h.Incarnation)
	p.flags &^= flagSucceeded
	p.candidate = 0
	p.replay = wire.ReplayWindow{}
	p.lostBefore = uint32(p.lostIn.Get())
	p.nextPathBase, p.pathSamples = 0, 0
	p.arrival = s.now
	p.graceTo.Set(0)
	p.suspectAt = s.now.Add(s.engine.cfg.ConnectTimeout)
	p.failAt = p.suspectAt.Add(s.engine.cfg.ConnectTimeout)
	s.engine.acknowledged.Store(true)
	cause := Restarted
	if first {
		cause = FirstContact
	}
	p.flags |= flagKick
	p.answeredAt, p.freeKicks = 0, kicksFree
	s.transition(p, slot, Alive, cause, s.now)
}

// stranger handles a sender that no slot has: the awaited process at a watched address
// whose id was not known, or one that Accept may let in. It returns its slot, or noSlot.
func (s *shard) stranger(h *wire.Header, from *udp.Addr, socket int) uint32 {
	switch waits, answer := s.engine.awaited.lookup(*from); answer {
	case somebodyAwaited:
		return s.identify(waits, h, from)
	case registerLocked:
		s.counters.unproven.Add(1)
		return noSlot // it may be awaited: its next heartbeat finds out
	}
	if !s.engine.cfg.Accept.Anyone {
		s.counters.strangers.Add(1)
		return noSlot
	}
	if s.admitted >= max(s.engine.cfg.Accept.Max/s.engine.cfg.Shards, 1) || !s.tokens.take(s.now) || h.Flags&wire.FlagLeaving != 0 {
		s.counters.refusedStrangers.Add(1)
		return noSlot
	}
	slot, ok := s.stash.TryPop()
	if s.stash.Len() < stashSize/2 {
		s.engine.ask()
	}
	if !ok {
		s.counters.refusedStrangers.Add(1) // the next heartbeat finds a slot
		return noSlot
	}
	return s.admit(slot, h, from, socket)
}

// admit fills a free slot for a stranger and returns it, or noSlot if somebody has come to be
// awaited at its address since that was asked.
func (s *shard) admit(slot uint32, h *wire.Header, from *udp.Addr, socket int) uint32 {
	p := s.table.peer(slot)
	s.engine.resetPeer(p)
	p.addr = *from
	p.socket = uint8(socket)
	p.flags = flagAdmitted | flagPinned
	p.owner.Set(uint64(s.number) + 1)
	p.known.Set(h.Sender)
	if _, ok := s.enter(p, slot, placeAdmitted, placeWatched|placeAdmitted); !ok {
		p.owner.Set(0)
		s.release(slot)
		s.counters.unproven.Add(1)
		return noSlot // its next heartbeat finds who waits
	}
	s.admitted++
	s.add(p, slot)
	s.connectBy(p, slot)
	s.awaitProof(p, slot, time.Duration(h.Period)*time.Microsecond)
	return slot
}

// awaitProof has a stranger waited for until its next heartbeats: one that knows us already proves
// itself with its schedule, not at once. What a stranger says of its period goes only so far.
func (s *shard) awaitProof(p *peer, slot uint32, period time.Duration) {
	wait := min(2*period, maxProof*s.engine.cfg.ConnectTimeout)
	p.failAt = max(p.failAt, s.now.Add(wait))
	p.suspectAt = p.failAt
	s.lookAt(p, slot, p.failAt)
}

// maxProof is how many times ConnectTimeout a stranger is waited for at most.
const maxProof = 4

// identify gives the watched slot at an address the id of the process that answers
// there, on the shard where that id's heartbeats arrive.
func (s *shard) identify(waits awaitedPeer, h *wire.Header, from *udp.Addr) uint32 {
	slot := waits.slot
	if owner := int(waits.shard); owner != s.number {
		s.engine.shards[owner].post(command{
			kind: commandHandOver, slot: slot, generation: waits.generation, arg: h.Sender, addr: *from,
		})
		s.counters.unproven.Add(1)
		return noSlot // its next heartbeat finds it here
	}
	p := s.waiting(waits, from)
	if p == nil {
		s.counters.strangers.Add(1) // removed, handed over just now, or not yet added
		return noSlot
	}
	if p.known.Get() == h.Sender {
		return slot
	}
	if p.isOver(h) {
		s.counters.stale.Add(1) // it was on its way for long
		return noSlot
	}
	s.succeed(p, h.Sender)
	s.index.insert(h.Sender, slot)
	return slot
}

// waiting returns the peer that the register says waits at an address, or nil unless the peer is
// this shard's and says so itself. It is taken in if another shard has handed it over.
func (s *shard) waiting(w awaitedPeer, at *udp.Addr) *peer {
	p := s.table.peer(w.slot)
	if p.owner.Load() != uint64(s.number)+1 || !p.awaitedAt(at) || p.generation != w.generation {
		return nil
	}
	s.adopt(p, w.slot)
	return p
}

// awaitedAt reports whether p has been taken in by a shard, and who writes from an address may
// give it its id. Until then its other fields are AddPeer's.
func (p *peer) awaitedAt(from *udp.Addr) bool {
	return p.state() != Unknown && p.flags&flagAwaited != 0 && p.addr == *from
}

// unproven is the incarnation of a peer that another process follows, with an id of its own: its
// incarnations start anew, and it proves itself as every new life does. It may be 1 as well: so
// flagSucceeded tells, until it has.
const unproven = 1

// succeed gives p the id of the process that answers at its address now. What is over stays so.
func (s *shard) succeed(p *peer, id uint64) {
	old, life, state := p.known.Get(), p.life.Get(), p.state()
	if old != 0 {
		s.index.remove(old)
		p.candidate = 0 // a life of the other process
	}
	p.known.Set(id)
	if life == 0 {
		return
	}
	if p.flags&flagSucceeded == 0 && (state == Left || state == Failed && !s.engine.cfg.Resurrect) {
		p.overID, p.overLife = uint32(old), life
	}
	p.life.Set(unproven)
	p.flags |= flagSucceeded
}

// isOver reports whether h is of a process that was failed, or had left, before another one
// followed it.
func (p *peer) isOver(h *wire.Header) bool {
	return uint32(h.Sender) == p.overID && h.Incarnation <= p.overLife
}

// enter registers p at its address, in place of whoever gives way there: see awaited.enter.
func (s *shard) enter(p *peer, slot uint32, as, giving place) (gone awaitedPeer, ok bool) {
	gone, ok = s.engine.awaited.enter(p.addr, awaitedPeer{slot, p.generation, uint8(s.number), as}, giving)
	if ok && as == placeAwaited {
		p.flags |= flagAwaited
	}
	return gone, ok
}

// await registers p's address, so that a process with another id that answers there is
// taken for p's successor. Peers whose id was given are known by that id alone.
func (s *shard) await(p *peer, slot uint32) {
	if p.flags&(flagPinned|flagAwaited) == 0 && !p.addr.IsZero() {
		s.enter(p, slot, placeAwaited, 0)
	}
}

// awaitFirst does so for a peer that has just got its first address. Who is watched there by an
// older name gives way, and so does an admitted stranger.
func (s *shard) awaitFirst(p *peer, slot uint32) {
	if p.flags&flagPinned != 0 {
		return
	}
	gone, ok := s.enter(p, slot, placeAwaited, placeWatched|placeAdmitted)
	if !ok {
		return
	}
	s.giveWay(gone.stranger())
	p.number(s.engine.sequences.Load()) // nothing was sent to it yet
}

// giveWay ends that admitted stranger, if there is one, at whose address a peer of
// this shard is awaited now. Else the process there would get heartbeats of both, with sequences of
// both. Those to the new one go on after those to the stranger, which another shard may still write.
func (s *shard) giveWay(stranger uint64) {
	if stranger == 0 {
		return
	}
	replace := command{kind: commandReplace, slot: uint32(stranger), generation: uint32(stranger >> 32)}
	rec := s.table.peer(replace.slot)
	if owner := s.engine.ownerOf(rec); owner != s {
		s.engine.wrote(rec.sent.Load() + lastWrites)
		s.pass(owner.number, replace)
		return
	}
	s.command(&replace)
}

// moves notes that p writes from another address now. If it was awaited, it is so there, and
// no longer where it was: whoever is at that address next is not p.
func (s *shard) moves(p *peer, slot uint32, to *udp.Addr, socket int) {
	awaited := p.flags&flagAwaited != 0
	s.leaveAddress(p, slot)
	p.addr = *to
	switch {
	case p.flags&flagAdmitted != 0:
		s.enter(p, slot, placeAdmitted, placeWatched|placeAdmitted)
	case awaited:
		s.await(p, slot)
	default:
		s.unawait(p, slot)
	}
	p.socket = uint8(socket)
	s.counters.moved.Add(1)
}

// unawait notes that p itself is at its address.
func (s *shard) unawait(p *peer, slot uint32) {
	p.flags &^= flagAwaited
	if p.flags&flagPinned == 0 && !p.addr.IsZero() {
		s.enter(p, slot, placeWatched, 0)
	}
}

// leaveAddress takes p's address off the register.
func (s *shard) leaveAddress(p *peer, slot uint32) {
	p.flags &^= flagAwaited
	if p.flags&(flagPinned|flagAdmitted) != flagPinned && !p.addr.IsZero() {
		s.engine.awaited.remove(p.addr, slot, p.generation)
	}
}

// ownID handles a datagram that bears our own id: our own, come back to us, or of
// another process that has the same id.
func (s *shard) ownID(h *wire.Header) {
	if h.Incarnation == s.incarnated {
		s.counters.looped.Add(1)
		return
	}
	s.counters.collisions.Add(1)
	s.collided()
}

// otherSelf handles a fresh echo that names a greater incarnation of our id than ours.
// If nobody ever acknowledged ours, our clock has gone back since the last life: we
// move ahead of it. Else two processes use one id.
func (s *shard) otherSelf(h *wire.Header) {
	if s.engine.acknowledged.Load() || h.EchoIncarnation >= maxIncarnation {
		s.counters.outlived.Add(1)
		s.collided()
		return
	}
	if s.engine.incarnation.CompareAndSwap(s.incarnated, h.EchoIncarnation+1) {
		s.incarnated = h.EchoIncarnation + 1
		s.counters.reincarnated.Add(1)
	}
}

// maxIncarnation leaves room above every honest incarnation, so that a forged echo
// cannot exhaust the numbers.
const maxIncarnation = 1 << 63

// collided publishes IDCollision, at most once per collisionGap.
func (s *shard) collided() {
	if s.collidedAt == 0 || s.now.Sub(s.collidedAt) >= collisionGap {
		s.collidedAt = s.now
		s.publishNode(IDCollision, 0)
	}
}

// collisionGap keeps two processes with one id from filling the event queues.
const collisionGap = time.Second
