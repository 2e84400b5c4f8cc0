// Package kernelclock converts the kernel's stamps to instants, and asks the kernel how long the
// machine was suspended.
//
// Kernel receive stamps are CLOCK_REALTIME, which steps. A [clock.Reading] holds both clocks as read
// together, so such a stamp can be converted at once by the offset that held around the moment of the
// read.
package kernelclock

import (
	"time"

	"systole/engine/clock"
)

// offset is what must be added to a CLOCK_REALTIME stamp to get an Instant.
func offset(r clock.Reading) int64 { return int64(r.Now) - r.Wall }

// Convert turns a kernel stamp, in nanoseconds, into a Stamp. The kernel stamps in CLOCK_REALTIME; a BPF
// program that writes skb->tstamp stamps in CLOCK_MONOTONIC. The stamp belongs to a datagram read at r
// and not yet queued at earliest (the end of the last complete drain of that socket), so the true
// instant lies between the two; prev is the reading of the previous turn, whose offset applies to a
// stamp taken just before the wall clock was stepped. Convert reports false when the stamp is
// implausible in both clocks: then the caller's own read time is the best that is known.
func Convert(r clock.Reading, stamp int64, earliest clock.Instant, prev clock.Reading) (clock.Stamp, bool) {
	for i, by := range [3]int64{offset(r), offset(prev), 0} {
		at := clock.Instant(stamp + by)
		if at >= earliest-slack && at <= r.Now+slack {
			return clock.Stamp{At: min(at, r.Now), Source: [...]clock.Source{clock.Kernel, clock.Kernel, clock.BPF}[i]}, true
		}
	}
	return clock.Stamp{}, false
}

// IsAfter reports whether a kernel stamp was taken after r was read.
func IsAfter(r clock.Reading, stamp int64) bool {
	if stamp < firstWall {
		return clock.Instant(stamp) > r.Now
	}
	return clock.Instant(stamp+offset(r)) > r.Now
}

// firstWall tells the clocks of stamps apart: a machine that has run for 36 years, and 2006.
const firstWall = 1 << 60

// slack forgives what separates the two clocks' reads: the wall clock is slewed
// by at most 500 ppm (adjtimex(2)), and a stamp can be taken between the clock
// read and the system call that returned it.
const slack = clock.Instant(2 * time.Millisecond)
