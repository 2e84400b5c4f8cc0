package detect

import (
	"time"

	"systole/engine/clock"
)

const ms = time.Millisecond

// beats feeds n heartbeats of a perfect sender to d, beginning with sequence first, and returns the
// last one.
func beats(d Detector, state []uint64, first, n uint64, period, path time.Duration) Heartbeat {
	var h Heartbeat
	for s := first; s < first+n; s++ {
		send := clock.Instant(time.Hour).Add(time.Duration(s) * period)
		h = Heartbeat{Sequence: s, Send: send, Arrival: send.Add(path), Period: period}
		Take(d, state, &h)
	}
	return h
}

// Observe is for tests of this package with published detectors, which import it.
var Observe = observe
