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
	if from == 0 {
		q.readAll(&c)
	}
	for tries := 0; from > 0 && tries < markTries && !q.readSince(&c, from); tries++ {
		c = buckets.Counts{}
	}
	counted := histogram.Histogram(c)
	h.Add(&counted)
}

// readAll reads all durations into c, which is empty.
func (q *distribution) readAll(c *buckets.Counts) {
	for i := range q.n {
		c.Put(i, q.n[i].Load())
	}
	c.PutTotal(q.sum.Load(), q.most.Load())
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

// losses counts heartbeats in one direction, and those of them that were lost.
type losses struct {
	spans
	lost, of ringbuf.Word
	marks    [spansKept]lossMark
}

// lossMark is what losses had at the beginning of a span.
type lossMark struct{ lost, of ringbuf.Word }

// count adds heartbeats, and those that were lost of them or of earlier ones. lost is below 0 if heartbeats came
// after all.
func (q *losses) count(lost int64, of, span uint64) {
	if q.current != span {
		m := &q.marks[q.begin(span)]
		m.lost.Set(q.lost.Get())
		m.of.Set(q.of.Get())
		q.end(span)
	}
	q.lost.Add(uint64(lost))
	q.of.Add(of)
}

// clear resets the counts, for another peer.
func (q *losses) clear() {
	q.spans.clear()
	q.lost.Set(0)
	q.of.Set(0)
}

// addTo adds the counts since the beginning of the span from to l; all if from is 0. Any goroutine may call it.
func (q *losses) addTo(l *Loss, from uint64) {
	if from == 0 {
		l.add(q.lost.Load(), q.of.Load())
		return
	}
	for range markTries {
		place, span, ok := q.since(from)
		if !ok {
			return
		}
		lost, of := q.marks[place].lost.Load(), q.marks[place].of.Load()
		if q.is(place, span) {
			l.add(q.lost.Load()-lost, q.of.Load()-of)
			return
		}
	}
}

// The distributions of figures.
const (
	ofRoundTrip = iota
	ofLate
	ofNetwork
	ofHost
	ofRead
	ofSendWait
	distributions
)

// figures is the figures of one peer, or of all peers of a shard but strangers, whose account of themselves
// proves nothing.
type figures struct {
	of      [distributions]distribution
	in, out losses
}

// clear resets the figures for another peer.
func (f *figures) clear() {
	for i := range f.of {
		f.of[i].clear()
	}
	f.in.clear()
	f.out.clear()
}

// addTo adds the figures since the beginning of the span from to h; all if from is 0. Any goroutine may call it.
func (f *figures) addTo(h *Histograms, from uint64) {
	for i, to := range [distributions]*histogram.Histogram{
		ofRoundTrip: &h.RoundTrip, ofLate: &h.Late, ofNetwork: &h.Network, ofHost: &h.Host, ofRead: &h.Read, ofSendWait: &h.SendWait,
	} {
		f.of[i].addTo(to, from)
	}
	f.in.addTo(&h.LossIn, from)
	f.out.addTo(&h.LossOut, from)
}

// tallies is what the present turn has counted in the figures of its shard. They are published at the end of the
// turn: to publish costs more than to count.
type tallies struct {
	of      [distributions]tally
	in, out struct {
		lost int64
		of   uint64
	}
}

// tally is the durations of one distribution. Places outside low to high are empty.
type tally struct {
	sum, most uint64 // ns
	low, high int
	n         [buckets.Len]uint32
}

// record counts a duration, which is not below 0.
func (t *tally) record(d time.Duration) {
	place := buckets.Of(d)
	t.n[place]++
	t.sum += uint64(d)
	t.most = max(t.most, uint64(d))
	t.low, t.high = min(t.low, place), max(t.high, place)
}

// publish moves a tally into q.
func (q *distribution) publish(t *tally, span uint64) {
	if t.low > t.high {
		return
	}
	if q.current != span {
		q.mark(span)
	}
	for place := t.low; place <= t.high; place++ {
		if n := t.n[place]; n > 0 {
			q.n[place].Add(uint64(n))
			t.n[place] = 0
		}
	}
	q.sum.Add(t.sum)
	if t.most > q.most.Get() {
		q.most.Set(t.most)
	}
	t.sum, t.most, t.low, t.high = 0, 0, buckets.Len, -1
}

// showFigures publishes what the turn has counted.
func (s *shard) showFigures() {
	t := &s.tallies
	for i := range t.of {
		s.figures.of[i].publish(&t.of[i], s.span)
	}
	if t.in.of > 0 || t.in.lost != 0 {
		s.figures.in.count(t.in.lost, t.in.of, s.span)
		t.in.lost, t.in.of = 0, 0
	}
	if t.out.of > 0 || t.out.lost != 0 {
		s.figures.out.count(t.out.lost, t.out.of, s.span)
		t.out.lost, t.out.of = 0, 0
	}
}

// figured counts an accepted heartbeat of p in the figures: its delays, its round trip, and the wait that it tells
// of an earlier one. A part that was not measured is not counted.
func (s *shard) figured(p *peer, slot uint32, d *Delays, roundTrip uint32, told followUp) {
	if f := s.table.figures(slot); f != nil {
		f.heartbeat(d, roundTrip, told, s.cut, s.span)
	}
	if p.pace.admitted {
		return
	}
	of := &s.tallies.of
	of[ofLate].record(d.Late)
	if !s.cut {
		of[ofNetwork].record(d.Network)
	}
	if roundTrip > 0 {
		of[ofRoundTrip].record(time.Duration(roundTrip))
	}
	if d.Read > 0 {
		of[ofRead].record(d.Read)
	}
	if d.Host > 0 {
		of[ofHost].record(d.Host)
	}
	if told.wait > 0 {
		of[ofSendWait].record(time.Duration(told.wait))
	}
}

// heartbeat counts a heartbeat in the figures of its peer. cut: the delay in the network is not known.
func (f *figures) heartbeat(d *Delays, roundTrip uint32, told followUp, cut bool, span uint64) {
	for i, d := range [distributions]time.Duration{
		ofRoundTrip: time.Duration(roundTrip), ofLate: d.Late, ofNetwork: d.Network,
		ofHost: d.Host, ofRead: d.Read, ofSendWait: time.Duration(told.wait),
	} {
		if d > 0 || i == ofLate || i == ofNetwork && !cut { // with cut, Network is 0
			f.of[i].record(d, span)
		}
	}
}

// lostIn counts heartbeats of p, and those that never arrived.
func (s *shard) lostIn(p *peer, slot uint32, lost int64, of uint64) {
	if !p.pace.admitted {
		s.tallies.in.lost += lost
		s.tallies.in.of += of
	}
	if f := s.table.figures(slot); f != nil {
		f.in.count(lost, of, s.span)
	}
}

// lostOut counts heartbeats to p by its echo. advance is how many more the peer tells about, lost how many more of
// them it lacks. Nobody lacks more than were written.
func (s *shard) lostOut(p *peer, slot uint32, lost int64, advance uint64) {
	if lost < -manyLost {
		lost = 0
	}
	lost = min(lost, int64(advance))
	if !p.pace.admitted {
		s.tallies.out.lost += lost
		s.tallies.out.of += advance
	}
	if f := s.table.figures(slot); f != nil {
		f.out.count(lost, advance, s.span)
	}
}

// figures returns the figures of the peer in slot, nil without Config.PeerHistograms.
func (t *table) figures(slot uint32) *figures {
	c, i := t.at(slot)
	if c.figures == nil {
		return nil
	}
	return &c.figures[i]
}
