package wire

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"testing"

	"golang.org/x/crypto/blake2s"
)

// BenchmarkAuth compares the candidates for the tag, for a heartbeat without messages and
// for the greatest datagram. "keyed" has an object with the key set up beforehand; "fresh"
// takes another peer's subkey for every datagram, out of flat memory, as the receiver of
// a hundred thousand peers does.
func BenchmarkAuth(b *testing.B) {
	for _, size := range []int{HeaderSize, MaxSize - TagSize} {
		msg := make([]byte, size, size+TagSize)
		var keys [256]Subkey
		for i := range keys {
			keys[i][0] = byte(i)
		}
		run := func(name string, f func(key *Subkey)) {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					f(&keys[i%len(keys)])
				}
			})
		}
		a := NewAuthenticator()
		full := msg[:size+TagSize]
		run("hmac-sha256/fresh", func(k *Subkey) { a.Sign(k, full) })
		run("hmac-sha256-std/fresh", func(k *Subkey) {
			m := hmac.New(sha256.New, k[:])
			m.Write(msg)
			m.Sum(msg[:size])
		})
		keyed := hmac.New(sha256.New, keys[0][:])
		run("hmac-sha256-std/keyed", func(*Subkey) {
			keyed.Reset()
			keyed.Write(msg)
			keyed.Sum(msg[:0])
		})
		run("gmac/fresh", func(k *Subkey) { newGCM(k).Seal(msg[:size], k[:12], nil, msg) })
		gcm, nonce := newGCM(&keys[0]), make([]byte, 12)
		run("gmac/keyed", func(*Subkey) { gcm.Seal(msg[:size], nonce, nil, msg) })
		run("blake2s/fresh", func(k *Subkey) {
			h, err := blake2s.New128(k[:])
			if err != nil {
				b.Fatal(err)
			}
			h.Write(msg)
			h.Sum(msg[:size])
		})
		blake, err := blake2s.New128(keys[0][:])
		if err != nil {
			b.Fatal(err)
		}
		run("blake2s/keyed", func(*Subkey) {
			blake.Reset()
			blake.Write(msg)
			blake.Sum(msg[:0])
		})
	}
}

// newGCM returns AES-256-GCM under a subkey; with all input as additional data it is GMAC.
func newGCM(k *Subkey) cipher.AEAD {
	block, err := aes.NewCipher(k[:])
	if err != nil {
		panic(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return gcm
}
