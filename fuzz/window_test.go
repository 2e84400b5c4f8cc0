package fuzz

import (
	"testing"

	"systole/ringbuf"
)

// FuzzWindow: a window has the newest records. The first byte of an input chooses the shape of the
// window. Each further byte is a push or a snapshot, by its low bit; the other bits are the content
// or the size.
func FuzzWindow(f *testing.F) {
	f.Add([]byte{0x00, 0x02, 0x01, 0x04, 0x03})
	f.Add([]byte{0x13, 2, 4, 6, 8, 10, 12, 255, 14, 16, 31})
	f.Add([]byte{0x42, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 9})
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 {
			return
		}
		l := ringbuf.Layout{Records: 1 << (in[0] % 5), Words: int(in[0]>>4)%6 + 1}
		mem := make([]ringbuf.Word, l.Size())
		var model [][]uint64
		for i, op := range in[1:] {
			if op&1 == 0 {
				rec := make([]uint64, l.Words)
				for w := range rec {
					rec[w] = uint64(op)<<32 | uint64(i*l.Words+w)
				}
				l.Push(mem, rec)
				model = append(model, rec)
				continue
			}
			dst := make([]uint64, int(op>>1)*l.Words)
			n, total := l.Snapshot(mem, dst)
			if want := min(int(op>>1), l.Records, len(model)); n != want || total != uint64(len(model)) {
				t.Fatalf("%d records of %d, want %d of %d", n, total, want, len(model))
			}
			for k := range n {
				for w, want := range model[len(model)-n+k] {
					if dst[k*l.Words+w] != want {
						t.Fatalf("record %d, word %d: %x, want %x", k, w, dst[k*l.Words+w], want)
					}
				}
			}
		}
	})
}
