// Package clock defines the instants that the engine judges by.
//
// An [Instant] counts nanoseconds of the kernel's CLOCK_MONOTONIC, the clock
// that BPF's bpf_ktime_get_ns reads, so stamps taken in the kernel and instants
// taken in the process compare without conversion. The monotonic clock never
// steps; it stands still while the machine is suspended.
//
// Kernel receive stamps are CLOCK_REALTIME, which steps. A [Reading] holds both
// clocks as read together, so such a stamp can be converted at once by the offset
// that held around the moment of the read; see [Reading.Convert]. A [Stamp] is an
// instant with its [Source].
package clock

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Instant is a point in time: nanoseconds of CLOCK_MONOTONIC. The zero Instant
// means "never".
type Instant int64

// Never is the Instant that no event ever has: the far future. A deadline at
// Never does not expire.
const Never Instant = 1<<63 - 1

// Add returns the instant d after i. It saturates at Never, and Never plus
// anything is Never.
func (i Instant) Add(d time.Duration) Instant {
	if i == Never || (d > 0 && i > Never-Instant(d)) {
		return Never
	}
	return i + Instant(d)
}

// Sub returns the time from j to i.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }

// Time returns when i is, or was, by the wall clock as it is set now: for logs and people. If the wall clock
// was stepped, or the machine suspended, between i and now, that is not what the wall clock showed at i. The
// result carries a monotonic reading, so At(i.Time()) is i, and times compare as their instants do; by the
// wall clock they are exact to some tens of nanoseconds. The zero Instant gives the zero Time, Never a time some
// three centuries ahead. Instants of a simulated world are not of this clock.
func (i Instant) Time() time.Time {
	if i == 0 {
		return time.Time{}
	}
	now := time.Now()
	return now.Add(i.Sub(At(now)))
}

// String formats i as seconds since the monotonic clock's start.
func (i Instant) String() string {
	switch i {
	case Never:
		return "never"
	case 0:
		return "unset"
	}
	return fmt.Sprintf("%d.%09ds", int64(i)/1e9, int64(i)%1e9)
}

// base anchors time.Since to CLOCK_MONOTONIC. time.Since costs a third of a
// clock_gettime system call and is honest inside a testing/synctest bubble.
var base, baseInstant = anchor()

// anchor pairs a time.Time with the CLOCK_MONOTONIC reading taken at the same
// moment. It brackets the system call by two reads and keeps the tightest of
// several brackets, so the pair is exact to well below a microsecond.
func anchor() (time.Time, Instant) {
	var bestTime time.Time
	var bestInstant Instant
	best := time.Duration(1<<63 - 1)
	for range 16 {
		var ts unix.Timespec
		before := time.Now()
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			// Every Linux kernel has CLOCK_MONOTONIC; a sandbox that forbids the call
			// still gives a consistent clock of our own, started at 1 s.
			return before, Instant(time.Second)
		}
		width := time.Since(before)
		if width < best {
			best = width
			bestTime = before.Add(width / 2)
			bestInstant = Instant(ts.Nano())
		}
	}
	return bestTime, bestInstant
}

// Now returns the present instant. Any goroutine may call it.
func Now() Instant { return baseInstant + Instant(time.Since(base)) }

// At converts a time.Time that carries a monotonic reading, as time.Now returns
// it, to an Instant.
func At(t time.Time) Instant { return baseInstant + Instant(t.Sub(base)) }

// Reading is both clocks read at one moment.
type Reading struct {
	Now  Instant // CLOCK_MONOTONIC, nanoseconds
	Wall int64   // CLOCK_REALTIME, nanoseconds since 1970
}

// Read returns both clocks, read together by one time.Now. Any goroutine may
// call it.
func Read() Reading {
	t := time.Now()
	return Reading{Now: At(t), Wall: t.UnixNano()}
}

// Offset is what must be added to a CLOCK_REALTIME stamp to get an Instant.
func (r Reading) Offset() int64 { return int64(r.Now) - r.Wall }

// Convert turns a kernel stamp, in nanoseconds, into a Stamp. The kernel stamps in CLOCK_REALTIME; a BPF
// program that writes skb->tstamp stamps in CLOCK_MONOTONIC. The stamp belongs to a datagram read at r
// and not yet queued at earliest (the end of the last complete drain of that socket), so the true
// instant lies between the two; prev is the reading of the previous turn, whose offset applies to a
// stamp taken just before the wall clock was stepped. Convert reports false when the stamp is
// implausible in both clocks: then the caller's own read time is the best that is known.
func (r Reading) Convert(stamp int64, earliest Instant, prev Reading) (Stamp, bool) {
	for i, offset := range [3]int64{r.Offset(), prev.Offset(), 0} {
		at := Instant(stamp + offset)
		if at >= earliest-slack && at <= r.Now+slack {
			return Stamp{min(at, r.Now), [...]Source{Kernel, Kernel, BPF}[i]}, true
		}
	}
	return Stamp{}, false
}

// IsAfter reports whether a kernel stamp was taken after r was read.
func (r Reading) IsAfter(stamp int64) bool {
	if stamp < firstWall {
		return Instant(stamp) > r.Now
	}
	return Instant(stamp+r.Offset()) > r.Now
}

// firstWall tells the clocks of stamps apart: a machine that has run for 36 years, and 2006.
const firstWall = 1 << 60

// slack forgives what separates the two clocks' reads: the wall clock is slewed
// by at most 500 ppm (adjtimex(2)), and a stamp can be taken between the clock
// read and the system call that returned it.
const slack = Instant(2 * time.Millisecond)

// Suspended returns how long the machine has been suspended since it was started:
// CLOCK_BOOTTIME minus CLOCK_MONOTONIC. A growth between two calls is a suspension
// between them. It costs two system calls: call it after a gap, not per turn.
func Suspended() (time.Duration, error) {
	var boot, mono unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono); err != nil {
		return 0, fmt.Errorf("clock: read CLOCK_MONOTONIC: %w", err)
	}
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return 0, fmt.Errorf("clock: read CLOCK_BOOTTIME: %w", err)
	}
	return time.Duration(boot.Nano() - mono.Nano()), nil
}
