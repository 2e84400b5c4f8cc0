package engine

import (
	"fmt"
	"time"

	"systole/engine/internal/udp"
)

// hasSched says that threads can be scheduled and pinned.
const hasSched = true

// shortSlice is the shortest slice that the kernel grants. The scheduler prefers threads with short
// slices, and turns are shorter.
const shortSlice = 100 * time.Microsecond

// apply schedules the calling thread, which is of shard number i.
func (s *Sched) apply(i int) error {
	if err := udp.SetTimerSlack(1); err != nil {
		return fmt.Errorf("engine: set the timer slack: %w", err)
	}
	sched := udp.Sched{CPU: -1, Slice: shortSlice, Nice: s.Nice, FIFO: s.FIFO}
	if len(s.CPUs) > 0 {
		sched.CPU = s.CPUs[i%len(s.CPUs)]
	}
	if err := sched.Apply(); err != nil {
		return fmt.Errorf("engine: schedule shard %d: %w", i, err)
	}
	return nil
}
