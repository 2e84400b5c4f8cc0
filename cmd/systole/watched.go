package main

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"systole/engine"
)

// watched is a peer with the distributions of what was measured of it.
type watched struct {
	name      string
	peer      engine.Peer
	roundTrip *hdrhistogram.Histogram // ns
	delay     *hdrhistogram.Histogram // ns, of the way to us above its least
	total     uint64                  // heartbeats collected so far
	recorded  uint64                  // the id that the recording has the name for
	buf       [pingWindow]engine.Sample
}

// newWatched returns a watched peer. Histograms reach from 1 ns to a minute with three
// digits.
func newWatched(name string, p engine.Peer) *watched {
	const least, most, digits = 1, int64(time.Minute), 3
	return &watched{
		name: name, peer: p,
		roundTrip: hdrhistogram.New(least, most, digits),
		delay:     hdrhistogram.New(least, most, digits),
	}
}

// collect records the heartbeats that are new since the last call. Values beyond a minute
// are recorded as a minute.
func (w *watched) collect() {
	n, total := w.peer.Samples(w.buf[:])
	fresh := min(uint64(n), total-w.total)
	w.total = total
	for _, s := range w.buf[uint64(n)-fresh : n] {
		if s.RoundTrip > 0 {
			record(w.roundTrip, s.RoundTrip)
		}
		record(w.delay, s.Network)
	}
}

// record adds one value.
func record(h *hdrhistogram.Histogram, d time.Duration) {
	// Within the bounds of the histogram there is no error.
	_ = h.RecordValue(min(max(int64(d), 1), h.HighestTrackableValue()))
}

// quantiles of a distribution in nanoseconds; a missing one had too few values.
type quantiles struct {
	P50 *int64 `json:"p50,omitempty"`
	P99 *int64 `json:"p99,omitempty"`
	Max *int64 `json:"max,omitempty"`
}

// quantilesOf returns the quantiles that enough values stand behind: a quantile q needs
// 1/(1-q), so that one value at least lies beyond it.
func quantilesOf(h *hdrhistogram.Histogram) quantiles {
	var q quantiles
	n := h.TotalCount()
	if n >= 2 {
		v := h.ValueAtQuantile(50)
		q.P50 = &v
	}
	if n >= 100 {
		v := h.ValueAtQuantile(99)
		q.P99 = &v
	}
	if n >= 1 {
		v := h.Max()
		q.Max = &v
	}
	return q
}
