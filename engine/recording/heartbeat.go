package recording

import (
	"math"

	"systole/engine/clock"
)

// Heartbeat is a received heartbeat: 64 bytes, without a pointer.
type Heartbeat struct {
	Peer        uint64 // the sender's id
	Incarnation uint64
	Sequence    uint64
	Send        clock.Instant // on the sender's clock
	Arrival     clock.Instant // on our clock: the best stamp there is
	Read        clock.Instant // on our clock, not before Arrival; the file has units of 256 ns
	Late        uint32        // from its due time to Send, ns
	Period      uint32        // as announced by the sender, µs
	RoundTrip   uint32        // of the echoed heartbeat, ns, in units of 256 ns; 0: not measured
	Source      clock.Source  // of Arrival
}

// farthest bounds the distance of instants from 0, in ns: 36 years. Then differences of instants,
// and differences of those, do not overflow.
const farthest = math.MaxInt64 / 8

// plausible reports whether h can be encoded.
func (h *Heartbeat) plausible() bool {
	for _, i := range [...]clock.Instant{h.Send, h.Arrival, h.Read} {
		if i > farthest || i < -farthest {
			return false
		}
	}
	return h.Read >= h.Arrival && h.Source <= clock.BPF
}
