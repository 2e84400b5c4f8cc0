package sim

import (
	"time"

	"systole/engine/clock"
)

// hostClock is a host's clocks. CLOCK_MONOTONIC runs at a rate of its own and never steps;
// CLOCK_REALTIME is that far from it, and steps.
type hostClock struct {
	since clock.Instant // of the world, when the rate was last set
	shown clock.Instant // what the clock showed then
	rate  int64         // how much it gains, in ns per s: 1000 is 1 ppm
	wall  int64         // CLOCK_REALTIME - CLOCK_MONOTONIC
}

// at returns what the clock shows at the instant t of the world.
func (c *hostClock) at(t clock.Instant) clock.Instant {
	d := int64(t - c.since)
	return c.shown + clock.Instant(d+d/1e6*c.rate/1e3+d%1e6*c.rate/1e9)
}

// when returns the first instant of the world at which the clock shows at least i.
func (c *hostClock) when(i clock.Instant) clock.Instant {
	if i >= clock.Never/2 {
		return clock.Never
	}
	if c.rate == 0 {
		return c.since + i - c.shown
	}
	d := float64(i - c.shown)
	t := c.since + clock.Instant(d/(1+float64(c.rate)/1e9))
	for c.at(t) < i {
		t++
	}
	for c.at(t-1) >= i {
		t--
	}
	return t
}

// set changes the rate from the instant t of the world on.
func (c *hostClock) set(t clock.Instant, rate int64) {
	c.shown, c.since, c.rate = c.at(t), t, rate
}

// Now is what the host's clocks show.
func (h *Host) Now() clock.Reading {
	at := h.clock.at(h.world.now)
	return clock.Reading{Now: at, Wall: int64(at) + h.clock.wall}
}

// Shows returns what the host's monotonic clock shows at the instant t of the world, and
// When is its inverse.
func (h *Host) Shows(t clock.Instant) clock.Instant { return h.clock.at(t) }

// When returns the first instant of the world at which the host's monotonic clock shows i.
func (h *Host) When(i clock.Instant) clock.Instant { return h.clock.when(i) }

// SetDrift makes the host's clocks gain ppm microseconds per second, or lose them.
func (h *Host) SetDrift(ppm float64) {
	h.clock.set(h.world.now, int64(ppm*1e3))
	h.plan()
}

// SetUptime sets what the host's monotonic clock shows. It never steps in the life of a
// process, so call it before the first; the wall clock stays.
func (h *Host) SetUptime(d time.Duration) {
	h.clock.wall += int64(h.clock.at(h.world.now)) - int64(d)
	h.clock.since, h.clock.shown = h.world.now, clock.Instant(d)
}

// StepWall steps the host's wall clock by d.
func (h *Host) StepWall(d time.Duration) { h.clock.wall += int64(d) }
