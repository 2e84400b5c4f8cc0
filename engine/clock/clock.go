// Package clock defines the instants that the engine judges by.
//
// On Linux, an [Instant] counts nanoseconds of the kernel's CLOCK_MONOTONIC, the clock
// that BPF's bpf_ktime_get_ns reads, so stamps taken in the kernel and instants
// taken in the process compare without conversion. Elsewhere it counts nanoseconds of
// the Go runtime's monotonic clock since one second before the process read it first, so
// instants of two processes do not compare. The monotonic clock never steps. It stands
// still while the machine is suspended; on Windows and some others it may go on.
//
// A [Reading] holds the monotonic and the wall clock as read together. A [Stamp] is an
// instant with its [Source].
package clock

import (
	"fmt"
	"time"
)

// Instant is a point in time: nanoseconds of the monotonic clock. The zero Instant
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
// result carries a monotonic reading, so times compare as their instants do; by the
// wall clock they are exact to some tens of nanoseconds. The zero Instant gives the zero Time, Never a time some
// three centuries ahead. Instants of a simulated world are not of this clock.
func (i Instant) Time() time.Time {
	if i == 0 {
		return time.Time{}
	}
	now := time.Now()
	return now.Add(i.Sub(at(now)))
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

// base anchors time.Since to the monotonic clock. time.Since costs a third of a
// clock_gettime system call and is honest inside a testing/synctest bubble.
var base, baseInstant = anchor()

// Now returns the present instant. Any goroutine may call it.
func Now() Instant { return baseInstant + Instant(time.Since(base)) }

// at converts a time.Time that carries a monotonic reading, as time.Now returns
// it, to an Instant.
func at(t time.Time) Instant { return baseInstant + Instant(t.Sub(base)) }

// Reading is both clocks read at one moment.
type Reading struct {
	Now  Instant // the monotonic clock
	Wall int64   // the wall clock, nanoseconds since 1970
}

// Read returns both clocks, read together by one time.Now. Any goroutine may
// call it.
func Read() Reading {
	t := time.Now()
	return Reading{Now: at(t), Wall: t.UnixNano()}
}
