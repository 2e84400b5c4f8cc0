// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package recording

// Record takes a heartbeat, or counts it as overflow where the ring is full. It does not
// keep h. Any goroutine may call it, also after Close; it neither waits nor allocates.
func (r *Recorder) Record(h *Heartbeat) {
	if !r.ring.TryPush(*h) {
		r.overflowed.Add(1)
	}
}
