//go:build !race

// The race detector allocates on its own.

package recording

import (
	"io"
	"testing"
)

// Record does not allocate, whether the ring has room or not.
func TestRecordAllocatesNothing(t *testing.T) {
	rec, err := New(io.Discard, Options{Ring: 1024})
	if err != nil {
		t.Fatal(err)
	}
	if err := rec.Close(); err != nil { // its goroutine allocates, which would be counted
		t.Fatal(err)
	}
	h := quiet(1)[0]
	for _, runs := range []int{rec.ring.Cap() / 2, 2 * rec.ring.Cap()} {
		if n := testing.AllocsPerRun(runs, func() { rec.Record(&h) }); n != 0 {
			t.Errorf("%v allocations per heartbeat", n)
		}
	}
	if waits := rec.ring.Len(); waits != rec.ring.Cap() || rec.Stats().Overflowed == 0 {
		t.Errorf("%d wait, %+v: the ring did not fill and overflow", waits, rec.Stats())
	}
}
