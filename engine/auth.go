// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import "systole/wire"

// authState caches the subkeys of one peer: the one that its datagrams are signed with and, with
// pairwise keys, the one for datagrams to it. With a shared key one subkey serves for all peers:
// shard.own.
type authState struct {
	theirs, ours signer
}

// signer is a derived subkey, and what it was derived from. It holds no pointer.
type signer struct {
	subkey      wire.Subkey
	sender      uint64 // 0: no subkey yet
	peer        uint64 // the receiver, 0 for a shared key
	incarnation uint64 // of the sender
	key         uint32 // key id
	epoch       uint32 // shard.keyEpoch: a key id may stand for another key later
}

// is reports whether a was derived for h, a datagram to peer.
func (a *signer) is(h *wire.Header, peer uint64, epoch uint32) bool {
	return a.sender == h.Sender && a.peer == peer && a.incarnation == h.Incarnation && a.key == h.KeyID && a.epoch == epoch
}

// authentic checks the tag of a datagram and returns its fault, or wire.OK. slot is the peer that the
// datagram's discriminator names, 0 if it names none. The subkey of a valid datagram is cached with
// that peer.
func (s *shard) authentic(b []byte, h *wire.Header, slot uint32) wire.Fault {
	switch {
	case s.keys == nil && h.KeyID == 0:
		return wire.OK
	case s.keys == nil:
		return wire.UnknownKey
	case h.KeyID == 0:
		return wire.Unauthenticated
	}
	var known *signer
	if slot != 0 {
		c, i := s.table.at(slot)
		if known = &c.auth[i].theirs; known.is(h, s.engine.id, s.keyEpoch) {
			return s.verify(&known.subkey, b)
		}
	}
	if known == nil {
		known = &s.derived
	}
	if !s.derive(known, h, s.engine.id, h.Sender) {
		return wire.UnknownKey
	}
	fault := s.verify(&known.subkey, b)
	if fault != wire.OK {
		known.sender = 0
	}
	return fault
}

// derive derives the subkey of datagram h to node to. peer is the other node, of whose pair a pairwise
// key is. It reports false if the ring has no such key, or if a pairwise key lacks the peer's id.
func (s *shard) derive(a *signer, h *wire.Header, to, peer uint64) bool {
	if !s.auth.Key(s.keys, h.KeyID, s.engine.id, peer, &s.key) {
		return false
	}
	s.auth.Derive(&a.subkey, &s.key, h.Sender, h.Incarnation)
	a.sender, a.peer, a.incarnation, a.key, a.epoch = h.Sender, to, h.Incarnation, h.KeyID, s.keyEpoch
	return true
}

// verify returns wire.OK if the tag is valid, else wire.BadTag.
func (s *shard) verify(sub *wire.Subkey, b []byte) wire.Fault {
	if s.auth.Verify(sub, b) {
		return wire.OK
	}
	return wire.BadTag
}

// sign sets the tag of a datagram of ours to the node to, which is 0 while unknown. slot is the peer
// that it goes to, 0 if there is none.
func (s *shard) sign(b []byte, h *wire.Header, to uint64, slot uint32) wire.Fault {
	own := &s.own
	if !s.pairwise {
		to = 0
	} else if slot != 0 {
		c, i := s.table.at(slot)
		own = &c.auth[i].ours
	}
	if !own.is(h, to, s.keyEpoch) && !s.derive(own, h, to, to) {
		return wire.UnknownKey
	}
	s.auth.Sign(&own.subkey, b)
	return wire.OK
}

// signedByUs reports whether an ICMP error quotes a datagram that we signed, to the node to. Only a
// complete datagram has a tag.
func (s *shard) signedByUs(b []byte, h *wire.Header, to uint64) bool {
	if s.keys == nil {
		return h.KeyID == 0
	}
	if _, fault := wire.Decode(b, &s.out); fault != wire.OK || h.KeyID == 0 || !s.derive(&s.derived, h, to, to) {
		return false
	}
	return s.auth.Verify(&s.derived.subkey, b)
}

// sendKey returns the id of the key to sign with, 0 without keys.
func (s *shard) sendKey() uint32 {
	if s.keys == nil {
		return 0
	}
	return s.keys.SendKey()
}

// followKeys loads the key ring that SetKeys may have set.
func (s *shard) followKeys() {
	if ring := s.engine.keys.Load(); ring != s.keys {
		s.keys = ring
		s.keyEpoch++
		s.pairwise = ring != nil && ring.Pairwise()
	}
}
