package oneway

import (
	"encoding/binary"
	"testing"
	"time"
	"unsafe"

	"systole/engine/clock"
)

// The first heartbeats are measured against the least way so far.
func TestStart(t *testing.T) {
	var q Estimator
	var l Line
	for i, test := range []struct{ way, want time.Duration }{{500, 0}, {700, 200}, {300, 0}, {400, 100}, {300, 0}} {
		at := clock.Instant(time.Hour).Add(time.Duration(i) * time.Millisecond)
		if got := q.Arrived(&l, &Heartbeat{Arrival: at, Send: at.Add(-test.way)}); got != test.want {
			t.Errorf("way %v: queue of %v, want %v", test.way, got, test.want)
		}
	}
}

// There is one per peer.
func TestSize(t *testing.T) {
	if size := unsafe.Sizeof(Estimator{}); size > 64 {
		t.Errorf("an estimator takes %d bytes", size)
	}
}

// Any heartbeats in any order are handled: queues are not negative, slopes are finite, and the estimator
// works afterwards.
func FuzzArrived(f *testing.F) {
	for _, seed := range [][]uint64{
		{0, 0, 0, 0}, {1 << 63, 1, 1 << 62, 1<<63 | 5}, {5e9, 1 << 63, 1 << 63, 1<<63 - 1},
		{5e9, 1e9, 1e6, 1e5, 6e9, 2e9, 1e6, 1e5, 7e9, 3e9, 1e6, 1e5, 8e9, 4e9, 1e6, 1e5, 9e9, 1 << 62, 1e6, 1e5, 1e9, 2e9, 1e6, 1e5},
	} {
		var b []byte
		for range 3 {
			for _, v := range seed {
				b = binary.LittleEndian.AppendUint64(b, v)
			}
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var q Estimator
		var l Line
		for ; len(b) >= 32; b = b[32:] {
			word := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
			h := Heartbeat{
				Arrival: clock.Instant(word(0)), Send: clock.Instant(word(1)), Exchanged: word(3)&1 == 0,
				RoundTrip: time.Duration(word(2)), Residence: time.Duration(word(3)),
			}
			if queue := q.Arrived(&l, &h); queue < 0 {
				t.Fatalf("queue of %v", queue)
			}
			if !(l.slope >= -steepest && l.slope <= steepest) {
				t.Fatalf("line %+v", l)
			}
			if c := q.covariance; !(c.level >= 0 && c.slope >= 0 && c.cross == c.cross) {
				t.Fatalf("covariance %+v", c)
			}
		}
		for n := range 3600 { // whatever the base was, it has expired by then
			at := clock.Instant(1<<60 + int64(n)*1e9)
			queue := q.Arrived(&l, &Heartbeat{Arrival: at, Send: at - 5e9, Exchanged: true, RoundTrip: time.Millisecond, Residence: time.Microsecond})
			if n > 3500 && queue > time.Microsecond {
				t.Fatalf("in an idle network, queue of %v", queue)
			}
		}
	})
}

func BenchmarkArrived(b *testing.B) {
	var q Estimator
	var l Line
	h := Heartbeat{Arrival: 1 << 50, Exchanged: true, Residence: 30 * time.Millisecond}
	for n := range b.N {
		h.Arrival = h.Arrival.Add(100 * time.Millisecond)
		h.Send = h.Arrival.Add(-200*time.Microsecond - time.Duration(n&63)*time.Microsecond)
		h.RoundTrip = 400*time.Microsecond + time.Duration(n&63)*time.Microsecond
		q.Arrived(&l, &h)
	}
}
