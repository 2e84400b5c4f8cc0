package sim

import (
	"time"

	"systole/engine/clock"
)

// hostClock is the two clocks of a host. CLOCK_MONOTONIC has a rate error and never steps.
// CLOCK_REALTIME is an offset from CLOCK_MONOTONIC; a step changes the offset.
type hostClock struct {
	since clock.Instant // world time at which rate was set
	shown clock.Instant // monotonic reading at since
	rate  int64         // gain in ns per s: 1000 is 1 ppm
	wall  int64         // CLOCK_REALTIME - CLOCK_MONOTONIC
}

// at returns the monotonic reading at world time t.
func (c *hostClock) at(t clock.Instant) clock.Instant {
	d := int64(t - c.since)
	return c.shown + clock.Instant(d+d/1e6*c.rate/1e3+d%1e6*c.rate/1e9)
}

// when returns the first world time at which the monotonic clock reads at least i.
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

// set changes the rate from world time t on.
func (c *hostClock) set(t clock.Instant, rate int64) {
	c.shown, c.since, c.rate = c.at(t), t, rate
}

// Now returns the readings of the host's clocks.
func (h *Host) Now() clock.Reading {
	at := h.clock.at(h.world.now)
	return clock.Reading{Now: at, Wall: int64(at) + h.clock.wall}
}

// Shows returns the reading of the host's monotonic clock at world time t.
func (h *Host) Shows(t clock.Instant) clock.Instant { return h.clock.at(t) }

// When is the inverse of Shows: the first world time at which the host's monotonic clock reads i.
func (h *Host) When(i clock.Instant) clock.Instant { return h.clock.when(i) }

// SetDrift makes the host's clocks gain ppm microseconds per second, or lose them.
func (h *Host) SetDrift(ppm float64) {
	h.clock.set(h.world.now, int64(ppm*1e3))
	h.plan()
}

// SetUptime sets the host's monotonic clock and leaves the wall clock as is. Call it before the first
// process starts: a monotonic clock never steps while a process runs.
func (h *Host) SetUptime(d time.Duration) {
	h.clock.wall += int64(h.clock.at(h.world.now)) - int64(d)
	h.clock.since, h.clock.shown = h.world.now, clock.Instant(d)
}

// StepWall steps the host's wall clock by d.
func (h *Host) StepWall(d time.Duration) { h.clock.wall += int64(d) }
