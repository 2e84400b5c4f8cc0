// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package wire

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"hash"
)

// keySize is the size of keys and subkeys in bytes.
const keySize = 32

// Key is a secret of the key ring.
type Key [keySize]byte

// Subkey authenticates the datagrams of one incarnation of one sender under one key. It
// is flat, so that a table of peers holds it without pointers.
type Subkey [keySize]byte

// Authenticator computes tags: HMAC-SHA-256 (RFC 2104, FIPS 180-4) over the whole
// datagram before the tag, cut to 16 bytes. It is the scratch of one goroutine and
// allocates nothing once made. crypto/hmac has the same function, but an object per
// key, which a hundred thousand peers cannot each have.
type Authenticator struct {
	hash  hash.Hash
	pad   [sha256.BlockSize]byte
	inner [sha256.Size]byte
	sum   [sha256.Size]byte
	info  [len(subkeyLabel) + 16]byte
	ids   [len(pairLabel) + 16]byte
}

// NewAuthenticator returns an Authenticator.
func NewAuthenticator() *Authenticator { return &Authenticator{hash: sha256.New()} }

// The labels separate the uses of a key.
const (
	subkeyLabel = "systole 1 subkey"
	pairLabel   = "systole 1 pair"
)

// Key sets out to the key with an id that the ring holds for the node own and its peer,
// and reports whether there is one. A shared key is good for any ids, also for 0; a
// pairwise key only for the peer it names; a master key for any two ids but 0.
func (a *Authenticator) Key(r *KeyRing, keyID uint32, own, peer uint64, out *Key) bool {
	k := r.find(keyID)
	if k == nil {
		return false
	}
	switch k.scope {
	case shared:
		*out = k.key
		return true
	case pairwise:
		key, ok := r.pairs[pair{peer, keyID}]
		if ok {
			*out = key
		}
		return ok
	}
	if own == 0 || peer == 0 {
		return false
	}
	a.pairKey(out, &k.key, own, peer)
	return true
}

// pairKey sets out to the pairwise key of two nodes: HMAC-SHA-256 under the master of a
// label and both ids, the lesser first.
func (a *Authenticator) pairKey(out, masterKey *Key, one, other uint64) {
	n := copy(a.ids[:], pairLabel)
	binary.BigEndian.PutUint64(a.ids[n:], min(one, other))
	binary.BigEndian.PutUint64(a.ids[n+8:], max(one, other))
	a.hmac((*[keySize]byte)(masterKey), a.ids[:])
	*out = a.sum
}

// Derive sets sub to the subkey of a sender's incarnation under key: the first and only
// block of NIST SP 800-108's KDF in feedback mode without a counter, HMAC-SHA-256 of a
// label and the context.
func (a *Authenticator) Derive(sub *Subkey, key *Key, sender, incarnation uint64) {
	n := copy(a.info[:], subkeyLabel)
	binary.BigEndian.PutUint64(a.info[n:], sender)
	binary.BigEndian.PutUint64(a.info[n+8:], incarnation)
	a.hmac((*[keySize]byte)(key), a.info[:])
	*sub = a.sum
}

// Sign fills the tag of a datagram that Append has written with a key id.
func (a *Authenticator) Sign(sub *Subkey, datagram []byte) {
	body := len(datagram) - TagSize
	a.hmac((*[keySize]byte)(sub), datagram[:body])
	copy(datagram[body:], a.sum[:TagSize])
}

// Verify reports whether the tag of a datagram that Decode has accepted, and that has a
// key id, is right. It takes the same time wherever a wrong tag differs.
func (a *Authenticator) Verify(sub *Subkey, datagram []byte) bool {
	body := len(datagram) - TagSize
	if body < HeaderSize {
		return false
	}
	a.hmac((*[keySize]byte)(sub), datagram[:body])
	return subtle.ConstantTimeCompare(a.sum[:TagSize], datagram[body:]) == 1
}

// hmac sets a.sum to the HMAC-SHA-256 of message under key.
func (a *Authenticator) hmac(key *[keySize]byte, message []byte) {
	const inner, outer = 0x36, 0x5c
	a.setPad(key, inner)
	a.hash.Reset()
	a.hash.Write(a.pad[:])
	a.hash.Write(message)
	a.hash.Sum(a.inner[:0])
	a.setPad(key, outer)
	a.hash.Reset()
	a.hash.Write(a.pad[:])
	a.hash.Write(a.inner[:])
	a.hash.Sum(a.sum[:0])
}

// setPad sets a.pad to the key, padded with zeros, with every byte exclusive-or b.
func (a *Authenticator) setPad(key *[keySize]byte, b byte) {
	for i, k := range key {
		a.pad[i] = k ^ b
	}
	for i := keySize; i < len(a.pad); i++ {
		a.pad[i] = b
	}
}
