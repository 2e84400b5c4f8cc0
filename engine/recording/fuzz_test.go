package recording

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"testing"
)

// inBlocks returns a recording with payload in blocks of size bytes, so that inputs get past
// lengths and checksums.
func inBlocks(payload []byte, size int) []byte {
	out := []byte("SYSTREC\x01")
	for len(payload) > 0 {
		n := min(len(payload), size)
		out = binary.BigEndian.AppendUint16(out, uint16(n))
		out = binary.BigEndian.AppendUint16(out, ^uint16(n))
		out = binary.BigEndian.AppendUint32(out, crc32.Checksum(payload[:n], crc32.MakeTable(crc32.Castagnoli)))
		out = append(out, payload[:n]...)
		payload = payload[n:]
	}
	return out
}

// readAll reads a recording up to its end or its first fault.
func readAll(t *testing.T, file []byte) []Heartbeat {
	t.Helper()
	r, err := newReader(bytes.NewReader(file))
	var bad *formatError
	if err != nil {
		if !errors.As(err, &bad) {
			t.Fatal(err)
		}
		return nil
	}
	var hs []Heartbeat
	for {
		var h Heartbeat
		err := r.next(&h)
		if errors.As(err, &bad) && (bad.Offset < 8 || bad.Offset > int64(len(file))) {
			t.Fatalf("a fault at byte %d of %d", bad.Offset, len(file))
		}
		if errors.As(err, &bad) || errors.Is(err, io.EOF) {
			return hs
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(hs) > len(file) {
			t.Fatalf("%d heartbeats in %d bytes", len(hs), len(file))
		}
		hs = append(hs, h)
	}
}

// FuzzRecording: reading ends regularly or with a fault that has its offset. The heartbeats that
// were read can be recorded again, and are then the same.
func FuzzRecording(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 9, 5, 0x1f, 10, 0x90, 0x4e, 1, 2, 3, 4, 5, 6, 0x10, 0, 1, 0, 1}, uint8(200), false)
	f.Add([]byte{2, 0, 0, 0, 0, 0, 0, 0, 9, 2, 'h', 'i', 3, 7, 0x20}, uint8(1), false)
	f.Add(inBlocks([]byte{3, 1, 3, 2}, 2), uint8(0), true)
	f.Fuzz(func(t *testing.T, in []byte, size uint8, raw bool) {
		if !raw {
			in = inBlocks(in, int(size)+1)
		}
		hs := readAll(t, in)
		var again bytes.Buffer
		rec, err := New(&again, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range hs {
			rec.Record(&hs[i])
		}
		if err := rec.Close(); err != nil {
			t.Fatal(err)
		}
		if s := rec.Stats(); s.Refused > 0 {
			t.Fatalf("read and not recorded again: %+v of %+v", s, hs)
		}
		got := readAll(t, again.Bytes())
		for i := range hs {
			if i >= len(got) || got[i] != hs[i] {
				t.Fatalf("heartbeat %d of %d: %+v", i, len(got), hs[i])
			}
		}
	})
}
