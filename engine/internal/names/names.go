package names

import (
	"math"
	"net/netip"
	"time"
)

// Key is a peer: a slot, and which of the peers that have had it.
type Key struct{ Slot, Generation uint32 }

// State is the state of a peer, as far as its address is concerned.
type State uint8

const (
	Connecting State = iota // was never heard
	Well                    // is heard
	Silent                  // is suspected of having failed
	Gone                    // failed, left, or is refused
)

// Instant is nanoseconds since an origin that the caller chooses.
type Instant int64

// Never is later than everything.
const Never Instant = math.MaxInt64

// after returns the instant d later.
func (i Instant) after(d time.Duration) Instant { return i + Instant(d) }

// Move is an address at which a peer is to be watched.
type Move struct {
	Key  Key
	Addr netip.AddrPort
	// Try is whether the peer's present address is listed as well and is left only because
	// the peer is not Well there. Who finds the peer Well when the Move arrives ignores it.
	Try bool
}
