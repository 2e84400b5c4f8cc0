// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import "systole/wire"

// authState is what authentication costs per peer: the subkey of its present life. Its
// own subkey a shard has once, for all peers.
type authState struct {
	subkey wire.Subkey
	sender uint64 // what it was derived for; 0: nothing yet
	life   uint64
	key    uint32
}

// is reports whether the state is for the sender, life and key of a datagram.
func (a *authState) is(h *wire.Header) bool {
	return a.sender == h.Sender && a.life == h.Incarnation && a.key == h.KeyID
}

// authentic reports the fault of a datagram's authentication, wire.OK if there is none. It
// keeps state only of a peer in the table, and only after its tag was right: the subkey
// of its life, so that the next datagram costs no derivation.
func (s *shard) authentic(b []byte, h *wire.Header, slot uint32) wire.Fault {
	keys := s.keys
	switch {
	case keys == nil && h.KeyID == 0:
		return wire.OK
	case keys == nil:
		return wire.UnknownKey
	case h.KeyID == 0:
		return wire.Unauthenticated
	}
	key := keys.Key(h.KeyID)
	if key == nil {
		return wire.UnknownKey
	}
	var known *authState
	if slot != noSlot {
		c, i := s.table.at(slot)
		if known = &c.auth[i]; known.is(h) {
			return s.verify(&known.subkey, b)
		}
	}
	s.auth.Derive(&s.subkey, key, h.Sender, h.Incarnation)
	fault := s.verify(&s.subkey, b)
	if fault == wire.OK && known != nil && h.Incarnation >= s.table.peer(slot).life.Get() {
		*known = authState{s.subkey, h.Sender, h.Incarnation, h.KeyID}
	}
	return fault
}

// verify reports BadTag unless the tag is right.
func (s *shard) verify(sub *wire.Subkey, b []byte) wire.Fault {
	if s.auth.Verify(sub, b) {
		return wire.OK
	}
	return wire.BadTag
}

// sign fills the tag of a datagram of ours. The subkey is derived anew when the key or
// our incarnation changed.
func (s *shard) sign(b []byte, h *wire.Header) {
	if !s.own.is(h) {
		s.auth.Derive(&s.own.subkey, s.keys.Key(h.KeyID), h.Sender, h.Incarnation)
		s.own.sender, s.own.life, s.own.key = h.Sender, h.Incarnation, h.KeyID
	}
	s.auth.Sign(&s.own.subkey, b)
}

// sendKey returns the id of the key to send with, 0 without keys.
func (s *shard) sendKey() uint32 {
	if s.keys == nil {
		return 0
	}
	return s.keys.SendKey()
}
