//go:build !linux

package engine

// hasSched says that threads can be scheduled and pinned.
const hasSched = false

// apply does nothing: Config.Validate refuses what it would have to do.
func (s *Sched) apply(int) error { return nil }
