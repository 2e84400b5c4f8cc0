package engine

import (
	"systole/engine/internal/book"
	"systole/wire"
)

// A sender that returns its cookie from the address that it was sent to is the new session of a
// peer that is configured there, or is admitted as a stranger.

// proven handles an introduction that returned its cookie. peers are those at its address.
func (s *shard) proven(in *introduction, peers []book.Entry) {
	e, ok := s.ownerOf(in, peers)
	switch {
	case ok:
		if !s.deliver(letterProven, e) {
			s.counters.introduced.Add(1) // the ring is full; the sender's next introduction will do
		}
	case s.engine.cfg.Accept.Anyone && in.h.Flags&wire.FlagLeaving == 0:
		s.admit(in)
	default:
		s.counters.strangers.Add(1)
		s.note(refusedNobody, &in.from)
	}
}

// ownerOf returns the peer that an introduction belongs to, of those at its address: the peer whose
// session it is in, else a peer that hears no process or another one, else a configured peer. An
// admitted peer that hears this process does not need it: the introduction is another watch.
func (s *shard) ownerOf(in *introduction, peers []book.Entry) (best book.Entry, ok bool) {
	for _, e := range peers {
		p := s.table.peer(e.Slot)
		generation, state, _, _ := unpackStatus(p.verdict.status.Load())
		begun := generation == e.Generation // its shard has seen the peer
		switch {
		case begun && p.session.theirs.Load() == in.h.MyDiscriminator:
			return e, true
		case !begun || state != Alive && state != OneWay || p.session.incarnation.Load() != in.h.Incarnation:
			best, ok = e, true
		case !ok && !e.Admitted:
			best, ok = e, true
		}
	}
	return best, ok
}

// admit admits the sender of in as a stranger.
func (s *shard) admit(in *introduction) {
	slot, ok := s.spareSlot()
	if !ok {
		s.counters.refusedStrangers.Add(1) // the sender's next heartbeat may find a slot
		return
	}
	accept := &s.engine.cfg.Accept
	e := book.Entry{Slot: slot, Generation: s.table.nextGeneration(slot), Admitted: true}
	room := book.Room{Max: accept.Max, PerSecond: accept.PerSecond, Worth: s.engine.worth}
	evicted, v := s.engine.book.Admit(book.Place{Addr: in.from, ID: in.h.Sender}, e, s.now, &room)
	if v != book.Admitted {
		s.refuse(in, v)
		return
	}
	if evicted.Slot != 0 {
		s.engine.tell(command{kind: commandForget, slot: evicted.Slot, generation: evicted.Generation})
	}
	if !s.deliver(letterAdmit, e) {
		s.engine.book.Forget(e)
		return
	}
	s.spare = 0
}

// addStranger makes an admitted stranger the peer of its slot.
func (s *shard) addStranger(l *letter) {
	s.add(l.slot, l.generation, &watch{
		addr: l.from, id: l.h.Sender, class: strangerClass, admit: true, socket: l.socket, source: l.source,
	})
}

// refuse handles a stranger that is not admitted. An answer, if the rate of its prefix allows one, tells
// the stranger that this node lives, so that it does not suspect this node of silence.
func (s *shard) refuse(in *introduction, why book.Verdict) {
	s.counters.refusedStrangers.Add(1)
	if why == book.Full {
		s.note(refusedFull, &in.from)
	}
	if s.mayAnswer(in) {
		s.answer(in)
	}
}

// spareSlot returns a free slot for a stranger. The same slot is returned until it is used.
func (s *shard) spareSlot() (slot uint32, ok bool) {
	if s.spare != 0 {
		return s.spare, true
	}
	var slots [1]uint32
	ok = s.stash.PopBatch(slots[:]) == 1
	s.spare = slots[0]
	if s.stash.Len() < stashSize/2 {
		s.engine.ask()
	}
	return s.spare, ok
}

// worth returns how proven an admitted peer is: 0 if it failed or left; see book.Room.
func (e *Engine) worth(o book.Entry) uint64 {
	p := e.table.peer(o.Slot)
	generation, state, _, _ := unpackStatus(p.verdict.status.Load())
	if generation == o.Generation && (state == Failed || state == Left) {
		return 0
	}
	return 1 + p.counts.received.Load()
}
