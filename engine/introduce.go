package engine

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"systole/engine/clock"
	"systole/engine/internal/network"
	"systole/wire"
)

// An introduction is a valid datagram without a discriminator of ours that is in force: a first
// contact, a process that has restarted, a peer that this node has removed, or a forgery. It
// changes no peer. The answer has the same length and carries a cookie, so it costs no state. A sender
// that returns the cookie from the same address reads what is sent there (admit.go).

// introduction is an introduction as it is passed to the shard of the peer that it belongs to.
type introduction struct {
	h         wire.Header
	from      network.Addr
	arrival   clock.Instant
	stampedBy clock.Source // of arrival
	socket    uint8
	source    uint8
}

// introduction returns datagram j as an introduction, in the memory of s.letter.
func (s *shard) introduction(h *wire.Header, j, socket int, arrival clock.Instant) *introduction {
	in := &s.letter.introduction
	*in = introduction{
		h: *h, from: *s.net.From(j), arrival: arrival, stampedBy: s.delays.Source, socket: uint8(socket), source: s.net.Source(j),
	}
	return in
}

// cookieTime is the least time for which a cookie is accepted.
const cookieTime = 16 * time.Second

// cookie returns the cookie for the sender of in, as made age intervals of cookieTime before now.
func (e *Engine) cookie(in *introduction, now clock.Instant, age uint64) uint64 {
	var b [len(e.secret) + len(network.Addr{}) + 3*8]byte
	n := copy(b[:], e.secret[:])
	n += copy(b[n:], in.from[:])
	binary.BigEndian.PutUint64(b[n:], in.h.Sender)
	binary.BigEndian.PutUint64(b[n+8:], in.h.MyDiscriminator)
	binary.BigEndian.PutUint64(b[n+16:], uint64(now)/uint64(cookieTime)-age)
	sum := sha256.Sum256(b[:])
	return max(binary.BigEndian.Uint64(sum[:])>>wire.SlotBits, 1) << wire.SlotBits
}

// hasCookie reports whether in returns a cookie that was made for its sender.
func (e *Engine) hasCookie(in *introduction, now clock.Instant) bool {
	your := in.h.YourDiscriminator
	return your == e.cookie(in, now, 0) || your == e.cookie(in, now, 1)
}

// introduce handles datagram j, an introduction.
func (s *shard) introduce(h *wire.Header, j, socket int) {
	arrival := s.arrived(j)
	s.delays = Delays{Source: arrival.Source}
	s.introduced(s.introduction(h, j, socket, arrival.At))
}

// introduced handles an introduction.
func (s *shard) introduced(in *introduction) {
	h := &in.h
	if s.movesTo(h, &in.from) {
		s.counters.introduced.Add(1)
		return
	}
	peers, ok := s.engine.book.At(in.from, h.Sender, s.entries[:0])
	s.entries = peers[:0]
	switch {
	case !ok:
		s.counters.introduced.Add(1) // the book is in use; the sender's next introduction will do
	case wire.Slot(h.YourDiscriminator) == 0 && h.YourDiscriminator != 0 && s.engine.hasCookie(in, s.now):
		if s.leaving.active {
			s.answerTo(in) // with a goodbye, which the sender believes because it knows its cookie
			return
		}
		s.proven(in, peers)
	case h.Flags&wire.FlagLeaving != 0 || wire.Slot(h.MyDiscriminator) == 0 || s.leaving.active:
		s.counters.stale.Add(1) // a goodbye or an answer without proof, or this node leaves
	case len(peers) == 0 && !s.engine.cfg.Accept.Anyone:
		s.counters.strangers.Add(1)
		s.note(refusedNobody, &in.from)
	case len(peers) == 0 && !s.mayAnswer(in):
		s.counters.refusedStrangers.Add(1)
		s.note(refusedRate, &in.from)
	default:
		s.answerTo(in)
	}
}

// mayAnswer takes a token of the rate at which the introductions of a source prefix are answered: four
// for each admission that Accept.PerSecond allows.
func (s *shard) mayAnswer(in *introduction) bool {
	return s.engine.book.Answer(in.from, s.now, 4*s.engine.cfg.Accept.PerSecond)
}

// answerTo counts an introduction and answers it.
func (s *shard) answerTo(in *introduction) {
	s.counters.introduced.Add(1)
	s.answer(in)
}

// answer answers an introduction that is not an answer itself. The answer's sequence is the present
// instant, or one more than that of the previous answer, whichever is greater: the echo of the
// returned answer then says when it was written.
func (s *shard) answer(in *introduction) {
	if wire.Slot(in.h.MyDiscriminator) == 0 {
		return
	}
	s.answered = max(uint64(s.now), s.answered+1)
	s.out = wire.Header{
		YourDiscriminator: in.h.MyDiscriminator, MyDiscriminator: s.engine.cookie(in, s.now, 0),
		Sender: s.engine.id, Incarnation: s.incarnated, Sequence: s.answered, SendInstant: int64(s.now),
		Period:           max(in.h.Period, uint32(s.engine.cfg.Period/time.Microsecond)),
		MinReceivePeriod: s.engine.minReceive, Progress: s.engine.progress.Load(),
		EchoIncarnation: in.h.Incarnation, EchoSequence: in.h.Sequence, EchoResidence: uint64(max(s.now.Sub(in.arrival), 0)),
	}
	s.out.Flags = s.ownFlags()
	s.put(&s.out, nil, in.h.Sender, &in.from, int(in.socket), in.source, 0)
}
