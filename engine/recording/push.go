// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package recording

// Record copies h into the ring, or counts an overflow if the ring is full. It neither waits nor
// allocates. Any goroutine may call it, even after Close.
func (r *Recorder) Record(h *Heartbeat) {
	if !r.ring.TryPush(*h) {
		r.overflowed.Add(1)
	}
}
