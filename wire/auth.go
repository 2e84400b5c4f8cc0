// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package wire

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"hash"
)

// KeySize is the size of keys and subkeys in bytes.
const KeySize = 32

// Key is a shared secret of the key ring.
type Key [KeySize]byte

// Subkey authenticates the datagrams of one incarnation of one sender under one key. It
// is flat, so that a table of peers holds it without pointers.
type Subkey [KeySize]byte

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
}

// NewAuthenticator returns an Authenticator.
func NewAuthenticator() *Authenticator { return &Authenticator{hash: sha256.New()} }

// subkeyLabel separates this use of a key from any other.
const subkeyLabel = "systole 1 subkey"

// Derive sets sub to the subkey of a sender's incarnation under key: the first and only
// block of NIST SP 800-108's KDF in feedback mode without a counter, HMAC-SHA-256 of a
// label and the context.
func (a *Authenticator) Derive(sub *Subkey, key *Key, sender, incarnation uint64) {
	n := copy(a.info[:], subkeyLabel)
	binary.BigEndian.PutUint64(a.info[n:], sender)
	binary.BigEndian.PutUint64(a.info[n+8:], incarnation)
	a.hmac((*[KeySize]byte)(key), a.info[:])
	*sub = a.sum
}

// Sign fills the tag of a datagram that Append has written with a key id.
func (a *Authenticator) Sign(sub *Subkey, datagram []byte) {
	body := len(datagram) - TagSize
	a.hmac((*[KeySize]byte)(sub), datagram[:body])
	copy(datagram[body:], a.sum[:TagSize])
}

// Verify reports whether the tag of a datagram that Decode has accepted, and that has a
// key id, is right. It takes the same time wherever a wrong tag differs.
func (a *Authenticator) Verify(sub *Subkey, datagram []byte) bool {
	body := len(datagram) - TagSize
	if body < HeaderSize {
		return false
	}
	a.hmac((*[KeySize]byte)(sub), datagram[:body])
	return subtle.ConstantTimeCompare(a.sum[:TagSize], datagram[body:]) == 1
}

// hmac sets a.sum to the HMAC-SHA-256 of message under key.
func (a *Authenticator) hmac(key *[KeySize]byte, message []byte) {
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
func (a *Authenticator) setPad(key *[KeySize]byte, b byte) {
	for i, k := range key {
		a.pad[i] = k ^ b
	}
	for i := KeySize; i < len(a.pad); i++ {
		a.pad[i] = b
	}
}
