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
	Source      Source
}

// Source says whose clock read an arrival's stamp.
type Source uint8

// The sources, from the weakest on.
const (
	// User: there was no stamp, and Arrival is when the loop read the heartbeat.
	User Source = iota
	// Kernel: the kernel stamped it, on the way in.
	Kernel
	// NIC: the network card did, or a program at it.
	NIC

	sources
)

// String returns "user", "kernel" or "nic".
func (s Source) String() string {
	return [...]string{User: "user", Kernel: "kernel", NIC: "nic"}[min(s, NIC)]
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
	return h.Read >= h.Arrival && h.Source < sources
}
