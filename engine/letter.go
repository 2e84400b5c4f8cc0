package engine

import (
	"systole/engine/clock"
	"systole/engine/internal/book"
	"systole/engine/internal/network"
	"systole/wire"
)

// letterKind is the kind of a letter.
type letterKind uint8

const (
	letterProven   letterKind = iota // an introduction of the slot's peer, with its cookie
	letterAdmit                      // an introduction of a stranger, with its cookie; the stranger gets the slot
	letterOwn                        // a heartbeat to the slot's peer arrived at this node itself
	letterReturned                   // a heartbeat to the slot's peer, quoted by an ICMP error
)

// letter is a datagram that one shard has read and that concerns a peer of another shard:
// introductions arrive at shard 0, and the kernel queues an ICMP error at any socket of the port.
// A letter is dropped if the other shard's ring is full, as a datagram may be.
type letter struct {
	kind             letterKind
	slot, generation uint32
	introduction
}

const (
	// letterRing is the capacity of a shard's ring of letters.
	letterRing = 256
	// lettersPerTurn bounds the letters that one turn reads.
	lettersPerTurn = 1024
)

// deliver passes the introduction in s.letter to the shard of a peer. It reports false if the ring
// of that shard is full.
func (s *shard) deliver(kind letterKind, e book.Entry) bool {
	l := &s.letter
	l.kind, l.slot, l.generation = kind, e.Slot, e.Generation
	return s.pass(l)
}

// pass passes a letter to the shard of its slot. It reports false if that shard's ring is full.
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

// readLetters reads the letters of other shards. It runs after the sockets were read, so that an ICMP
// error is judged with all arrivals known.
func (s *shard) readLetters() {
	for range lettersPerTurn {
		if s.letters.PopBatch(s.opened[:]) == 0 {
			return
		}
		s.cost.units++
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
	s.readBelow(p, l.slot, s.now) // whether p is silent
	stamp := clock.Stamp{At: l.arrival, Source: l.stampedBy}
	s.stamped(stamp, stamp)
	s.returnsAnswer(p, l.slot, &l.introduction)
}

// receiveErrors reads a socket's error queue: ICMP errors that quote our own heartbeats, and transmit
// stamps of our heartbeats.
func (s *shard) receiveErrors(socket int) {
	for range errorsPerTurn {
		e, ok := s.net.NextError(socket)
		if !ok {
			return
		}
		if e.Stamp != 0 {
			s.sendStamped(&e)
			continue
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

// quoted passes a quoted heartbeat to the shard of its peer. It reports false unless the quoted
// header names this node and its incarnation and, with keys, carries our tag.
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
