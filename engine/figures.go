// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"time"

	"systole/engine/clock"
	"systole/engine/histogram"
	"systole/engine/internal/buckets"
	"systole/ringbuf"
)

// Figures count since their beginning, and over the last minute. Time is divided into spans. With the first
// count of a span the owner marks what was counted until then; it keeps the marks of the last three spans. What
// was counted in the last minute is the difference to the oldest mark that is needed: from the beginning of the
// span before the last one, 60 to 90 s ago. If nothing was counted in a span it has no mark: a later one says the
// same. So nothing is reset, no timer is needed, and figures of a silent peer become empty.

const (
	// spanLength is the length of a span.
	spanLength = 30 * time.Second
	// spansKept is the number of spans that have a mark.
	spansKept = 3
)

// spanOf returns the number of the span of an instant, from spansKept on.
func spanOf(at clock.Instant) uint64 { return uint64(max(at, 0))/uint64(spanLength) + spansKept }

// recentFrom returns the span with which the last minute begins.
func recentFrom(now clock.Instant) uint64 { return spanOf(now) - (spansKept - 1) }

// spans is which spans have marks.
type spans struct {
	current uint64                  // the span of the last count
	marked  [spansKept]ringbuf.Word // the span whose beginning a mark is; 0: none, or it is being written
}

// begin begins a span and returns the place of its mark, which the owner then writes before it calls end.
func (m *spans) begin(span uint64) int {
	place := int(span % spansKept)
	m.marked[place].Set(0)
	return place
}

// end publishes the mark of a span.
func (m *spans) end(span uint64) {
	m.marked[span%spansKept].Set(span)
	m.current = span
}

// since returns the place of the oldest mark at or after the beginning of the span from, and its span; false if
// nothing was counted since then. Any goroutine may call it.
func (m *spans) since(from uint64) (place int, span uint64, ok bool) {
	for i := range m.marked {
		if n := m.marked[i].Load(); n >= from && (!ok || n < span) {
			place, span, ok = i, n, true
		}
	}
	return place, span, ok
}

// is reports whether the mark at a place is still that of the span. Any goroutine may call it.
func (m *spans) is(place int, span uint64) bool { return m.marked[place].Load() == span }

// markTries bounds how often a reader looks for a mark. Only a reader that stands still for a span finds that a
// mark was overwritten.
const markTries = 4

// clear removes all marks.
func (m *spans) clear() {
	for i := range m.marked {
		m.marked[i].Set(0)
	}
	m.current = 0
}

// distribution is a histogram that one goroutine counts in, and any goroutine reads.
type distribution struct {
	spans
	sum, most ringbuf.Word // ns
	n         [buckets.Len]ringbuf.Word
	marks     [spansKept]distributionMark
}

// distributionMark is what a distribution had at the beginning of a span.
type distributionMark struct {
	sum ringbuf.Word
	n   [buckets.Len / 2]ringbuf.Word // the low halves of two counts each
}

// record counts a duration in a span, the present one.
func (q *distribution) record(d time.Duration, span uint64) {
	if q.current != span {
		q.mark(span)
	}
	d = max(d, 0)
	q.n[buckets.Of(d)].Add(1)
	q.sum.Add(uint64(d))
	if uint64(d) > q.most.Get() {
		q.most.Set(uint64(d))
	}
}

// mark marks the beginning of a span.
func (q *distribution) mark(span uint64) {
	m := &q.marks[q.begin(span)]
	m.sum.Set(q.sum.Get())
	for i := range m.n {
		m.n[i].Set(q.n[2*i].Get()<<32 | q.n[2*i+1].Get()&(1<<32-1))
	}
	q.end(span)
}

// clear empties the distribution, for another peer.
func (q *distribution) clear() {
	q.spans.clear()
	q.sum.Set(0)
	q.most.Set(0)
	for i := range q.n {
		q.n[i].Set(0)
	}
}

// addTo adds the durations since the beginning of the span from to h; all if from is 0. Any goroutine may call
// it.
func (q *distribution) addTo(h *histogram.Histogram, from uint64) {
	var c buckets.Counts
	switch {
	case from == 0:
		for i := range q.n {
			c.Put(i, q.n[i].Load())
		}
		c.PutTotal(q.sum.Load(), q.most.Load())
	default:
		for range markTries {
			if q.readSince(&c, from) {
				break
			}
			c = buckets.Counts{}
		}
	}
	recent := histogram.Histogram(c)
	h.Add(&recent)
}

// readSince reads the durations since the beginning of a span into c, which is empty. It reports false if the
// mark was overwritten meanwhile.
func (q *distribution) readSince(c *buckets.Counts, from uint64) bool {
	place, span, ok := q.since(from)
	if !ok {
		return true
	}
	m := &q.marks[place]
	sum := m.sum.Load()
	for i := range m.n {
		two := m.n[i].Load()
		c.Put(2*i, uint64(uint32(q.n[2*i].Load())-uint32(two>>32)))
		c.Put(2*i+1, uint64(uint32(q.n[2*i+1].Load())-uint32(two)))
	}
	c.PutTotal(q.sum.Load()-sum, q.most.Load())
	c.Trim()
	return q.is(place, span)
}
