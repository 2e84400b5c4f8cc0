// Package fuzz has fuzz targets with their corpora. `go test` runs the corpora as tests, and `make
// fuzz-smoke` fuzzes each target for a few seconds.
package fuzz

import (
	"bytes"
	"strings"
	"testing"

	"systole/fuzz/wiretest"
	"systole/wire"
)

// bounds returns headers with fields at their bounds: an introduction, the answer to a stranger,
// and the greatest values.
func bounds() []wire.Header {
	least := wire.Header{MyDiscriminator: 1<<40 | 1, Sender: 1, Incarnation: 1, Sequence: 1, Period: 1}
	answer, greatest := least, least
	answer.YourDiscriminator, answer.MyDiscriminator = 1<<40|1, 1<<40
	greatest.Incarnation, greatest.Sequence, greatest.SendInstant = 1<<63, 1<<63, 1<<62
	greatest.Period, greatest.MinReceivePeriod = wire.MaxPeriod, wire.MaxPeriod
	greatest.EchoIncarnation, greatest.EchoSequence, greatest.EchoResidence = 1<<63, 1<<63, 1<<62
	return []wire.Header{least, answer, greatest}
}

// datagrams adds datagrams to the corpus, so that mutations get past the magic: with and without a
// tag and messages, truncated, too long, with fields at their bounds and beyond.
func datagrams(f *testing.F) {
	f.Helper()
	for _, h := range bounds() {
		f.Add(wiretest.Encode(&h, nil))
		h.MyDiscriminator, h.Incarnation, h.Period = h.MyDiscriminator+1, h.Incarnation+1, h.Period+1
		f.Add(wiretest.Encode(&h, nil))
		h.Incarnation--
		f.Add(wiretest.Encode(&h, nil))
	}
	h := wire.Header{
		Flags:             wire.FlagSolicit | wire.FlagFollowUp,
		YourDiscriminator: 1<<40 | 2, MyDiscriminator: 1<<41 | 3, Sender: 1,
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

// FuzzDecode: decoding does not panic and does not read past the end. The messages lie within the
// datagram, and iteration over them ends.
func FuzzDecode(f *testing.F) {
	datagrams(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		// A copy of the same capacity: a read past the end would panic.
		tight := make([]byte, len(b))
		copy(tight, b)
		var h wire.Header
		messages, fault := wire.Decode(tight, &h)
		if fault != wire.OK && messages != nil {
			t.Error("messages of a faulty datagram")
		}
		total := 0
		for _, value, rest, ok := wire.CutMessage(messages); ok; _, value, rest, ok = wire.CutMessage(rest) {
			total += 4 + len(value)
		}
		if total != len(messages) {
			t.Errorf("iterated over %d of %d bytes", total, len(messages))
		}
		wire.DecodeQuoted(tight, &h)
		var sub wire.Subkey
		if wire.NewAuthenticator().Verify(&sub, tight) {
			t.Error("a tag under the zero key was accepted")
		}
	})
}

// FuzzRoundTrip: Decode returns what Append accepts.
func FuzzRoundTrip(f *testing.F) {
	f.Add(uint16(0), uint32(0), uint64(1), uint64(2), uint64(3), uint64(4), uint32(5), uint64(6), uint8(1), []byte{})
	f.Add(uint16(8), uint32(1), uint64(1), uint64(2), uint64(3), uint64(4), uint32(5), uint64(2), uint8(5), []byte{0, 1, 0, 0})
	f.Add(uint16(0), uint32(0), uint64(2), uint64(1)<<63, uint64(1)<<63, uint64(1)<<60, uint32(wire.MaxPeriod), uint64(0), uint8(3), []byte{})
	f.Fuzz(func(t *testing.T, flags uint16, key uint32, sender, incarnation, sequence, echo uint64, period uint32, follow uint64, verdict uint8, messages []byte) {
		h := wire.Header{
			Flags: wire.Flags(flags), KeyID: key,
			YourDiscriminator: sender - 1, MyDiscriminator: ^sender, Sender: sender,
			Incarnation: incarnation, Sequence: sequence, SendInstant: int64(echo), Lateness: period ^ 1, Period: period,
			MinReceivePeriod: period / 3, EchoLost: period * 3, Progress: follow, EchoIncarnation: echo,
			EchoSequence: echo * 5, EchoResidence: echo * 3, EchoDeadline: key, EchoVerdict: wire.Verdict(verdict),
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

// FuzzDecodeDifferential: wire and its slow reference agree on every input.
func FuzzDecodeDifferential(f *testing.F) {
	datagrams(f)
	f.Fuzz(func(t *testing.T, b []byte) { wiretest.Compare(t, b) })
}

// FuzzKeyRing: a key ring is valid or refused, and errors do not contain keys.
func FuzzKeyRing(f *testing.F) {
	key := strings.Repeat("a1", len(wire.Key{}))
	f.Add("1 send " + key)
	f.Add("# comment\n\n1 accept " + key + "\n2 send " + key + "\n")
	f.Add("1 send " + key + "\n1 send " + key)
	f.Add("0 use xyz\n\x00")
	f.Add("1 accept master " + key + "\n2 send peer:7 " + key + "\n2 send peer:0xff " + key)
	f.Fuzz(func(t *testing.T, text string) {
		r, err := wire.ParseKeyRing(strings.NewReader(text))
		if (r == nil) == (err == nil) {
			t.Fatalf("ring %v and error %v", r, err)
		}
		if err == nil {
			keyRing(t, r)
		}
		if err != nil && strings.Contains(err.Error(), key) {
			t.Errorf("the error contains a key: %v", err)
		}
	})
}

// keyRing checks a parsed ring: it can be written and parsed again, and has a key to send with.
func keyRing(t *testing.T, r *wire.KeyRing) {
	t.Helper()
	var file, again bytes.Buffer
	if _, err := r.WriteTo(&file); err != nil {
		t.Fatal(err)
	}
	other, err := wire.ParseKeyRing(bytes.NewReader(file.Bytes()))
	if err != nil {
		t.Fatalf("a written ring is refused: %v", err)
	}
	if _, err := other.WriteTo(&again); err != nil || !bytes.Equal(file.Bytes(), again.Bytes()) {
		t.Errorf("%v, or differs when written again", err)
	}
	var key wire.Key
	if r.Validate() != nil || !r.Pairwise() && !wire.NewAuthenticator().Key(r, r.SendKey(), 0, 0, &key) {
		t.Error("no key to send with")
	}
}
