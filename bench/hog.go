package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"systole/engine/clock"
)

// A hog holds other processes up, for a time that it tells exactly. It does so by a process of its own with
// a real-time priority, because the parent may have to wait for a CPU.

// span is a time on the clock of this machine.
type span struct{ Begin, End clock.Instant }

// holds reports whether at lies in the span.
func (s span) holds(at clock.Instant) bool { return at >= s.Begin && at <= s.End }

// stopOrder is the argument of a hog's command stop: a process, and when to stop and to continue it.
type stopOrder struct {
	Pid int
	span
}

// runHog is the subcommand hog. Its options are its scheduling.
func runHog(options string) error {
	var o scheduling
	if err := decodeOptions(options, &o); err != nil {
		return err
	}
	runtime.LockOSThread()
	// Go's scheduler interrupts a goroutine after 10 ms, by a signal, and lets the thread sleep.
	urgent := unix.Sigset_t{}
	urgent.Val[0] = 1 << (unix.SIGURG - 1)
	if err := errors.Join(unix.PthreadSigmask(unix.SIG_BLOCK, &urgent, nil), o.apply()); err != nil {
		return err
	}
	return commands{
		"spin": func(arg string) (any, error) {
			d, err := time.ParseDuration(arg)
			if err != nil {
				return nil, err
			}
			begin := clock.Now()
			spinUntil(begin.Add(d))
			return span{begin, clock.Now()}, nil
		},
		"stop": func(arg string) (any, error) {
			var order stopOrder
			if err := json.Unmarshal([]byte(arg), &order); err != nil {
				return nil, err
			}
			return order.stop()
		},
	}.serve(os.Stdin, os.Stdout)
}

// spinUntil computes until an instant. Of the functions of Go it calls only one in which the scheduler does
// not interrupt it.
func spinUntil(end clock.Instant) {
	var now unix.Timespec
	for now.Nano() < int64(end) {
		_, _, _ = syscall.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&now)), 0)
	}
}

// stop stops the process, and returns when it did.
func (o *stopOrder) stop() (s span, err error) {
	sleepUntil(o.Begin)
	s.Begin = clock.Now()
	if err := unix.Kill(o.Pid, unix.SIGSTOP); err != nil {
		return s, fmt.Errorf("stop a process: %w", err)
	}
	sleepUntil(o.End)
	s.End = clock.Now()
	if err := unix.Kill(o.Pid, unix.SIGCONT); err != nil {
		return s, fmt.Errorf("continue a process: %w", err)
	}
	return s, nil
}

// sleepUntil sleeps until an instant, with the thread: a timer of Go ends later.
func sleepUntil(at clock.Instant) {
	ts := unix.NsecToTimespec(int64(at))
	for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil) == unix.EINTR {
	}
}
