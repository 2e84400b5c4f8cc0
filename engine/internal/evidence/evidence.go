// Package evidence has the rules by which a peer is judged off its owner loop, by what the loop
// publishes: which suspicion counts, and when to judge again. Package engine ends the contexts of
// requests by them, and package level moves peers between levels.
package evidence

import (
	"time"

	"systole/engine/clock"
)

// Counts returns the part of a suspicion that is evidence. In the time of grace, which lasts until the
// loop has read its sockets past the instant grace, that is the suspicion of the state that the loop has
// decided on.
func Counts(suspicion, ofState float64, readTo, grace clock.Instant) float64 {
	if readTo >= grace {
		return suspicion
	}
	return ofState
}

const (
	// Every is the longest time between two checks of a peer: a heartbeat, or what the detector
	// learned, may have brought its deadline forward.
	Every = time.Second
	// A loop that was asked to read is given MinPoll, or a pollShare-th of what it is late, before the
	// next check, at most maxPoll.
	MinPoll   = 250 * time.Microsecond
	maxPoll   = 10 * time.Millisecond
	pollShare = 8
)

// Check is one judgment of a peer.
type Check struct {
	Now   clock.Instant
	Due   clock.Instant // when silence alone brings the next change, by what is published
	Grace clock.Instant // before it suspicion does not rise; 0: there is none
	Grid  time.Duration // Engine.Grid
	Soon  bool          // the peer's next heartbeat may bring a change
}

// Next returns when to check the peer again. poll says that the change is due by now, but not by what the
// loop has read: ask the loop to read on.
func (c *Check) Next() (at clock.Instant, poll bool) {
	at, grid := c.Due, clock.Instant(c.Grid)
	switch {
	case at <= c.Now:
		poll = true
		late := c.Now.Sub(at) / pollShare
		at = max(c.Grace, c.Now.Add(min(max(late, MinPoll), maxPoll)))
	case at > c.Now+2*grid:
		// On the grid, so that peers that live wake nobody singly.
		at = (min(at, c.Now.Add(Every)) - grid) / grid * grid
	}
	if c.Soon {
		at = min(at, c.Now+grid)
	}
	return at, poll
}
