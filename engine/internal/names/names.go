package names

import (
	"fmt"
	"math"
	"net/netip"
	"time"
)

// Instant is nanoseconds since an origin that the caller chooses.
type Instant int64

// Never is later than everything.
const Never Instant = math.MaxInt64

// after returns the instant d later.
func (i Instant) after(d time.Duration) Instant { return i + Instant(d) }

// Key is a peer: a slot, and which of the peers that have had it.
type Key struct{ Slot, Generation uint32 }

// State is how a peer fares, as far as its address is concerned.
type State uint8

const (
	Connecting State = iota // was never heard
	Well                    // is heard
	Silent                  // is suspected of having failed
	Gone                    // failed, left, or is refused
)

// String returns the state's name.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

var stateNames = [...]string{"connecting", "well", "silent", "gone"}

// Move is an address at which a peer is to be watched.
type Move struct {
	Key  Key
	Addr netip.AddrPort
	// Try is whether the peer's present address is listed as well and is left only because
	// the peer is not Well there. Who finds the peer Well when the Move arrives ignores it.
	Try bool
}

// Limits bound and pace lookups. A zero field means its default.
type Limits struct {
	Concurrent int           // lookups at once: 32
	Lingering  int           // stuck lookups that are not counted among those: 256
	Timeout    time.Duration // of a lookup: 2 s
	Every      time.Duration // between lookups of a host: 5 s, and the longest back-off
}

// orDefaults returns l with its zero fields set.
func (l Limits) orDefaults() Limits {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&l.Concurrent, 32)
	def(&l.Lingering, 256)
	if l.Timeout <= 0 {
		l.Timeout = 2 * time.Second
	}
	if l.Every <= 0 {
		l.Every = 5 * time.Second
	}
	return l
}

const (
	// attemptDelay is RFC 8305's Connection Attempt Delay; it doubles to maxAttemptDelay
	// while a peer that was heard is not.
	attemptDelay    = 250 * time.Millisecond
	maxAttemptDelay = 2 * time.Second
	// retellDelay is after what time a move that was not taken is told again.
	retellDelay = 50 * time.Millisecond
	// firstBackoff is after what time a host that did not resolve is looked up again.
	firstBackoff = 250 * time.Millisecond
	// hastenEvery is how often a host may be looked up at once.
	hastenEvery = time.Second
	// stuckGrace is how long after its context a lookup may return and not be stuck.
	stuckGrace = 100 * time.Millisecond
	// lingerPerHost is how many lookups of one host may linger.
	lingerPerHost = 4
)

// NoAddressError is an answer without an error and without an address.
type NoAddressError struct{ Host string }

func (e *NoAddressError) Error() string {
	return fmt.Sprintf("look up %q: the answer has no address", e.Host)
}

// UnusableError is a host none of whose addresses a peer can be watched at.
type UnusableError struct {
	Host  string
	Addrs []netip.Addr
}

func (e *UnusableError) Error() string {
	return fmt.Sprintf("look up %q: no peer can be watched at any of %v; is an address of that family configured, and is it not this node's own?", e.Host, e.Addrs)
}

// StuckError is a lookup that did not return although its context had ended.
type StuckError struct {
	Host  string
	After time.Duration
}

func (e *StuckError) Error() string {
	return fmt.Sprintf("look up %q: the resolver ignores its context, which ended after %v; let it return then", e.Host, e.After)
}

// Timeout reports true, as for a net.Error.
func (e *StuckError) Timeout() bool { return true }
