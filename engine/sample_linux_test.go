//go:build !systole_portable

package engine

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"systole/engine/clock"
	"systole/engine/recording"
)

// recorder returns a recorder that is closed at the end of the test.
func recorder(t *testing.T, out io.Writer) *recording.Recorder {
	t.Helper()
	rec, err := recording.New(out, recording.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rec.Close() })
	return rec
}

// Every accepted heartbeat is recorded, with its times, over a real socket.
func TestRecorder(t *testing.T) {
	var out bytes.Buffer
	rec := recorder(t, &out)
	c := newCrowd(t, "127.0.0.1:0", nil, func(c *Config) { c.Recorder = rec })
	const rounds = 20
	for range rounds {
		c.round(t)
	}
	c.seq-- // the last again, and one before the last that is new
	c.round(t)
	c.seq += 9
	c.round(t)
	c.seq -= 3
	c.round(t)
	stats := c.engine.Stats()
	if err := errors.Join(c.engine.Close(), rec.Close()); err != nil {
		t.Fatal(err)
	}
	whole, err := recording.Read(bytes.NewReader(out.Bytes()))
	if err != nil || whole.Truncated > 0 || whole.Overflowed > 0 {
		t.Fatalf("%+v, %v", whole, err)
	}
	heard := make(map[uint64][]recording.Heartbeat)
	// Heartbeats without a kernel stamp: the first ones, until the kernel begins to stamp for this host's
	// first stamping socket, and refused stamps, when our turn stood still between its clock and its reading.
	var first, refused uint64
	for h, err := range recording.Heartbeats(&out) {
		if err != nil {
			t.Fatal(err)
		}
		before := heard[h.Peer]
		heard[h.Peer] = append(before, h)
		if h.Incarnation != 7 || h.Period != 1000 || h.Read < h.Arrival || h.Read-h.Arrival > 60_000_000_000 {
			t.Fatalf("%+v", h)
		}
		switch {
		case h.Source == clock.Kernel:
		case slices.ContainsFunc(before, func(b recording.Heartbeat) bool { return b.Source == clock.Kernel }):
			refused++
		default:
			first++
		}
		if delay := h.Arrival.Sub(h.Send); delay < -time.Millisecond || delay > time.Minute {
			t.Fatalf("%v from send to arrival on one clock", delay)
		}
	}
	if len(heard) != batchSize {
		t.Fatalf("%d peers", len(heard))
	}
	var total uint64
	for peer, hs := range heard {
		total += uint64(len(hs))
		n := len(hs)
		if n < rounds || hs[n-2].Sequence != hs[n-3].Sequence+10 || hs[n-1].Sequence != hs[n-2].Sequence-2 {
			t.Fatalf("peer %d: %d heartbeats, the last three %+v", peer, n, hs[max(n-3, 0):])
		}
	}
	if n := stats.Stamps.Refused; n < refused || n > first+refused || first+refused > total/2 {
		t.Errorf("%d first and %d later ones of %d heartbeats without the kernel's stamp, %d refused", first, refused, total, n)
	}
	if total != stats.Heartbeats.Accepted || stats.Heartbeats.Duplicated != batchSize || stats.Heartbeats.Reordered != batchSize {
		t.Errorf("%d heartbeats recorded, %+v", total, stats)
	}
	if s := rec.Stats(); s.Written != total {
		t.Errorf("%+v", s)
	}
}
