package udp

// Fd returns the descriptor, for a program that polls it itself. Any goroutine may call
// it.
func (s *Socket) Fd() int { return s.fd }

// Fd returns the descriptor that Wake makes readable. Any goroutine may call it.
func (w *Waiter) Fd() int { return int(w.fds[0].Fd) }

// Drain takes back wake-ups, for a program that does not Wait.
func (w *Waiter) Drain() {
	if w.pending.Load() {
		_, _ = w.Wait(0, false) // it cannot fail in a way that matters here
	}
}
