package kernelclock

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

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
