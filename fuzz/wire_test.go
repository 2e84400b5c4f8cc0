// Package fuzz has the fuzz targets and their corpora, which `go test` runs as tests and
// `make fuzz-smoke` extends for a few seconds each.
package fuzz

import (
	"bytes"
	"strings"
	"testing"

	"systole/wire"
	"systole/wire/wiretest"
)

// datagrams adds datagrams of every shape, so that mutations start past the magic: plain,
// with each flag, keyed, with messages, cut off, too long.
func datagrams(f *testing.F) {
	f.Helper()
	h := wire.Header{
		Kind: wire.KindHeartbeat, Flags: wire.FlagSolicit | wire.FlagFollowUp, Sender: 1, Destination: 2,
		Incarnation: 3, Sequence: 4, SendInstant: 5, Lateness: 6, Period: 7, MinReceivePeriod: 8, Progress: 9,
		EchoIncarnation: 10, EchoSequence: 11, EchoResidence: 12, EchoLost: 13, EchoDeadline: 14,
		EchoVerdict: wire.VerdictSuspect, FollowUpWait: 15, FollowUpSequence: 3,
	}
	message, _ := wire.AppendMessage(nil, 1, []byte("value"))
	for _, keyID := range []uint32{0, 1} {
		for _, messages := range [][]byte{nil, message} {
			h.KeyID = keyID
			b, fault := wire.Append(nil, &h, messages)
			if fault != wire.OK {
				f.Fatal(fault)
			}
			f.Add(b)
			f.Add(b[:len(b)-1])
			f.Add(append(bytes.Clone(b), make([]byte, wire.MaxSize)...))
		}
	}
	f.Add([]byte{})
}

// FuzzDecode: no input panics or is read past its end, messages lie within the datagram,
// and a walk over them ends.
func FuzzDecode(f *testing.F) {
	datagrams(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		// A copy without room behind it: a read past the end would panic.
		tight := make([]byte, len(b))
		copy(tight, b)
		var h wire.Header
		messages, fault := wire.Decode(tight, &h)
		if fault != wire.OK && messages != nil {
			t.Error("messages of a faulty datagram")
		}
		total := 0
		for it := wire.MessagesOf(messages); it.Next(); {
			total += 4 + len(it.Value)
		}
		if total != len(messages) {
			t.Errorf("the walk saw %d of %d bytes", total, len(messages))
		}
		wire.DecodeQuoted(tight, &h)
		var sub wire.Subkey
		if wire.NewAuthenticator().Verify(&sub, tight) {
			t.Error("a tag under the zero key was accepted")
		}
	})
}

// FuzzRoundTrip: whatever Append accepts, Decode gives back.
func FuzzRoundTrip(f *testing.F) {
	f.Add(uint16(0), uint32(0), uint64(1), uint64(2), uint64(3), uint64(4), uint32(5), uint64(6), uint8(1), []byte{})
	f.Add(uint16(8), uint32(1), uint64(1), uint64(2), uint64(3), uint64(4), uint32(5), uint64(2), uint8(5), []byte{0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, flags uint16, key uint32, sender, life, sequence, echo uint64, period uint32, follow uint64, verdict uint8, messages []byte) {
		h := wire.Header{
			Kind: wire.KindHeartbeat, Flags: wire.Flags(flags), KeyID: key, Sender: sender, Destination: ^sender,
			Incarnation: life, Sequence: sequence, SendInstant: int64(echo), Lateness: period ^ 1, Period: period,
			MinReceivePeriod: ^period, EchoLost: period * 3, Progress: follow, EchoIncarnation: echo,
			EchoSequence: echo * 5, EchoResidence: echo * 7, EchoDeadline: key, EchoVerdict: wire.Verdict(verdict),
			FollowUpSequence: follow,
		}
		b, fault := wire.Append(nil, &h, messages)
		if fault != wire.OK {
			if b != nil {
				t.Error("bytes of a refused header")
			}
			return
		}
		var got wire.Header
		section, fault := wire.Decode(b, &got)
		if fault != wire.OK || got != h || !bytes.Equal(section, messages) {
			t.Errorf("%+v became %+v, %v", h, got, fault)
		}
	})
}

// FuzzDecodeDifferential: the fast codec and the slow one agree on every input.
func FuzzDecodeDifferential(f *testing.F) {
	datagrams(f)
	f.Fuzz(func(t *testing.T, b []byte) { wiretest.Compare(t, b) })
}

// FuzzKeyRing: a key ring is whole or refused, and never prints a key.
func FuzzKeyRing(f *testing.F) {
	key := strings.Repeat("a1", wire.KeySize)
	f.Add("1 send " + key)
	f.Add("# comment\n\n1 accept " + key + "\n2 send " + key + "\n")
	f.Add("1 send " + key + "\n1 send " + key)
	f.Add("0 use xyz\n\x00")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := wire.ParseKeyRing(strings.NewReader(text))
		if (r == nil) == (err == nil) {
			t.Fatalf("ring %v and error %v", r, err)
		}
		if err == nil && r.Key(r.SendKey()) == nil {
			t.Error("the key to send with is not there")
		}
		if err != nil && strings.Contains(err.Error(), key) {
			t.Errorf("the error tells a key: %v", err)
		}
	})
}
