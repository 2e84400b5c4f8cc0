package engine

import (
	"systole/engine/clock"
	"systole/engine/detect"
)

// Hear has the peer's shard take a heartbeat without a datagram: for external tests with more peers
// than a simulated world has room for.
func (p Peer) Hear(h *detect.Heartbeat) {
	s, r := p.shard(), p.record()
	if r.verdict.state() != Alive {
		s.now = h.Arrival
		s.transition(r, p.slot, Alive, FirstContact, h.Arrival)
	}
	state := s.state(p.slot)
	s.table.detector.Heartbeat(state, h)
	s.showSummary(p.slot, state)
	c, i := s.table.at(p.slot)
	var rec [sampleWords]uint64
	encodeSample(&rec, &Sample{Arrival: h.Arrival}, followUp{})
	s.table.samples.Push(s.table.sampleWindow(c, i), rec[:])
}

// ShowRead has the engine's only shard publish that everything which had arrived by now was read.
func (e *Engine) ShowRead(now clock.Instant) { e.shards[0].shown.readTo.Set(uint64(now)) }
