package clock

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// An Instant must be the kernel's CLOCK_MONOTONIC: BPF stamps are compared with
// it unconverted.
func TestNowIsMonotonicClock(t *testing.T) {
	best := time.Duration(1<<63 - 1)
	for range 100 {
		var ts unix.Timespec
		before := Now()
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			t.Fatal(err)
		}
		after := Now()
		kernel := Instant(ts.Nano())
		off := max(before.Sub(kernel), kernel.Sub(after), 0)
		best = min(best, off)
	}
	if best > 20*time.Microsecond {
		t.Errorf("Now lies %v outside the bracket around CLOCK_MONOTONIC", best)
	}
}
