package wire_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"testing"

	. "systole/wire"
)

// W10: subkey and tag are what crypto/hmac makes of the definition.
func TestTagIsHMAC(t *testing.T) {
	a := NewAuthenticator()
	for i := range 50 {
		key, h := Key{byte(i), 1, 2}, sample()
		h.KeyID = 3
		h.Sender += uint64(i)
		var sub Subkey
		a.Derive(&sub, &key, h.Sender, h.Incarnation)
		kdf := hmac.New(sha256.New, key[:])
		kdf.Write([]byte("systole 1 subkey"))
		binary.Write(kdf, binary.BigEndian, [2]uint64{h.Sender, h.Incarnation})
		if want := kdf.Sum(nil); !bytes.Equal(sub[:], want) {
			t.Fatalf("subkey %x, want %x", sub, want)
		}
		message, _ := AppendMessage(nil, 1, make([]byte, i*7))
		b := encode(t, h, message)
		a.Sign(&sub, b)
		mac := hmac.New(sha256.New, sub[:])
		mac.Write(b[:len(b)-TagSize])
		if want := mac.Sum(nil)[:TagSize]; !bytes.Equal(b[len(b)-TagSize:], want) {
			t.Fatalf("tag %x, want %x", b[len(b)-TagSize:], want)
		}
	}
}

// W11: a change of any bit of the datagram, another subkey, sender or life: refused.
func TestWrongTags(t *testing.T) {
	a, key, h := NewAuthenticator(), Key{1}, sample()
	h.KeyID = 1
	var sub Subkey
	a.Derive(&sub, &key, h.Sender, h.Incarnation)
	b := encode(t, h, nil)
	a.Sign(&sub, b)
	if !a.Verify(&sub, b) {
		t.Fatal("the right tag was refused")
	}
	for bit := range len(b) * 8 {
		b[bit/8] ^= 1 << (bit % 8)
		if a.Verify(&sub, b) {
			t.Fatalf("accepted with bit %d changed", bit)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
	for name, other := range map[string][3]uint64{
		"another key": {2, h.Sender, h.Incarnation}, "another sender": {1, h.Sender + 1, h.Incarnation},
		"another life": {1, h.Sender, h.Incarnation + 1},
	} {
		a.Derive(&sub, &Key{byte(other[0])}, other[1], other[2])
		if a.Verify(&sub, b) {
			t.Errorf("accepted under %s", name)
		}
	}
	if a.Verify(&sub, b[:TagSize]) || a.Verify(&sub, nil) {
		t.Error("a tag of nothing was accepted")
	}
}

// W10: a pairwise key is what crypto/hmac makes of the definition, whoever computes it,
// and no key of other nodes, nor a subkey.
func TestPairKeyIsHMAC(t *testing.T) {
	m, a := Key{1, 2, 3}, uint64(0x0102030405060708)
	mac := hmac.New(sha256.New, m[:])
	mac.Write([]byte("systole 1 pair"))
	binary.Write(mac, binary.BigEndian, [2]uint64{9, a})
	want := mac.Sum(nil)
	one, other := PairKey(&m, a, 9), PairKey(&m, 9, a)
	if !bytes.Equal(one[:], want) || one != other {
		t.Errorf("%x and %x, want %x", one, other, want)
	}
	if one == PairKey(&m, a, 10) || one == PairKey(&Key{1}, a, 9) {
		t.Error("another pair or another master gives the same key")
	}
}
