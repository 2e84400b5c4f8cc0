package main

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"systole/engine"
	"systole/engine/histogram"
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
	history   history
	sendings  sendings

	// With --count:
	full         time.Time         // when the last heartbeat that is to be sent had been sent
	fullReceived uint64            // heartbeats received then
	final        *engine.PeerStats // the figures at the end of the watch, nil before

	buf [pingWindow]engine.Sample
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
	s := w.peer.Stats()
	w.sendings.take(&s)
	n, total := w.peer.Samples(w.buf[:])
	fresh := min(uint64(n), total-w.total)
	w.total = total
	trip := s.LeastRoundTrip
	for _, beat := range w.buf[uint64(n)-fresh : n] {
		if beat.RoundTrip > 0 {
			record(w.roundTrip, beat.RoundTrip)
		}
		if out, ok := split.Outward(&beat, trip); ok {
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

// newQuantiles returns the quantiles of n values. The quantile q needs 1/(1-q) values, so that at least one
// lies beyond it.
func newQuantiles(n, p50, p99, most int64) (q quantiles) {
	if n >= 2 {
		q.P50 = &p50
	}
	if n >= 100 {
		q.P99 = &p99
	}
	if n >= 1 {
		q.Max = &most
	}
	return q
}

// quantilesOf returns the quantiles of a distribution.
func quantilesOf(h *hdrhistogram.Histogram) quantiles {
	return newQuantiles(h.TotalCount(), h.ValueAtQuantile(50), h.ValueAtQuantile(99), h.Max())
}

// quantilesOfPart returns the quantiles of a part of the delay, none if it was not measured.
func quantilesOfPart(h *histogram.Histogram) quantiles {
	return newQuantiles(int64(h.Count()), int64(h.Quantile(0.5)), int64(h.Quantile(0.99)), int64(h.Quantile(1)))
}
