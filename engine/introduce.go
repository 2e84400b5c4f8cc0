package engine

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"systole/engine/clock"
	"systole/engine/internal/book"
	"systole/engine/internal/udp"
	"systole/wire"
)

// An introduction is a valid datagram without a discriminator of ours that is in force: a first
// contact, a process that has started anew, a peer that was forgotten here, or a forgery. It
// touches no peer. It is answered without state, if somebody is watched where it came from or
// strangers are admitted: by one datagram, as long as it, with a discriminator that is a keyed
// hash. Who returns that from the same address reads what is sent there, and is then a peer's
// new session, or admitted.

// introduction is a datagram that is passed to the shard of the peer that it turned out to be of.
type introduction struct {
	h       wire.Header
	from    udp.Addr
	arrival clock.Instant
	stamped bool // arrival is the kernel's
	socket  uint8
	source  uint8
}

// cookieTime is how long a discriminator that was made without state is good, at least.
const cookieTime = 16 * time.Second

// cookie returns the discriminator made for an introduction in the age-th interval before now.
func (e *Engine) cookie(in *introduction, now clock.Instant, age uint64) uint64 {
	var b [len(e.secret) + len(udp.Addr{}) + 3*8]byte
	n := copy(b[:], e.secret[:])
	n += copy(b[n:], in.from[:])
	binary.BigEndian.PutUint64(b[n:], in.h.Sender)
	binary.BigEndian.PutUint64(b[n+8:], in.h.MyDiscriminator)
	binary.BigEndian.PutUint64(b[n+16:], uint64(now)/uint64(cookieTime)-age)
	sum := sha256.Sum256(b[:])
	return max(binary.BigEndian.Uint64(sum[:])>>wire.SlotBits, 1) << wire.SlotBits
}

// returns reports whether h returns a discriminator that was made for it.
func (e *Engine) returns(in *introduction, now clock.Instant) bool {
	your := in.h.YourDiscriminator
	return your == e.cookie(in, now, 0) || your == e.cookie(in, now, 1)
}

// introduce handles an introduction, datagram j.
func (s *shard) introduce(h *wire.Header, j, socket int) {
	if s.movesTo(h, s.net.From(j)) {
		s.counters.introduced.Add(1)
		return
	}
	in := &s.letter.introduction
	arrival, stamped := s.arrived(j)
	*in = introduction{
		h: *h, from: *s.net.From(j), arrival: arrival, stamped: stamped, socket: uint8(socket), source: s.net.Source(j),
	}
	peers, ok := s.engine.book.At(in.from, h.Sender, s.entries[:0])
	s.entries = peers[:0]
	switch {
	case !ok:
		s.counters.introduced.Add(1) // its next one finds the book free
	case wire.Slot(h.YourDiscriminator) == 0 && h.YourDiscriminator != 0 && s.engine.returns(in, s.now):
		if s.leaving.active {
			s.introduced(in) // goodbye, to whoever believes our answer
			return
		}
		s.proven(in, peers)
	case h.Flags&wire.FlagLeaving != 0 || wire.Slot(h.MyDiscriminator) == 0 || s.leaving.active:
		s.counters.stale.Add(1) // a goodbye, or itself an answer, to nobody that is here now; or we leave
	case len(peers) > 0:
		s.introduced(in)
	case !s.engine.cfg.Accept.Anyone:
		s.counters.strangers.Add(1)
		s.note(refusedNobody, &in.from)
	case !s.engine.book.Answer(in.from, s.now, introductionsPerAdmission*s.engine.cfg.Accept.PerSecond):
		s.counters.refusedStrangers.Add(1)
		s.note(refusedRate, &in.from)
	default:
		s.introduced(in)
	}
}

// introductionsPerAdmission is how many introductions of one prefix are answered for each
// admission that Accept.PerSecond grants to all.
const introductionsPerAdmission = 4

// introduced counts and answers an introduction.
func (s *shard) introduced(in *introduction) {
	s.counters.introduced.Add(1)
	s.answer(in)
}

// answer answers an introduction, if it is no answer itself. The answer's sequence is the instant, or the
// next after that of the answer before, so that the echo of whoever returns it tells when it was written.
func (s *shard) answer(in *introduction) {
	if wire.Slot(in.h.MyDiscriminator) == 0 {
		return
	}
	s.answered = max(uint64(s.now), s.answered+1)
	s.out = wire.Header{
		Kind: wire.KindHeartbeat, YourDiscriminator: in.h.MyDiscriminator, MyDiscriminator: s.engine.cookie(in, s.now, 0),
		Sender: s.engine.id, Incarnation: s.incarnated, Sequence: s.answered, SendInstant: int64(s.now),
		Period:           max(in.h.Period, uint32(s.engine.cfg.Period/time.Microsecond)),
		MinReceivePeriod: s.engine.minReceive, Progress: s.engine.progress.Load(),
		EchoIncarnation: in.h.Incarnation, EchoSequence: in.h.Sequence, EchoResidence: uint64(max(s.now.Sub(in.arrival), 0)),
	}
	s.out.Flags = s.ownFlags()
	s.put(&s.out, in.h.Sender, &in.from, int(in.socket), in.source, 0)
}

// proven handles an introduction that has returned our answer: it is of a peer that is watched
// where it comes from, or of a stranger.
func (s *shard) proven(in *introduction, peers []book.Entry) {
	e, ok := s.belongs(in, peers)
	switch {
	case ok:
		if !s.deliver(letterProven, e) {
			s.counters.introduced.Add(1) // its next one finds room
		}
	case s.engine.cfg.Accept.Anyone && in.h.Flags&wire.FlagLeaving == 0:
		s.admit(in)
	default:
		s.counters.strangers.Add(1)
		s.note(refusedNobody, &in.from)
	}
}

// belongs returns which of the peers at its address an introduction is of: the one whose session it
// is, else one that is in touch with no process or with another one, else a configured one. A
// stranger that is in touch already has its own: the introduction is of another watch of its.
func (s *shard) belongs(in *introduction, peers []book.Entry) (best book.Entry, ok bool) {
	for _, e := range peers {
		p := s.table.peer(e.Slot)
		generation, state, _, _ := unpackStatus(p.verdict.status.Load())
		mine := generation == e.Generation
		switch {
		case mine && p.session.theirs.Load() == in.h.MyDiscriminator:
			return e, true
		case !mine || state != Alive && state != OneWay || p.session.incarnation.Load() != in.h.Incarnation:
			best, ok = e, true
		case !ok && !e.Admitted:
			best, ok = e, true
		}
	}
	return best, ok
}

// admit makes a stranger that has proved to read what is sent to its address a peer.
func (s *shard) admit(in *introduction) {
	slot, ok := s.spareSlot()
	if !ok {
		s.counters.refusedStrangers.Add(1) // its next heartbeat finds a slot
		return
	}
	accept := &s.engine.cfg.Accept
	e := book.Entry{Slot: slot, Generation: s.table.nextGeneration(slot), Admitted: true}
	room := book.Room{Max: accept.Max, PerSecond: accept.PerSecond, Worth: s.engine.worth}
	gone, v := s.engine.book.Admit(book.Place{Addr: in.from, ID: in.h.Sender}, e, s.now, &room)
	if v != book.Admitted {
		s.refuse(in, v)
		return
	}
	if gone.Slot != 0 {
		s.engine.tell(command{kind: commandForget, slot: gone.Slot, generation: gone.Generation})
	}
	s.spare = 0
	if !s.deliver(letterAdmit, e) {
		s.engine.book.Forget(e)
		s.spare = slot
	}
}

// refuse handles a stranger that is not admitted. It is answered, if the rate of its prefix allows: so it
// knows that this node is there, and does not accuse it of silence.
func (s *shard) refuse(in *introduction, why book.Verdict) {
	s.counters.refusedStrangers.Add(1)
	if why == book.Full {
		s.note(refusedFull, &in.from)
	}
	if s.engine.book.Answer(in.from, s.now, introductionsPerAdmission*s.engine.cfg.Accept.PerSecond) {
		s.answer(in)
	}
}

// spareSlot returns a free slot for a stranger, which stays the spare one until it is used.
func (s *shard) spareSlot() (uint32, bool) {
	if s.spare == 0 {
		slot, ok := s.stash.TryPop()
		if s.stash.Len() < stashSize/2 {
			s.engine.ask()
		}
		if !ok {
			return 0, false
		}
		s.spare = slot
	}
	return s.spare, true
}

// worth tells how much an admitted peer has to lose; see book.Room.
func (e *Engine) worth(o book.Entry) uint64 {
	p := e.table.peer(o.Slot)
	generation, state, _, _ := unpackStatus(p.verdict.status.Load())
	if generation == o.Generation && (state == Failed || state == Left) {
		return 0
	}
	return 1 + p.counts.received.Load()
}

// ownID handles a datagram that bears our own id, and reports whether that is all: it is our own, come
// back to us, or of another process that has the same id and has read a heartbeat of ours to p.
// Without that proof it is an introduction.
func (s *shard) ownID(h *wire.Header, p *peer, slot uint32, j int) bool {
	switch {
	case h.Incarnation == s.incarnated:
		s.counters.looped.Add(1)
		if slot := wire.Slot(h.MyDiscriminator); slot != 0 && slot < s.table.slots.Load() {
			s.letter = letter{kind: letterOwn, slot: slot, introduction: introduction{h: *h, from: *s.net.From(j)}}
			s.pass(&s.letter)
		}
	case p != nil || s.engine.returns(&introduction{h: *h, from: *s.net.From(j)}, s.now):
		s.counters.collisions.Add(1)
		if p != nil && p.verdict.state() == Connecting && s.setFault(p, IDCollision) {
			s.tellFault(p, slot, IDCollision) // who answers there is no peer of ours
		}
		if s.collidedAt == 0 || s.now.Sub(s.collidedAt) >= collisionGap {
			s.collidedAt = s.now
			s.publishNode(record{cause: IDCollision, id: h.Sender, incarnation: h.Incarnation})
		}
	default:
		return false
	}
	return true
}

// collisionGap keeps two processes with one id from filling the event queues.
const collisionGap = time.Second
