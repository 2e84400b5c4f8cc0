package qos

import (
	"math"
	"math/rand/v2"
	"time"

	"systole/engine/enginetest/netmodel"
	"systole/engine/recording"
)

// Beat is a heartbeat that arrived.
type Beat struct {
	recording.Beat
	At int64 // when it was sent, by the receiver's clock, ns; only a model can know it
}

// Stamps chooses one of the two arrivals of a heartbeat.
type Stamps uint8

const (
	// NIC chooses the stamp.
	NIC Stamps = iota
	// App chooses the instant of reading.
	App
)

// arrival returns the chosen arrival of b in ns.
func (s Stamps) arrival(b *Beat) int64 {
	if s == App {
		return b.App
	}
	return b.NIC
}

// Source generates the heartbeats of a model, one after another and without end. The same model and
// seed give the same heartbeats. One goroutine at a time uses a Source.
type Source struct {
	m        *Model
	r        *rand.Rand
	losses   netmodel.Losses
	stalls   []process
	spikes   process
	steps    process
	reads    process
	sequence uint64 // of the last heartbeat sent
	due      int64  // when the next heartbeat is due, ns
	free     int64  // when the sender's last stall ends, ns
	route    int64  // added to the delay by the route, ns
	swing    int64  // added to the delay by the load, ns
	load     int64  // sequence at which swing is computed next
	queue    int64  // no heartbeat arrives before this instant, ns
	read     int64  // no heartbeat is read before this instant, ns
}

// Start is the instant of the first heartbeat of a trace, in ns.
const Start = int64(time.Hour)

// NewSource returns a source of a model, which must not change any more.
func NewSource(m *Model, seed uint64) *Source {
	s := &Source{m: m, r: rand.New(rand.NewPCG(seed, 0x5373746f6c65)), due: Start, stalls: make([]process, len(m.Stalls))}
	for i, e := range m.Stalls {
		s.stalls[i].start(e, Start, s.r)
	}
	s.spikes.start(m.Spikes, Start, s.r)
	s.steps.start(m.Steps, Start, s.r)
	s.reads.start(m.Reads, Start, s.r)
	return s
}

// Next generates the next heartbeat that arrives. The link may have lost others before it.
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
		when, length, ok := s.reads.take(b.App, s.r)
		if !ok {
			break
		}
		s.read = max(s.read, when+length)
		b.App = max(b.App, s.read)
	}
}

// send generates the next heartbeat as it leaves the sender.
func (s *Source) send(b *Beat) {
	for i := range s.stalls {
		// A stall that begins in another stall may last longer.
		for {
			when, length, ok := s.stalls[i].take(max(s.due, s.free), s.r)
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

// loadSteps is for how many heartbeats the load of the path stays the same: a cosine for each would take
// most of the time.
const loadSteps = 64

// carry delays a heartbeat on the path.
func (s *Source) carry(b *Beat) {
	for {
		when, length, ok := s.spikes.take(b.At, s.r)
		if !ok {
			break
		}
		s.queue = max(s.queue, when+int64(s.m.Link.Delay.Base)+length)
	}
	for {
		_, length, ok := s.steps.take(b.At, s.r)
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

// process generates the instants and lengths of Events.
type process struct {
	Events
	next int64 // instant of the next event, ns
}

// start draws the instant of the first event after from.
func (p *process) start(e Events, from int64, r *rand.Rand) {
	p.Events, p.next = e, never
	if e.Every > 0 {
		p.next = from + int64(float64(e.Every)*r.ExpFloat64())
	}
}

// take returns the next event, its instant and length, if it is not after at.
func (p *process) take(at int64, r *rand.Rand) (when, length int64, ok bool) {
	if p.next > at {
		return 0, 0, false
	}
	when = p.next
	p.next += int64(float64(p.Every)*r.ExpFloat64()) + 1
	return when, int64(p.Length.Draw(r)), true
}
