package detect_test

import (
	"encoding/binary"
	"math"
	"testing"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/detect/published"
	"systole/engine/internal/margins"
)

// detectors returns all detectors, with their defaults and with extreme parameters.
func detectors() []detect.Detector {
	return []detect.Detector{
		detect.Margin(detect.MarginOptions{}), detect.Margin(detect.MarginOptions{MistakeEvery: time.Second, Period: time.Minute, X: 1000, FailAfter: 2}),
		detect.Margin(detect.MarginOptions{MistakeEvery: 100 * 365 * 24 * time.Hour, Period: time.Millisecond, Within: time.Hour}),
		published.Fixed(0, 0), published.Fixed(1000, 1e6), published.Chen(0, 0, 0), published.Chen(1, 1, 0),
		published.TwoWindow(0, 0, 0, 0), published.TwoWindow(time.Hour, 2, 3, 0),
		published.Bertier(published.BertierOptions{}), published.Bertier(published.BertierOptions{Beta: 100, Phi: 100, Gamma: 1}),
		published.PhiNormal(published.PhiNormalOptions{}),
		published.PhiNormal(published.PhiNormalOptions{Threshold: 300, Window: 2, MinDeviation: 1, Pause: -1, FirstEstimate: 1}),
		published.PhiExponential(published.PhiExponentialOptions{}),
		published.PhiExponential(published.PhiExponentialOptions{Threshold: 0.1, Window: 1, Initial: 1, MaxInterval: time.Hour}),
		published.Oz(published.OzOptions{}), published.Oz(published.OzOptions{Increase: 16, Decrease: 0.5, Min: 1, Max: time.Hour, X: 64}),
	}
}

// extremes are numbers near which arithmetic can fail.
var extremes = []int64{
	0, 1, -1, int64(time.Millisecond), int64(time.Minute), int64(3 * time.Hour), 1 << 40, math.MaxUint32, math.MaxUint32 * 1000,
	1 << 53, 1 << 62, math.MaxInt64 - 1, math.MaxInt64, math.MinInt64, math.MinInt64 + 1, -int64(time.Hour),
}

// number takes a number from the front of in: an extreme one, a small one or any. It returns 0 at
// the end.
func number(in *[]byte) int64 {
	if len(*in) == 0 {
		return 0
	}
	first := (*in)[0]
	*in = (*in)[1:]
	switch {
	case first < 128:
		return extremes[first%16] + int64(first/16) - 4
	case first < 192:
		return int64(first-128) * int64(time.Millisecond)
	}
	var b [8]byte
	*in = (*in)[copy(b[:], *in):]
	return int64(binary.LittleEndian.Uint64(b[:]))
}

// FuzzDetectors: after any heartbeats, suspicion is finite, not negative and does not decrease in
// silence, and Deadline is the first instant at which it reaches a level. The first byte of an
// input chooses the detector. Then follow heartbeats, each after a byte of bits: 1 adds it to the
// pool, 2 has the detector learn, 4 makes it relative to the one before.
func FuzzDetectors(f *testing.F) {
	ds := detectors()
	for d := range ds {
		f.Add([]byte{byte(d), 1, 0x41, 0x43, 0x40, 0x43, 0x43, 0x40, 2, 0x46, 0x47, 0x4b, 0x45, 0x4d, 0x4b, 3, 0x41, 0x40, 0x4c, 0x4d, 0x43, 0x4c})
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 || len(in) > 4096 {
			return
		}
		d := ds[int(in[0])%len(ds)]
		in = in[1:]
		state := make([]uint64, d.Words())
		var pool margins.Pool
		var h detect.Heartbeat
		newest := clock.Instant(0)
		for len(in) > 0 {
			kind := in[0]
			in = in[1:]
			last := h
			h = detect.Heartbeat{
				Sequence: uint64(number(&in)), Send: clock.Instant(number(&in)), Late: time.Duration(number(&in)),
				Arrival: clock.Instant(number(&in)), Period: time.Duration(number(&in)), Paused: time.Duration(number(&in)),
			}
			if kind&4 != 0 {
				h.Sequence, h.Send, h.Arrival = h.Sequence+last.Sequence, h.Send+last.Send, h.Arrival+last.Arrival
			}
			h.Arrival = max(h.Arrival, 0) // our clock starts at 0
			newest = max(newest, h.Arrival)
			d.Heartbeat(state, &h)
			if kind&1 != 0 {
				pool.Note(&margins.Gap{
					Peer: uint32(kind >> 4), Arrival: h.Arrival, Interval: h.Arrival.Sub(last.Arrival), Period: h.Period, Lost: h.Sequence,
				})
			}
			if l, ok := d.(interface {
				Learn([]uint64, *margins.Pool)
			}); ok && kind&2 != 0 {
				l.Learn(state, &pool)
			}
		}
		silence(t, d, state, newest)
		suspect, fail := d.Levels()
		for _, level := range []float64{suspect / 6, suspect, (suspect + fail) / 2, fail, math.SmallestNonzeroFloat64, 1} {
			inverse(t, d, state, newest, level)
		}
	})
}

// silence checks the suspicion from an instant on.
func silence(t *testing.T, d detect.Detector, state []uint64, from clock.Instant) {
	last := 0.0
	for shift := range 64 {
		at := from.Add(time.Duration(1)<<shift - 1)
		level := d.Suspicion(state, at)
		if !(level >= last) || math.IsInf(level, 0) {
			t.Fatalf("%s %+v: suspicion %v at %v, %v before", d.Name(), d, level, at, last)
		}
		last = level
	}
}

// inverse checks the deadline of a level. It may be clock.Never only if it is decades away.
func inverse(t *testing.T, d detect.Detector, state []uint64, newest clock.Instant, level float64) {
	at := d.Deadline(state, level)
	if at == clock.Never {
		if got := d.Suspicion(state, 1<<61); newest < 1<<60 && got >= level {
			t.Fatalf("%s %+v: suspicion reaches %v, but the deadline of %v is never", d.Name(), d, got, level)
		}
		return
	}
	if at <= 0 {
		t.Fatalf("%s %+v: deadline %d of %v", d.Name(), d, int64(at), level)
	}
	if before, there := d.Suspicion(state, at-1), d.Suspicion(state, at); before >= level || there < level {
		t.Fatalf("%s %+v: suspicion %v at the deadline %v of %v, %v before it", d.Name(), d, there, at, level, before)
	}
}
