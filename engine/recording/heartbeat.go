package recording

import (
	"math"

	"systole/engine/clock"
)

// Heartbeat is one heartbeat that arrived: 64 bytes, without a pointer.
type Heartbeat struct {
	Peer        uint64 // the sender's id
	Incarnation uint64
	Sequence    uint64
	Send        clock.Instant // on the sender's clock
	Arrival     clock.Instant // on our clock: the best stamp there is
	Read        clock.Instant // on our clock: when the loop had it, kept to 256 ns; not before Arrival
	Late        uint32        // how late after its schedule it was sent, ns
	Period      uint32        // that the sender announced, µs
	RoundTrip   uint32        // of the heartbeat that it echoes, ns, kept to 256 ns; 0: not measured
	Source      clock.Source  // of Arrival
}

// farthest is how far from 0 an instant may lie, ns: 73 years, so that a sender whose
// clock counts from 1970 is within it until 2043. Differences of instants then fit.
const farthest = math.MaxInt64 / 8

// plausible reports whether h can be kept.
func (h *Heartbeat) plausible() bool {
	for _, i := range [...]clock.Instant{h.Send, h.Arrival, h.Read} {
		if i > farthest || i < -farthest {
			return false
		}
	}
	return h.Read >= h.Arrival && h.Source < clock.Sources
}
