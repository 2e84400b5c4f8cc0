package qos

import (
	"math"
	"math/rand/v2"
	"time"

	"systole/engine/enginetest/netmodel"
	"systole/engine/replay"
)

// Beat is a heartbeat that arrived. At is when it was sent by the receiver's clock, which
// in a trace made up can be known.
type Beat struct {
	replay.Beat
	At int64 // ns
}

// Source makes the heartbeats of a model, one after another and without end. The same
// model and seed make the same heartbeats. One goroutine at a time uses a Source.
type Source struct {
	m        *Model
	r        *rand.Rand
	losses   netmodel.Losses
	stalls   []happenings
	spikes   happenings
	steps    happenings
	reads    happenings
	sequence uint64
	due      int64 // of the next heartbeat
	free     int64 // the sender stalls until then
	route    int64 // what the route adds to the delay
	swing    int64 // and the load
	load     int64 // sequence at which the load is worked out anew
	queue    int64 // nothing arrives before then
	read     int64 // nothing is read before then
}

// Start is the instant of the first heartbeat of a trace, in ns.
const Start = int64(time.Hour)

// NewSource returns the source of a model. The model must stay as it is.
func NewSource(m *Model, seed uint64) *Source {
	s := &Source{m: m, r: rand.New(rand.NewPCG(seed, 0x5373746f6c65)), due: Start, stalls: make([]happenings, len(m.Stalls))}
	for i, e := range m.Stalls {
		s.stalls[i].start(e, Start, s.r)
	}
	s.spikes.start(m.Spikes, Start, s.r)
	s.steps.start(m.Steps, Start, s.r)
	s.reads.start(m.Reads, Start, s.r)
	return s
}

// Next makes the next heartbeat that arrives, whatever is lost before it.
func (s *Source) Next(b *Beat) {
	for {
		s.send(b)
		if !s.losses.Next(&s.m.Link, s.r) {
			break
		}
	}
	s.carry(b)
	b.App = max(b.NIC, s.read)
	for {
		when, length, ok := s.reads.happen(b.App, s.r)
		if !ok {
			break
		}
		s.read = max(s.read, when+length)
		b.App = max(b.App, s.read)
	}
}

// send makes the next heartbeat as it leaves.
func (s *Source) send(b *Beat) {
	for i := range s.stalls {
		// What begins while the sender stalls anyway may make that longer.
		for {
			when, length, ok := s.stalls[i].happen(max(s.due, s.free), s.r)
			if !ok {
				break
			}
			s.free = max(s.free, when+length)
		}
	}
	s.sequence++
	b.Sequence, b.At = s.sequence, max(s.due, s.free)
	b.Late = b.At - s.due
	b.Send = b.At + int64(float64(b.At-Start)*s.m.ClockRate*1e-6)
	period := int64(s.m.Period)
	s.due += period
	if !s.m.Burst && s.due <= b.At {
		s.due += (b.At - s.due + period) / period * period
	}
}

// loadSteps is how many heartbeats the load of the path stays as it is.
const loadSteps = 64

// carry takes a heartbeat through the path.
func (s *Source) carry(b *Beat) {
	for {
		when, length, ok := s.spikes.happen(b.At, s.r)
		if !ok {
			break
		}
		s.queue = max(s.queue, when+int64(s.m.Link.Delay.Base)+length)
	}
	for {
		_, length, ok := s.steps.happen(b.At, s.r)
		if !ok {
			break
		}
		s.route = length
	}
	if s.m.Drift.Every > 0 && int64(b.Sequence) >= s.load {
		s.load = int64(b.Sequence) + loadSteps
		phase := 2 * math.Pi * float64(b.At) / float64(s.m.Drift.Every)
		s.swing = int64(float64(s.m.Drift.Swing) * (1 - math.Cos(phase)) / 2)
	}
	delay := int64(s.m.Link.Delay.Draw(s.r)) + s.route + s.swing
	s.queue = max(s.queue, b.At+delay)
	b.NIC = s.queue
}

// never is later than any instant of a trace.
const never = math.MaxInt64

// happenings are events under way.
type happenings struct {
	Events
	next int64 // ns
}

// start draws the first instant.
func (h *happenings) start(e Events, from int64, r *rand.Rand) {
	h.Events, h.next = e, never
	if e.Every > 0 {
		h.next = from + int64(float64(e.Every)*r.ExpFloat64())
	}
}

// happen takes the next event, if it is not after at: its instant and length.
func (h *happenings) happen(at int64, r *rand.Rand) (when, length int64, ok bool) {
	if h.next > at {
		return 0, 0, false
	}
	when = h.next
	h.next += int64(float64(h.Every)*r.ExpFloat64()) + 1
	return when, int64(h.Length.Draw(r)), true
}
