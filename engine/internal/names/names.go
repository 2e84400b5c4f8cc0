package names

import (
	"math"
	"time"
)

// Key is a peer: a slot, and which of the peers that have had it.
type Key struct{ Slot, Generation uint32 }

// State is the state of a peer, as far as its address is concerned.
type State uint8

const (
	Connecting State = iota // was never heard
	Alive                   // is heard
	Suspect                 // is suspected of having failed
	Failed                  // failed, left, or is refused
)

// Instant is nanoseconds since an origin that the caller chooses.
type Instant int64

// Never is later than everything.
const Never Instant = math.MaxInt64

// after returns the instant d later.
func (i Instant) after(d time.Duration) Instant { return i + Instant(d) }
