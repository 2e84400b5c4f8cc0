//go:build !linux

package kernelclock

import "time"

// Suspended returns 0: suspensions go unseen here. Where the monotonic clock stands still meanwhile,
// nothing shows them; where it goes on, the loop's next turn is late, which is a pause.
func Suspended() (time.Duration, error) { return 0, nil }
