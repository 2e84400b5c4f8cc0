package main

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"systole/engine"
)

// watched is a peer with the distributions of its delays.
type watched struct {
	name      string
	peer      engine.Peer
	roundTrip *hdrhistogram.Histogram // ns
	delay     *hdrhistogram.Histogram // one-way delay towards this node above the least, ns
	total     uint64                  // heartbeats collected so far
	recorded  uint64                  // the id whose name is in the recording
	buf       [pingWindow]engine.Sample
}

// newWatched returns a peer with empty histograms, from 1 ns to a minute with three digits.
func newWatched(name string, p engine.Peer) *watched {
	const least, most, digits = 1, int64(time.Minute), 3
	return &watched{
		name: name, peer: p,
		roundTrip: hdrhistogram.New(least, most, digits),
		delay:     hdrhistogram.New(least, most, digits),
	}
}

// collect adds the heartbeats since the last call to the histograms. Values above a minute count as
// a minute.
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

// record adds a value.
func record(h *hdrhistogram.Histogram, d time.Duration) {
	// There is no error within the bounds of the histogram.
	_ = h.RecordValue(min(max(int64(d), 1), h.HighestTrackableValue()))
}

// quantiles are those of a distribution, in ns; nil for lack of values.
type quantiles struct {
	P50 *int64 `json:"p50,omitempty"`
	P99 *int64 `json:"p99,omitempty"`
	Max *int64 `json:"max,omitempty"`
}

// quantilesOf returns the quantiles of a distribution. The quantile q needs 1/(1-q) values, so that
// at least one lies beyond it.
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
