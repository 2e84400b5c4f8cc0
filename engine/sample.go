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
	Source    clock.Source  // where Arrival was taken
	Send      clock.Instant // sender's clock
	Late      time.Duration // from the sender's schedule to its sending
	Network   time.Duration // path delay above the least recent one
	RoundTrip time.Duration // of the heartbeat that it echoes; 0: not measured
	Read      time.Duration // from Arrival to our reading, to 4 ns
}

// encodeSample encodes a heartbeat as a record of the peer's window.
func encodeSample(rec *[sampleWords]uint64, seq uint64, arrival, send clock.Instant, late, roundTrip, read uint32, source clock.Source) {
	rec[0] = uint64(arrival)
	rec[1] = uint64(send)
	rec[2] = seq<<32 | uint64(late)
	rec[3] = uint64(roundTrip)<<32 | uint64(read&^sourceMask) | uint64(source)
}

// sourceMask is the bits of a record's last word that hold the source.
const sourceMask = 3

var _ [sourceMask + 1 - clock.Sources]struct{} // all sources fit

// decodeSample is the inverse of encodeSample.
func decodeSample(rec []uint64) Sample {
	return Sample{
		Arrival:   clock.Instant(rec[0]),
		Send:      clock.Instant(rec[1]),
		Sequence:  uint32(rec[2] >> 32),
		Late:      time.Duration(uint32(rec[2])),
		RoundTrip: time.Duration(rec[3] >> 32),
		Read:      time.Duration(uint32(rec[3]) &^ sourceMask),
		Source:    clock.Source(rec[3] & sourceMask),
	}
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
		Late: h.Lateness, Period: h.Period, RoundTrip: roundTrip, Source: s.source,
	}
	r.Record(b)
}
