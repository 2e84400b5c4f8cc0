package main

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"systole/engine"
	"systole/engine/split"
)

// watched is a peer with the distributions of its delays.
type watched struct {
	name      string
	peer      engine.Peer
	roundTrip *hdrhistogram.Histogram // ns
	delays    *split.Collector        // of heartbeats to this node
	outward   *hdrhistogram.Histogram // of heartbeats to the peer, ns
	total     uint64                  // heartbeats collected so far
	recorded  uint64                  // the id whose name is in the recording
	buf       [pingWindow]engine.Sample
}

// newWatched returns a peer with empty histograms, from 1 ns to a minute with three digits.
func newWatched(name string, p engine.Peer, grid time.Duration) *watched {
	const least, most, digits = 1, int64(time.Minute), 3
	return &watched{
		name: name, peer: p,
		roundTrip: hdrhistogram.New(least, most, digits),
		outward:   hdrhistogram.New(least, most, digits),
		delays:    split.New(grid),
	}
}

// collect adds the heartbeats since the last call to the histograms. Values above a minute count as
// a minute.
func (w *watched) collect() {
	n, total := w.peer.Samples(w.buf[:])
	fresh := min(uint64(n), total-w.total)
	w.total = total
	trip := w.peer.Stats().LeastRoundTrip
	for _, s := range w.buf[uint64(n)-fresh : n] {
		if s.RoundTrip > 0 {
			record(w.roundTrip, s.RoundTrip)
		}
		if out, ok := split.Outward(&s, trip); ok {
			record(w.outward, out)
		}
	}
	w.delays.Take(w.buf[:n], total)
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

// quantilesOfPart returns the quantiles of a part of the delay, none if it was not measured.
func (w *watched) quantilesOfPart(p split.Part) quantiles {
	var q quantiles
	h := w.delays.Histogram(p)
	set := func(to **int64, least uint64, d time.Duration) {
		if h.Count() >= least {
			v := int64(d)
			*to = &v
		}
	}
	set(&q.P50, 2, h.Quantile(0.5))
	set(&q.P99, 100, h.Quantile(0.99))
	set(&q.Max, 1, h.Max())
	return q
}
