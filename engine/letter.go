package engine

import (
	"systole/engine/internal/book"
	"systole/engine/internal/network"
	"systole/wire"
)

// letterKind says what one shard passes to another.
type letterKind uint8

const (
	letterProven   letterKind = iota // a datagram of the slot's peer that returned our answer
	letterAdmit                      // likewise, of a stranger that gets the slot
	letterOwn                        // a heartbeat to the slot's peer came to this node itself
	letterReturned                   // the network returned a heartbeat to the slot's peer
)

// letter is what one shard has read that concerns a peer of another's: introductions arrive at
// shard 0, and the kernel gives an ICMP error to any socket of the port. It may get lost, as the
// datagram that it is of.
type letter struct {
	kind             letterKind
	slot, generation uint32
	introduction
}

const (
	// letterRing is how many letters wait for one shard at most.
	letterRing = 256
	// lettersPerTurn bounds those that are read in one turn.
	lettersPerTurn = 1024
)

// deliver hands the introduction in s.letter to the shard of a peer. It reports false if there is no
// room for it.
func (s *shard) deliver(kind letterKind, e book.Entry) bool {
	l := &s.letter
	l.kind, l.slot, l.generation = kind, e.Slot, e.Generation
	return s.pass(l)
}

// pass hands a letter to the shard of its slot.
func (s *shard) pass(l *letter) bool {
	to := s.engine.shards[s.engine.shardOf(l.slot)]
	if to == s {
		s.read(l)
		return true
	}
	if !to.letters.TryPush(*l) {
		return false
	}
	to.net.Wake()
	return true
}

// readLetters reads what other shards have passed on, when the sockets have been read: so whoever
// was heard is known.
func (s *shard) readLetters() {
	for range lettersPerTurn {
		if s.letters.PopBatch(s.opened[:]) == 0 {
			return
		}
		s.work.units++
		s.read(&s.opened[0])
	}
	s.unfinished = true
}

// read acts on a letter, unless its peer is gone.
func (s *shard) read(l *letter) {
	switch l.kind {
	case letterReturned:
		s.returned(l)
		return
	case letterOwn:
		s.comesBack(l)
		return
	case letterAdmit:
		s.addStranger(l)
	}
	p := s.table.peer(l.slot)
	if p.verdict.generation() != l.generation || p.verdict.state() == Removed || p.verdict.state() == Unknown {
		s.counters.stale.Add(1)
		return
	}
	if s.stamped = l.stamped; s.stamped {
		s.counters.stamped.Add(1)
	}
	s.returnsAnswer(p, l.slot, &l.introduction)
}

// receiveErrors reads the socket's error queue: what the network returned of our own heartbeats.
func (s *shard) receiveErrors(socket int) {
	for range errorsPerTurn {
		e, ok := s.net.NextError(socket)
		if !ok {
			return
		}
		s.counters.errorsQueued.Add(1)
		if e.PortUnreachable && !s.quoted(&e) {
			s.counters.errorsForeign.Add(1)
		}
	}
	s.unfinished = true
}

// errorsPerTurn bounds the reading of one socket's error queue.
const errorsPerTurn = 256

// quoted passes a returned heartbeat to the shard of its peer. It reports false unless what is
// quoted claims to be of this incarnation of ours and, with keys, has our tag.
func (s *shard) quoted(e *network.Returned) bool {
	l := &s.letter
	h := &l.h
	if wire.DecodeQuoted(e.Quoted, h) != wire.OK || h.Sender != s.engine.id || h.Incarnation != s.incarnated {
		return false
	}
	slot := wire.Slot(h.MyDiscriminator)
	if slot == 0 || slot >= s.table.slots.Load() || !s.signedByUs(e.Quoted, h, s.table.peer(slot).session.id.Load()) {
		return false
	}
	l.kind, l.slot, l.from = letterReturned, slot, e.Peer
	return s.pass(l)
}
