// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import "systole/wire"

// authState is what authentication costs per peer: the subkeys of its present incarnation and, with
// pairwise keys, of ours towards it. With a shared key a shard has its own once, for all peers.
type authState struct {
	theirs, ours signer
}

// signer is a subkey and what it was derived for; a sender of 0: nothing yet. It holds no pointer.
type signer struct {
	subkey      wire.Subkey
	sender      uint64
	peer        uint64
	incarnation uint64
	key         uint32
	epoch       uint32 // of the key rings: a key may have got another value
}

// is reports whether the subkey is for the sender, incarnation and key of a datagram to peer.
func (a *signer) is(h *wire.Header, peer uint64, epoch uint32) bool {
	return a.sender == h.Sender && a.peer == peer && a.incarnation == h.Incarnation && a.key == h.KeyID && a.epoch == epoch
}

// authentic reports the fault of a datagram's authentication, wire.OK if there is none. slot is the
// peer whose discriminator it has, 0 if there is none. It keeps state only of that, and only
// after the tag was right: the subkey, so that the next datagram costs no derivation.
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

// derive derives the subkey of the sender of h, for the datagrams between two nodes. It reports false
// if the ring has no such key for them, or needs the peer's id and has it not.
func (s *shard) derive(a *signer, h *wire.Header, to, peer uint64) bool {
	if !s.auth.Key(s.keys, h.KeyID, s.engine.id, peer, &s.key) {
		return false
	}
	s.auth.Derive(&a.subkey, &s.key, h.Sender, h.Incarnation)
	a.sender, a.peer, a.incarnation, a.key, a.epoch = h.Sender, to, h.Incarnation, h.KeyID, s.keyEpoch
	return true
}

// verify reports BadTag unless the tag is right.
func (s *shard) verify(sub *wire.Subkey, b []byte) wire.Fault {
	if s.auth.Verify(sub, b) {
		return wire.OK
	}
	return wire.BadTag
}

// sign fills the tag of a datagram of ours to a node, whose id is 0 while unknown. slot is its peer,
// 0 if it has none. With a shared key one subkey serves all.
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

// signedByUs reports whether a datagram that claims to be ours to a node, as an ICMP error quotes it,
// has our tag. It has to be quoted whole.
func (s *shard) signedByUs(b []byte, h *wire.Header, to uint64) bool {
	if s.keys == nil {
		return h.KeyID == 0
	}
	if _, fault := wire.Decode(b, &s.out); fault != wire.OK || h.KeyID == 0 || !s.derive(&s.derived, h, to, to) {
		return false
	}
	return s.auth.Verify(&s.derived.subkey, b)
}

// sendKey returns the id of the key to send with, 0 without keys.
func (s *shard) sendKey() uint32 {
	if s.keys == nil {
		return 0
	}
	return s.keys.SendKey()
}

// followKeys takes over the key ring that SetKeys has set since the turn before.
func (s *shard) followKeys() {
	if ring := s.engine.keys.Load(); ring != s.keys {
		s.keys = ring
		s.keyEpoch++
		s.pairwise = ring != nil && ring.Pairwise()
	}
}
