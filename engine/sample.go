// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"time"

	"systole/engine/clock"
	"systole/engine/recording"
	"systole/wire"
)

// Sample is one accepted heartbeat of a peer.
type Sample struct {
	Sequence  uint32        // low 32 bits
	Arrival   clock.Instant // our clock: the best stamp there is
	Send      clock.Instant // sender's clock
	RoundTrip time.Duration // of the heartbeat that it echoes; 0: not measured
	// Delays is as of its arrival. SendWait is known once a later heartbeat has told it, and that one must
	// be among those that are copied.
	Delays
}

// followUp is what a heartbeat tells of an earlier one.
type followUp struct {
	ago  uint32 // how many sequences earlier, below 2^24; 0: it tells nothing
	wait uint32 // SendWait, ns; at least 1
}

// A record of the peer's window has these words:
//
//	0  Arrival
//	1  Send
//	2  Sequence<<32 | Late
//	3  RoundTrip<<32 | Network, without regard to SendWait
//	4  Host<<32 | Read
//	5  followUp.wait<<32 | followUp.ago<<8 | Source
const sampleWords = 6

// encodeSample encodes a heartbeat and its follow-up as a record of the peer's window. All durations are
// saturated.
func encodeSample(rec *[sampleWords]uint64, h *Sample, told followUp) {
	rec[0] = uint64(h.Arrival)
	rec[1] = uint64(h.Send)
	rec[2] = uint64(h.Sequence)<<32 | uint64(h.Late)
	rec[3] = uint64(h.RoundTrip)<<32 | uint64(h.Network)
	rec[4] = uint64(h.Host)<<32 | uint64(h.Read)
	rec[5] = uint64(told.wait)<<32 | uint64(told.ago)<<8 | uint64(h.Source)
}

// decodeSample is the inverse of encodeSample, without the follow-up.
func decodeSample(rec []uint64) Sample {
	return Sample{
		Arrival: clock.Instant(rec[0]), Send: clock.Instant(rec[1]), Sequence: uint32(rec[2] >> 32),
		RoundTrip: time.Duration(rec[3] >> 32),
		Delays: Delays{
			Source: clock.Source(rec[5] & 0xff), Late: time.Duration(uint32(rec[2])), Network: time.Duration(uint32(rec[3])),
			Host: time.Duration(rec[4] >> 32), Read: time.Duration(uint32(rec[4])),
		},
	}
}

// decodeSamples decodes records, oldest first, and tells earlier ones what later ones tell of them.
func decodeSamples(dst []Sample, words []uint64) {
	for i := range dst {
		rec := words[i*sampleWords:]
		dst[i] = decodeSample(rec)
		told := followUp{ago: uint32(rec[5]) >> 8, wait: uint32(rec[5] >> 32)}
		for k := i - 1; k >= max(i-recentReach, 0) && told.ago > 0; k-- {
			if earlier := &dst[k]; earlier.Sequence == dst[i].Sequence-told.ago && earlier.SendWait == 0 {
				earlier.waited(time.Duration(told.wait))
				break
			}
		}
	}
	leaveInOrder(dst)
}

// leaveInOrder infers waits in the sender's host. Of several heartbeats that leave together only the first
// is told of. But they leave in order: one that was sent while another waited left after that one.
func leaveInOrder(samples []Sample) {
	var left clock.Instant // the last one whose wait is known, by the sender's clock
	for i := range samples {
		h := &samples[i]
		if i > 0 && int32(h.Sequence-samples[i-1].Sequence) < 0 {
			left = 0 // another process, perhaps with another clock
		}
		if h.SendWait == 0 && h.Send < left {
			h.waited(min(left.Sub(h.Send), h.Network))
		}
		if h.SendWait > 0 {
			left = max(left, h.Send.Add(h.SendWait))
		}
	}
}

// waited sets the wait in the sender's host, which was part of Network until then.
func (d *Delays) waited(wait time.Duration) {
	d.SendWait, d.Network = wait, max(d.Network-wait, 0)
}

// sampled pushes a heartbeat of p and its follow-up into p's window, and returns its delays.
func (s *shard) sampled(p *peer, slot uint32, h *wire.Header, arrival clock.Instant, roundTrip uint32, told followUp) Delays {
	sample := Sample{
		Sequence: uint32(h.Sequence), Arrival: arrival, Send: clock.Instant(h.SendInstant), RoundTrip: time.Duration(roundTrip),
		Delays: s.delays,
	}
	sample.Late, sample.Network = time.Duration(h.Lateness), time.Duration(p.path.network)
	c, i := s.table.at(slot)
	var rec [sampleWords]uint64
	encodeSample(&rec, &sample, told)
	s.table.samples.Push(s.table.sampleWindow(c, i), rec[:])
	return sample.Delays
}

// newest returns the newest heartbeat of the peer in slot. Only the owner calls it.
func (t *table) newest(slot uint32) Sample {
	c, i := t.at(slot)
	var rec [sampleWords]uint64
	t.samples.Last(t.sampleWindow(c, i), rec[:])
	return decodeSample(rec[:])
}

// saturate32 converts d to 32 bits: it returns at most 4.29 s, and 0 for a negative d.
func saturate32(d time.Duration) uint32 {
	return uint32(min(max(d, 0), 1<<32-1))
}

// record passes an accepted heartbeat to Config.Recorder, if there is one.
func (s *shard) record(h *wire.Header, arrival clock.Instant, roundTrip uint32) {
	if r := s.engine.cfg.Recorder; r != nil {
		s.recordIn(r, h, arrival, roundTrip)
	}
}

// recordIn is a function of its own so that record is inlined.
func (s *shard) recordIn(r *recording.Recorder, h *wire.Header, arrival clock.Instant, roundTrip uint32) {
	b := &s.recorded
	*b = recording.Heartbeat{
		Peer: h.Sender, Incarnation: h.Incarnation, Sequence: h.Sequence,
		Send: clock.Instant(h.SendInstant), Arrival: arrival, Read: s.now,
		Late: h.Lateness, Period: h.Period, RoundTrip: roundTrip, Source: s.delays.Source,
	}
	r.Record(b)
}
