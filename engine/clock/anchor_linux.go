package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

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
