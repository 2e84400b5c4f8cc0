package engine

import (
	"context"
	"runtime"
	"sync"
	"time"

	"systole/engine/clock"
	"systole/engine/internal/kernelclock"
)

// start starts the engine's goroutines. A Manual engine has no loops, and one in a simulated world no
// goroutines at all; see rest. start fails if a shard's thread cannot be scheduled as configured.
func (e *Engine) start() error {
	ctx, cancel := context.WithCancel(context.Background())
	e.stop = cancel
	e.restock()
	e.openNames()
	if !e.cfg.Manual {
		if err := e.startShards(); err != nil {
			e.stopping.Store(true)
			cancel()
			e.stopShards()
			return err
		}
	}
	if e.cfg.world != nil {
		return nil
	}
	if !e.cfg.portable { // that layer watches them itself
		e.watchInterfaces()
	}
	e.running.Add(1)
	go e.background(ctx)
	if e.cfg.Logger != nil {
		go e.logging(ctx) // Close does not wait for it: a Logger may block
	}
	return nil
}

// startShards starts the loops and waits until the thread of each is scheduled.
func (e *Engine) startShards() error {
	addProcs(e.cfg.Sched.Procs)
	ready := make(chan error, len(e.shards))
	for _, s := range e.shards {
		e.running.Add(1)
		go s.run(ready)
	}
	var first error
	for range e.shards {
		if err := <-ready; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// stopShards ends the loops and the other goroutines, and waits for them. stopping is set.
func (e *Engine) stopShards() {
	e.interfaces.close()
	for _, s := range e.shards {
		s.net.Wake()
	}
	e.names.Close()
	e.running.Wait()
	if !e.cfg.Manual {
		addProcs(-e.cfg.Sched.Procs)
	}
}

// procs is the number of Ps that the engines of this process have added to GOMAXPROCS, and the value
// to which they last set it.
var procs struct {
	sync.Mutex
	added, set int
}

// addProcs changes GOMAXPROCS by n. If the program has set GOMAXPROCS meanwhile, earlier additions are
// not subtracted any more.
func addProcs(n int) {
	if n == 0 {
		return
	}
	procs.Lock()
	defer procs.Unlock()
	now := runtime.GOMAXPROCS(0)
	if procs.added != 0 && now != procs.set {
		procs.added = 0
	}
	if n < 0 {
		n = max(n, -procs.added)
	}
	procs.added += n
	procs.set = now + n
	if n != 0 {
		runtime.GOMAXPROCS(procs.set)
	}
}

// run is the loop of a shard, on a thread of its own: it turns, then waits for a datagram, a command or
// the next deadline.
func (s *shard) run(ready chan<- error) {
	defer s.engine.running.Done()
	// The goroutine stays locked: the thread, whose scheduling is changed, ends with it.
	runtime.LockOSThread()
	err := s.engine.cfg.Sched.apply(s.number)
	ready <- err
	if err != nil {
		return
	}
	for !s.engine.stopping.Load() {
		r := clock.Read()
		s.watchSuspension(r.Now)
		next := s.turn(r)
		s.wait(next)
	}
}

// watchSuspension checks once a second whether the machine was suspended. The monotonic clock stands
// still meanwhile, so no deadline passes, but peers do not hear this node.
func (s *shard) watchSuspension(now clock.Instant) {
	if s.number != 0 || now.Sub(s.suspendedAt) < time.Second {
		return
	}
	s.suspendedAt = now
	total, err := kernelclock.Suspended()
	if err != nil {
		return // a sandbox without that clock: suspensions go unseen
	}
	if lost := total - s.suspended; lost > suspensionNoise && s.suspended != 0 {
		s.now = max(s.now, now)
		s.publishNode(NodeEvent{Cause: LocalPause, Pause: lost})
	}
	s.suspended = max(total, 1)
}

// suspensionNoise is far above the time between the readings of two clocks.
const suspensionNoise = 100 * time.Millisecond

// wait waits until next, or for earlier work. Within a grid step of the last reading of the sockets it
// does not wait for datagrams: one reading per step is enough, because the kernel stamps arrivals.
//
// It reads the clock because waits are relative, and the turn began at s.now.
func (s *shard) wait(next clock.Instant) {
	if s.ring.Len() > 0 || next <= s.now {
		return
	}
	now := clock.Now()
	quiet := s.quiet()
	if quiet > now && next > quiet {
		if s.net.Wait(quiet.Sub(now), false) {
			return
		}
		now = clock.Now()
	}
	if next > now {
		s.net.Wait(next.Sub(now), next > quiet)
	}
}

// quiet returns until when datagrams do not end a wait: a grid step after the last reading, or after the
// last error of a socket, which poll(2) reports as readable.
func (s *shard) quiet() clock.Instant {
	if s.overflows() {
		return s.failedAt.Add(s.grid)
	}
	return max(s.lastRead, s.failedAt).Add(s.grid)
}

// overflows reports whether a receive buffer overflowed lately. It does not hold the datagrams that
// arrive while the loop sleeps, so the loop reads without pause while datagrams come.
func (s *shard) overflows() bool {
	return s.overflowAt != 0 && s.now.Sub(s.overflowAt) < overflowHold
}

// overflowHold is how long the loop reads without pause after an overflow. Each time that it ends too
// soon, the next overflow costs heartbeats.
const overflowHold = 10 * time.Second
