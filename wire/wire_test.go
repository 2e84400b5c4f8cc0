package wire_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"math"
	"os"
	"testing"

	"pgregory.net/rapid"

	"systole/fuzz/wiretest"
	. "systole/wire"
)

var update = flag.Bool("update", false, "write testdata/golden.json anew")

// sample is a header with every field set to something else.
func sample() Header {
	return Header{
		EchoVerdict: VerdictAlive, Flags: FlagDegraded | FlagSolicit | FlagFollowUp,
		YourDiscriminator: 0xF1F2F3F4F5F6F7F8, MyDiscriminator: 0x1112131415161718, Sender: 0x0102030405060708,
		Incarnation: 0x2122232425262728, Sequence: 0x3132333435363738, SendInstant: 0x3F42434445464748,
		Lateness: 0x51525354, Period: 0x01626364, MinReceivePeriod: 0x02727374, EchoLost: 0x81828384,
		Progress: 0x9192939495969798, EchoIncarnation: 0x61A2A3A4A5A6A7A8, EchoSequence: 0x71B2B3B4B5B6B7B8,
		EchoResidence: 0x3EC2C3C4C5C6C7C8, EchoDeadline: 0xD1D2D3D4, FollowUpWait: 0xE1E2E3E4,
		FollowUpSequence: 0x0F1F2F3F4F5F6F7F,
	}
}

// encode is Append that must succeed.
func encode(t testing.TB, h Header, messages []byte) []byte {
	t.Helper()
	b, f := Append(nil, &h, messages)
	if f != OK {
		t.Fatalf("Append: %v", f)
	}
	return b
}

// golden is one vector of testdata/golden.json.
type golden struct {
	Name     string
	Header   Header
	Messages string // hexadecimal
	Datagram string
}

// W1: the vectors are the layout. They were written by this test with -update and are
// checked by both codecs.
func TestGolden(t *testing.T) {
	const path = "testdata/golden.json"
	if *update {
		writeGolden(t, path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var vectors []golden
	if err := json.Unmarshal(text, &vectors); err != nil || len(vectors) < 5 {
		t.Fatalf("%d vectors, %v", len(vectors), err)
	}
	for _, v := range vectors {
		want, _ := hex.DecodeString(v.Datagram)
		messages, _ := hex.DecodeString(v.Messages)
		prefix := []byte("before")
		got, f := Append(bytes.Clone(prefix), &v.Header, messages)
		if f != OK || !bytes.Equal(got, append(prefix, want...)) {
			t.Errorf("%s: Append gives %x, %v", v.Name, got, f)
		}
		if ref := wiretest.Encode(&v.Header, messages); !bytes.Equal(ref, want) {
			t.Errorf("%s: the reference encodes %x", v.Name, ref)
		}
		var h Header
		section, f := Decode(want, &h)
		if f != OK || h != v.Header || !bytes.Equal(section, messages) {
			t.Errorf("%s: Decode gives %+v, %x, %v", v.Name, h, section, f)
		}
	}
}

// writeGolden writes the vectors.
func writeGolden(t *testing.T, path string) {
	t.Helper()
	first := Header{MyDiscriminator: 0xABCDEF0000000001, Sender: 1, Incarnation: 1, Sequence: 1, Period: 100_000}
	keyed := sample()
	keyed.KeyID = 7
	leaving := first
	leaving.Flags = FlagLeaving
	most := sample()
	message, _ := AppendMessage(nil, 0x8001, []byte("value"))
	message, _ = AppendMessage(message, 2, nil)
	full, _ := AppendMessage(nil, 3, make([]byte, MaxSize-HeaderSize-4))
	vectors := []golden{
		{Name: "introduction", Header: first},
		{Name: "goodbye", Header: leaving},
		{Name: "every field", Header: sample()},
		{Name: "every field, with room for a tag", Header: keyed},
		{Name: "two messages", Header: most, Messages: hex.EncodeToString(message)},
		{Name: "the greatest datagram", Header: most, Messages: hex.EncodeToString(full)},
	}
	for i := range vectors {
		messages, _ := hex.DecodeString(vectors[i].Messages)
		vectors[i].Datagram = hex.EncodeToString(wiretest.Encode(&vectors[i].Header, messages))
	}
	text, err := json.MarshalIndent(vectors, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The low bits of a discriminator are its slot (W1), at the offset that steering reads.
func TestSlot(t *testing.T) {
	for d, want := range map[uint64]uint32{0: 0, 1: 1, 1<<20 - 1: 1<<20 - 1, 1 << 20: 0, math.MaxUint64: 1<<20 - 1} {
		if got := Slot(d); got != want {
			t.Errorf("Slot(%#x) = %d, want %d", d, got, want)
		}
	}
	h := sample()
	b := encode(t, h, nil)
	if got := binary.BigEndian.Uint64(b[DiscriminatorOffset:]); got != h.YourDiscriminator {
		t.Errorf("%#x lies at the offset of your discriminator", got)
	}
}

// W2, W3, W4, W5, W7, W8: every fault of a datagram has an input that reaches it.
func TestFaults(t *testing.T) {
	plain := func(change func(*Header)) []byte {
		h := sample()
		change(&h)
		return wiretest.Encode(&h, nil)
	}
	with := func(offset int, value byte) []byte {
		b := encode(t, sample(), nil)
		b[offset] = value
		return b
	}
	tests := map[Fault][][]byte{
		OK: {
			encode(t, sample(), nil), plain(func(h *Header) { h.YourDiscriminator = 0 }),
			plain(func(h *Header) { h.MyDiscriminator = 1 << SlotBits }), // slot 0: made without state
			plain(func(h *Header) { h.Incarnation, h.Sequence, h.SendInstant = 1<<63, 1<<63, 1<<62 }),
			plain(func(h *Header) { h.Period, h.MinReceivePeriod, h.SendInstant = MaxPeriod, MaxPeriod, 0 }),
			plain(func(h *Header) { h.EchoIncarnation, h.EchoSequence, h.EchoResidence = 1<<63, 1<<63, 1<<62 }),
			plain(func(h *Header) { h.EchoSequence = 0 }),
		},
		TooShort:         {nil, make([]byte, 1), encode(t, sample(), nil)[:HeaderSize-1]},
		TooLong:          {append(encode(t, sample(), nil), make([]byte, MaxSize)...)},
		BadMagic:         {make([]byte, HeaderSize), with(0, 0)},
		BadVersion:       {with(4, 0), with(4, 2), append(with(4, 2), 1, 2, 3)},
		BadKind:          {with(5, 0), with(5, 2)},
		BadLength:        {append(encode(t, sample(), nil), 0), with(9, 0)},
		BadMessageLength: {with(11, 4), with(15, 1)},
		BadFlags:         {with(7, 16|8), with(6, 1)},
		BadReserved:      {with(117, 1), with(118, 1), with(119, 1), with(124, 1), with(127, 1)},
		NoDiscriminator:  {plain(func(h *Header) { h.MyDiscriminator = 0 })},
		NoSender:         {plain(func(h *Header) { h.Sender = 0 })},
		NoIncarnation: {
			plain(func(h *Header) { h.Incarnation = 0 }), plain(func(h *Header) { h.Incarnation = 1<<63 + 1 }),
		},
		NoSequence: {
			plain(func(h *Header) { h.Sequence = 0 }), plain(func(h *Header) { h.Sequence = 1<<63 + 1 }),
		},
		BadInstant: {
			plain(func(h *Header) { h.SendInstant = -1 }), plain(func(h *Header) { h.SendInstant = math.MinInt64 }),
			plain(func(h *Header) { h.SendInstant = 1<<62 + 1 }),
		},
		BadPeriod: {
			plain(func(h *Header) { h.Period = 0 }), plain(func(h *Header) { h.Period = MaxPeriod + 1 }),
			plain(func(h *Header) { h.MinReceivePeriod = MaxPeriod + 1 }),
		},
		BadEcho: {
			plain(func(h *Header) { h.EchoIncarnation = 0 }),
			plain(func(h *Header) { h.EchoIncarnation, h.EchoSequence = 0, 0 }),
			plain(func(h *Header) { h.EchoIncarnation, h.EchoResidence = 0, 0 }),
			plain(func(h *Header) { h.EchoIncarnation = 1<<63 + 1 }),
			plain(func(h *Header) { h.EchoSequence = 1<<63 + 1 }),
			plain(func(h *Header) { h.EchoResidence = 1<<62 + 1 }),
		},
		BadVerdict: {with(116, 6), with(116, 255)},
		BadFollowUp: {
			plain(func(h *Header) { h.FollowUpSequence = h.Sequence }),
			plain(func(h *Header) { h.FollowUpSequence = 0 }),
			plain(func(h *Header) { h.Flags &^= FlagFollowUp }),
		},
		BadMessage: {
			wiretest.Encode(header(), []byte{0, 1, 0}),
			wiretest.Encode(header(), []byte{0, 1, 0, 1}),
			wiretest.Encode(header(), []byte{0, 1, 0xFF, 0xFF, 0, 0, 0, 0}),
		},
	}
	elsewhere := map[Fault]bool{Unauthenticated: true, UnknownKey: true, BadTag: true} // of a receiver with keys
	for f := range NumFaults {
		if len(tests[f]) == 0 && !elsewhere[f] {
			t.Errorf("no input reaches %v", f)
		}
		if f.String() == "" {
			t.Errorf("fault %d has no name", f)
		}
		for i, b := range tests[f] {
			var h Header
			if _, got := Decode(b, &h); got != f {
				t.Errorf("%v, input %d: Decode gives %v\n%x", f, i, got, b)
			}
		}
	}
}

// header returns a valid header.
func header() *Header {
	h := sample()
	return &h
}

// Append refuses what no receiver would accept and leaves dst as it was (W3).
func TestAppendRefuses(t *testing.T) {
	for want, change := range map[Fault]func(*Header) []byte{
		TooLong:     func(*Header) []byte { return make([]byte, MaxSize) },
		NoSender:    func(h *Header) []byte { h.Sender = 0; return nil },
		BadPeriod:   func(h *Header) []byte { h.Period = MaxPeriod + 1; return nil },
		BadInstant:  func(h *Header) []byte { h.SendInstant = -1; return nil },
		BadFlags:    func(h *Header) []byte { h.Flags = 1 << 9; return nil },
		BadFollowUp: func(h *Header) []byte { h.FollowUpSequence = h.Sequence + 1; return nil },
		BadMessage:  func(*Header) []byte { return []byte{1} },
	} {
		h := sample()
		messages := change(&h)
		if b, f := Append([]byte("x"), &h, messages); f != want || string(b) != "x" {
			t.Errorf("Append gives %q, %v; want %v", b, f, want)
		}
	}
}

// W3, W6: on any input the two codecs agree, and what decodes encodes to itself.
func TestCodecsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := sample()
		b := wiretest.Encode(&h, nil)
		for range rapid.IntRange(0, 4).Draw(t, "changes") {
			b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		}
		b = b[:rapid.IntRange(len(b)-2, len(b)).Draw(t, "length")]
		wiretest.Compare(t, b)
	})
}

// W9: unknown types are passed over.
func TestMessages(t *testing.T) {
	section, ok := AppendMessage(nil, 1, []byte("one"))
	section, ok2 := AppendMessage(section, 0xFFFF, nil)
	if !ok || !ok2 {
		t.Fatal("AppendMessage refused")
	}
	b := encode(t, sample(), section)
	var h Header
	got, f := Decode(b, &h)
	if f != OK {
		t.Fatal(f)
	}
	var types []uint16
	for kind, value, rest, ok := CutMessage(got); ok; kind, value, rest, ok = CutMessage(rest) {
		types = append(types, kind)
		if kind == 1 && string(value) != "one" {
			t.Errorf("value %q", value)
		}
	}
	if len(types) != 2 || types[1] != 0xFFFF {
		t.Errorf("types %v", types)
	}
	if _, ok := AppendMessage(section, 1, make([]byte, MaxSize)); ok {
		t.Error("a message longer than a datagram was accepted")
	}
}

// An ICMP error quotes as much of our datagram as it likes.
func TestDecodeQuoted(t *testing.T) {
	b := encode(t, sample(), nil)
	var h Header
	if f := DecodeQuoted(b, &h); f != OK || h != sample() {
		t.Errorf("whole: %v", f)
	}
	for n := range HeaderSize {
		if f := DecodeQuoted(b[:n], &h); f != TooShort {
			t.Errorf("%d bytes: %v", n, f)
		}
	}
	if f := DecodeQuoted(make([]byte, HeaderSize), &h); f != BadMagic {
		t.Errorf("zeros: %v", f)
	}
	b[5] = 2
	if f := DecodeQuoted(b, &h); f != BadKind {
		t.Errorf("another kind: %v", f)
	}
}

func TestNoAllocs(t *testing.T) {
	h, out := sample(), Header{}
	h.KeyID = 1
	buf := make([]byte, 0, MaxSize)
	a, sub, key := NewAuthenticator(), new(Subkey), new(Key)
	n := testing.AllocsPerRun(1000, func() {
		a.Derive(sub, key, 1, 2)
		b, f := Append(buf, &h, nil)
		a.Sign(sub, b)
		if _, g := Decode(b, &out); f != OK || g != OK || !a.Verify(sub, b) {
			panic("refused")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations per datagram", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	h := sample()
	buf := make([]byte, 0, MaxSize)
	for b.Loop() {
		Append(buf, &h, nil)
	}
}

func BenchmarkDecode(b *testing.B) {
	h := sample()
	datagram := encode(b, h, nil)
	for b.Loop() {
		Decode(datagram, &h)
	}
}
