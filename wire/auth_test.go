package wire_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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

// digits is a key of equal digits.
func digits(c string) string { return strings.Repeat(c, 2*KeySize) }

// W13: the three steps of a rotation overlap.
func TestRotation(t *testing.T) {
	steps := []string{
		"1 send " + digits("a"),
		"1 send " + digits("a") + "\n2 accept " + digits("b"),
		"# the new key is sent with\n\n1 accept " + digits("a") + "\n2 send " + digits("b"),
		"2 send " + digits("b"),
	}
	var rings []*KeyRing
	for _, text := range steps {
		r, err := ParseKeyRing(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		rings = append(rings, r)
	}
	for i := range len(rings) - 1 {
		for _, pair := range [][2]*KeyRing{{rings[i], rings[i+1]}, {rings[i+1], rings[i]}} {
			sent := pair[0].SendKey()
			if k := pair[1].Key(sent); k == nil || *k != *pair[0].Key(sent) {
				t.Errorf("between steps %d and %d: what is sent with key %d is refused", i, i+1, sent)
			}
		}
	}
	if rings[0].Key(2) != nil || rings[3].Key(1) != nil || rings[0].Key(0) != nil {
		t.Error("a key that is not in the ring is accepted")
	}
}

func TestKeyRingFaults(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "no key to send with",
		"1 accept " + digits("a"):        "no key to send with",
		"1 send":                         "line 1: 2 fields",
		"0 send " + digits("a"):          "line 1: the id",
		"x send " + digits("a"):          "line 1: the id",
		"4294967296 send " + digits("a"): "line 1: the id",
		"\n1 send abc":                   "line 2: key 1 has 3 digits",
		"1 send " + digits("x"):          "not hexadecimal",
		"1 use " + digits("a"):           "neither send nor accept",
		"1 send " + digits("a") + "\n1 accept " + digits("b"): "line 2: key 1 is there twice",
		"1 send " + digits("a") + "\n2 send " + digits("b"):   "line 2: key 2 is a second one",
	} {
		r, err := ParseKeyRing(strings.NewReader(text))
		if err == nil || r != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "aaaa") {
			t.Errorf("the error tells the key: %v", err)
		}
	}
	var many strings.Builder
	for i := range 17 {
		fmt.Fprintf(&many, "%d accept %s\n", i+1, digits("a"))
	}
	if _, err := ParseKeyRing(strings.NewReader(many.String())); err == nil {
		t.Error("17 keys were accepted")
	}
	r, err := ParseKeyRing(strings.NewReader("1 send " + digits("a")))
	if err != nil {
		t.Fatal(err)
	}
	if s := fmt.Sprintf("%v %+v %#v", r, r, r); strings.Contains(s, "aaaa") || strings.Contains(s, "170") {
		t.Errorf("printing tells the key: %s", s)
	}
}

func TestLoadKeyRing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	if _, err := LoadKeyRing(path); err == nil {
		t.Error("a missing file was read")
	}
	if err := os.WriteFile(path, []byte("1 send "+digits("a")), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKeyRing(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file open to its group: %v", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := LoadKeyRing(path); err != nil || r.SendKey() != 1 {
		t.Error(err)
	}
}
