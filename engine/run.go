package engine

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"systole/engine/clock"
	"systole/engine/internal/udp"
)

// start starts the goroutines: one per shard, two that hear of links and routes, one that looks names
// up, one that logs, and one for what else may take its time; none in a simulated world, see rest. A shard that
// cannot be scheduled as asked is reported here.
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
	if e.cfg.Network != nil {
		return nil
	}
	e.watchInterfaces()
	e.running.Add(1)
	go e.background(ctx)
	if e.cfg.Logger != nil {
		go e.logging(ctx) // Close does not wait for it: a log may stall
	}
	return nil
}

// startShards starts every shard's loop and waits until each has its thread as asked.
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

// stopShards ends the loops and waits for them.
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

// procs is what engines have added to GOMAXPROCS, and what it was set to then.
var procs struct {
	sync.Mutex
	added, set int
}

// addProcs changes GOMAXPROCS by n. Once somebody else has set it meanwhile, it is theirs: nothing is
// taken off what they decided on.
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

// run is a shard's loop, on a thread of its own: turn, then wait for a datagram, a
// command or the next deadline.
func (s *shard) run(ready chan<- error) {
	defer s.engine.running.Done()
	// The thread is never unlocked: its scheduling is ours, so it ends with the loop.
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

// watchSuspension looks once a second whether the machine was suspended. The monotonic
// clock stood still meanwhile, so no deadline passed; but peers have not heard us.
func (s *shard) watchSuspension(now clock.Instant) {
	if s.number != 0 || now.Sub(s.suspendedAt) < time.Second {
		return
	}
	s.suspendedAt = now
	total, err := clock.Suspended()
	if err != nil {
		return // a sandbox without that clock: suspensions go unseen
	}
	if lost := total - s.suspended; lost > suspensionNoise && s.suspended != 0 {
		s.now = max(s.now, now)
		s.publishNode(record{cause: LocalPause, pause: int64(lost)})
	}
	s.suspended = max(total, 1)
}

// suspensionNoise is far above what passes between reading the two clocks.
const suspensionNoise = 100 * time.Millisecond

// wait waits until next, or until there is something to do before. While the sockets
// were read less than a grid step ago, it does not wait for datagrams: one reading
// per step serves them all, and the kernel's stamps keep their arrival exact.
//
// Waits are relative, and the turn has taken its time since s.now: so the clock is read.
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

// quiet is until when datagrams do not end the wait. A socket that fails is readable all the time.
func (s *shard) quiet() clock.Instant { return max(s.lastRead, s.failedAt).Add(s.grid) }

// shortSlice is the least slice that the kernel grants. A turn is shorter, so it costs
// nobody anything, and the scheduler picks threads with short slices first.
const shortSlice = 100 * time.Microsecond

// apply schedules the calling thread as s asks, for shard number i.
func (s *Sched) apply(i int) error {
	if err := udp.SetTimerSlack(1); err != nil {
		return fmt.Errorf("engine: make waiting exact: %w", err)
	}
	sched := udp.Sched{CPU: -1, Slice: shortSlice}
	if len(s.CPUs) > 0 {
		sched.CPU = s.CPUs[i%len(s.CPUs)]
	}
	switch s.Class {
	case Nice:
		sched.Nice = s.Priority
	case FIFO:
		sched.FIFO = s.Priority
	}
	if err := sched.Apply(); err != nil {
		return fmt.Errorf("engine: schedule shard %d: %w", i, err)
	}
	return nil
}
