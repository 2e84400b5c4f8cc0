// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"systole/engine/clock"
	"systole/engine/recording"
	"systole/wire"
)

// record gives an accepted heartbeat to Config.Recorder, if there is one.
func (s *shard) record(h *wire.Header, arrival clock.Instant, roundTrip uint32) {
	if r := s.engine.cfg.Recorder; r != nil {
		s.recordIn(r, h, arrival, roundTrip)
	}
}

// recordIn is apart so that record is inlined.
func (s *shard) recordIn(r *recording.Recorder, h *wire.Header, arrival clock.Instant, roundTrip uint32) {
	b := &s.recorded
	*b = recording.Heartbeat{
		Peer: h.Sender, Incarnation: h.Incarnation, Sequence: h.Sequence,
		Send: clock.Instant(h.SendInstant), Arrival: arrival, Read: s.now,
		Late: h.Lateness, Period: h.Period, RoundTrip: roundTrip, Source: recording.User,
	}
	if s.stamped {
		b.Source = recording.Kernel
	}
	r.Record(b)
}
