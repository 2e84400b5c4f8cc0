package recording

import (
	"bytes"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"systole/engine/clock"
)

// written returns a recording of hs with so many heartbeats per block.
func written(hs []Heartbeat, perBlock int) []byte {
	out := []byte(magic)
	e := newEncoder()
	for i := range hs {
		if e.heartbeat(&hs[i]); (i+1)%perBlock == 0 {
			out = append(out, e.seal()...)
		}
	}
	if e.size() > 0 {
		out = append(out, e.seal()...)
	}
	return out
}

// read reads a recording to its end.
func read(b []byte) (hs []Heartbeat, r *reader, err error) {
	if r, err = newReader(bytes.NewReader(b)); err != nil {
		return nil, nil, err
	}
	for {
		var h Heartbeat
		switch err := r.next(&h); {
		case errors.Is(err, io.EOF):
			return hs, r, nil
		case err != nil:
			return hs, r, err
		}
		hs = append(hs, h)
	}
}

// quiet returns n heartbeats of a sender with a period of 10 ms, over a path with some jitter.
func quiet(n int) []Heartbeat {
	random := rand.New(rand.NewPCG(1, 2))
	var hs []Heartbeat
	for i := range n {
		due := clock.Instant(i) * 10_000_000
		h := Heartbeat{
			Peer: 42, Incarnation: 1_700_000_000_000_000_000, Sequence: uint64(i + 1), Late: 50_000 + random.Uint32N(60_000),
			Period: 10_000, RoundTrip: (200_000 + random.Uint32N(100_000)) &^ 255, Source: clock.Kernel,
		}
		h.Send = due + clock.Instant(h.Late)
		h.Arrival = h.Send + 77_000_000_000 + clock.Instant(random.Int64N(40_000))
		h.Read = h.Arrival + 20_000 + clock.Instant(random.Int64N(200_000))
		h.Read = max(h.Read>>coarse<<coarse, h.Arrival)
		hs = append(hs, h)
	}
	return hs
}

// The reader returns the heartbeats that were recorded.
func TestRoundTrip(t *testing.T) {
	instant := rapid.Int64Range(-farthest/2, farthest/2)
	beat := rapid.Custom(func(t *rapid.T) Heartbeat {
		h := Heartbeat{
			Peer: rapid.Uint64Range(1, 3).Draw(t, "peer"), Incarnation: rapid.Uint64Range(0, 2).Draw(t, "incarnation"),
			Sequence: rapid.Uint64().Draw(t, "sequence"), Send: clock.Instant(instant.Draw(t, "send")),
			Arrival: clock.Instant(instant.Draw(t, "arrival")), Late: rapid.Uint32().Draw(t, "late"),
			Period: rapid.Uint32().Draw(t, "period"), RoundTrip: rapid.Uint32().Draw(t, "round trip") &^ 255,
			Source: clock.Source(rapid.IntRange(0, int(clock.BPF)).Draw(t, "source")),
		}
		h.Read = h.Arrival + clock.Instant(rapid.Int64Range(0, farthest/2).Draw(t, "lag"))
		h.Read = max(h.Read>>coarse<<coarse, h.Arrival)
		return h
	})
	rapid.Check(t, func(t *rapid.T) {
		hs := rapid.SliceOfN(beat, 0, 30).Draw(t, "heartbeats")
		got, r, err := read(written(hs, rapid.IntRange(1, 10).Draw(t, "block")))
		if err != nil || len(got) != len(hs) || r.truncated != 0 {
			t.Fatalf("%d of %d read: %v", len(got), len(hs), err)
		}
		for i := range hs {
			if got[i] != hs[i] {
				t.Fatalf("heartbeat %d: %+v, recorded %+v", i, got[i], hs[i])
			}
		}
	})
}

// Rounding does not change the order of the instants of reading.
func TestReadingsKeepTheirOrder(t *testing.T) {
	var hs []Heartbeat
	for i := range clock.Instant(2000) {
		at := i * 977
		hs = append(hs, Heartbeat{Sequence: uint64(i), Arrival: at, Read: at - at%10_000 + 10_000})
	}
	got, _, err := read(written(hs, 100))
	if err != nil || len(got) != len(hs) {
		t.Fatal(len(got), err)
	}
	for i := 1; i < len(got); i++ {
		if got[i].Read < got[i-1].Read || got[i].Read > hs[i].Read || hs[i].Read-got[i].Read > 255 {
			t.Fatalf("read at %d, kept as %d after %d", hs[i].Read, got[i].Read, got[i-1].Read)
		}
	}
}

// A heartbeat takes 12 bytes, with 100 µs of lateness and of lag.
func TestSize(t *testing.T) {
	const n = 10_000
	if each := float64(len(written(quiet(n), 300))) / n; each > 12 {
		t.Errorf("%.2f bytes per heartbeat", each)
	} else {
		t.Logf("%.2f bytes per heartbeat", each)
	}
}

// Heartbeats that could not be replayed are not recorded.
func TestImplausible(t *testing.T) {
	e := newEncoder()
	for name, h := range map[string]Heartbeat{
		"a forged send instant":    {Send: math.MinInt64},
		"an instant that is never": {Send: clock.Never},
		"read before it arrived":   {Arrival: 2, Read: 1},
		"an unknown source":        {Source: clock.BPF + 1},
	} {
		if e.heartbeat(&h) || e.size() != 0 {
			t.Errorf("%s was recorded", name)
		}
	}
}

// Of a recording cut anywhere, all complete blocks are read; Truncated has the length of the rest.
func TestTruncated(t *testing.T) {
	hs := quiet(40)
	whole := written(hs, 10)
	for cut := len(magic); cut < len(whole); cut++ {
		got, r, err := read(whole[:cut])
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if len(got)%10 != 0 || len(got) > 0 && got[len(got)-1] != hs[len(got)-1] {
			t.Fatalf("cut at %d: %d heartbeats", cut, len(got))
		}
		if len(got) < 30 && cut >= len(written(hs[:len(got)+10], 10)) {
			t.Fatalf("cut at %d: a whole block is missing", cut)
		}
		if want := cut - len(written(hs[:len(got)], 10)); r.truncated != want {
			t.Fatalf("cut at %d: %d bytes left out, want %d", cut, r.truncated, want)
		}
	}
	for cut := range len(magic) {
		var f *formatError
		if _, _, err := read(whole[:cut]); !errors.As(err, &f) {
			t.Errorf("cut at %d, within the magic: %v", cut, err)
		}
	}
}

// A recording with one wrong bit is refused, with the offset of the block.
func TestCorrupt(t *testing.T) {
	hs := quiet(30)
	whole := written(hs, 10)
	block := int64(len(written(hs[:10], 10)))
	for bit := range 8 * len(whole) {
		bad := bytes.Clone(whole)
		bad[bit/8] ^= 1 << (bit % 8)
		_, _, err := read(bad)
		var f *formatError
		if !errors.As(err, &f) {
			t.Fatalf("bit %d turned: %v", bit, err)
		}
		at := int64(bit / 8)
		if f.Offset > at || at >= block && f.Offset < block {
			t.Fatalf("bit %d turned, in byte %d: %v", bit, at, err)
		}
	}
	newer := []byte("SYSTREC\x02")
	if _, _, err := read(newer); err == nil || !strings.Contains(err.Error(), "version") || !isRecording(newer) {
		t.Errorf("a recording of a later version: %v", err)
	}
}

// The reader returns what several producers recorded: each peer's heartbeats in order, and the
// names.
func TestRecorder(t *testing.T) {
	var out bytes.Buffer
	rec, err := New(&out, Options{Flush: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	const peers, each = 4, 2000
	var producers sync.WaitGroup
	for p := range uint64(peers) {
		producers.Go(func() {
			for _, h := range quiet(each) {
				h.Peer = p
				rec.Record(&h)
			}
		})
	}
	rec.Name(1, "früher")
	rec.Name(1, strings.Repeat("ü", 200))
	rec.Name(2, "\xff")
	producers.Wait()
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	if err := rec.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed twice: %v", err)
	}
	hs, r, err := read(out.Bytes())
	if err != nil || r.truncated != 0 {
		t.Fatal(err)
	}
	var last [peers]uint64
	for _, h := range hs {
		if h.Sequence != last[h.Peer]+1 {
			t.Fatalf("peer %d: %d after %d", h.Peer, h.Sequence, last[h.Peer])
		}
		last[h.Peer] = h.Sequence
	}
	s := rec.Stats()
	if len(hs) != peers*each || s.Written != peers*each || s.Overflowed != 0 || s.Bytes != uint64(out.Len()) {
		t.Errorf("%d heartbeats, %+v", len(hs), s)
	}
	if r.names[1] != strings.Repeat("ü", 127) || r.names[2] != `"\xff"` || r.names[3] != "" {
		t.Errorf("names %q, %q, %q", r.names[1], r.names[2], r.names[3])
	}
}

// stuck is a writer that accepts the magic and then blocks until free is closed.
type stuck struct {
	bytes.Buffer
	free chan struct{}
}

func (s *stuck) Write(b []byte) (int, error) {
	if s.Len() > 0 {
		<-s.free
	}
	return s.Buffer.Write(b)
}

// Record does not wait for a writer that blocks. The recording has the number of heartbeats that
// overflowed.
func TestOverflow(t *testing.T) {
	out := &stuck{free: make(chan struct{})}
	rec, err := New(out, Options{Ring: 64, Flush: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	const n = 100_000
	for _, h := range quiet(n) {
		rec.Record(&h)
	}
	lost := rec.Stats().Overflowed
	if lost == 0 {
		t.Error("nothing overflowed")
	}
	close(out.free)
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	hs, r, err := read(out.Bytes())
	if err != nil || r.overflowed != lost || uint64(len(hs))+lost != n {
		t.Errorf("%d heartbeats, %d missing by the reader, %d by the Recorder; %v", len(hs), r.overflowed, lost, err)
	}
}

// full is a writer that fails after room bytes.
type full struct{ room int }

var errFull = errors.New("no space left")

func (f *full) Write(b []byte) (int, error) {
	if f.room -= len(b); f.room < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestWriteFails(t *testing.T) {
	if _, err := New(&full{}, Options{}); !errors.Is(err, errFull) {
		t.Errorf("a writer that always fails: %v", err)
	}
	rec, err := New(&full{room: 100}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range quiet(1000) {
		rec.Record(&h)
	}
	if err := rec.Close(); !errors.Is(err, errFull) || !errors.Is(rec.Err(), errFull) {
		t.Errorf("a full disk: %v", err)
	}
	for _, o := range []Options{{Ring: 3}, {Ring: -2}, {Ring: maxRing * 2}, {Flush: 1}, {Flush: time.Hour}} {
		if _, err := New(io.Discard, o); !errors.Is(err, errOptions) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// BenchmarkRecord measures the cost of a heartbeat to the loop.
func BenchmarkRecord(b *testing.B) {
	rec, err := New(io.Discard, Options{Ring: maxRing})
	if err != nil {
		b.Fatal(err)
	}
	defer rec.Close()
	h := quiet(1)[0]
	for b.Loop() {
		h.Sequence++
		rec.Record(&h)
	}
}

// BenchmarkRead measures the cost of reading a heartbeat.
func BenchmarkRead(b *testing.B) {
	const n = 100_000
	file := written(quiet(n), 300)
	for b.Loop() {
		r, err := newReader(bytes.NewReader(file))
		read := 0
		for h := (Heartbeat{}); err == nil; read++ {
			err = r.next(&h)
		}
		if read != n+1 || !errors.Is(err, io.EOF) {
			b.Fatal(read, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/heartbeat")
}
