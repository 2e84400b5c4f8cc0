// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.
// Wake takes a lock, on other goroutines and only when the loop may be asleep.

//go:build linux

package udp

import (
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Waiter lets a loop sleep until a datagram, a wake-up or a deadline. Waiting is ppoll(2),
// whose timeout is in nanoseconds; with SetTimerSlack it is exact to some 40 µs.
type Waiter struct {
	fds     []unix.PollFd // the eventfd, then the sockets
	sockets []*Socket
	calls   atomic.Uint64
	keepP   bool

	pending atomic.Bool // Wake was called, and Wait has not returned since
	mu      sync.Mutex  // orders Wake's write before Close
	event   int         // the eventfd, -1 when closed; guarded by mu for Wake and Close
}

// Ready is why Wait returned. The zero value means the timeout, or a signal.
type Ready struct {
	Woken    bool   // Wake was called
	Readable uint32 // bit i: socket i has a datagram
	Errors   uint32 // bit i: socket i has an entry in its error queue
}

// NewWaiter returns a Waiter for at most 32 sockets, whose order numbers the bits of Ready.
func NewWaiter(sockets ...*Socket) (*Waiter, error) {
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, failed("open an eventfd", err, "raise the limit of open files")
	}
	w := &Waiter{event: event, sockets: sockets, fds: []unix.PollFd{{Fd: int32(event), Events: unix.POLLIN}}}
	for _, s := range sockets {
		w.fds = append(w.fds, unix.PollFd{Fd: int32(s.fd), Events: unix.POLLIN})
	}
	return w, nil
}

// KeepP makes Wait keep the P of the Go scheduler, for a loop that has a P to itself: after
// a wake-up the loop then never queues for a P behind busy goroutines, and the scheduler
// does not handle every wait. When the runtime stops the thread, for a collection or for
// another goroutine, its signal (SIGURG) ends the wait.
func (w *Waiter) KeepP() { w.keepP = true }

// Wait sleeps until Wake is called, until the timeout is over, or, if sockets is set,
// until a socket has a datagram or an error. A negative timeout is none. While a socket's
// error queue has an entry, Wait returns at once: the caller must read the queue.
//
// Unless KeepP was called, the P is free meanwhile. Wait may also return early for no
// reason. The error is an *Error and means that waiting is impossible.
func (w *Waiter) Wait(timeout time.Duration, sockets bool) (Ready, error) {
	fds := w.fds
	if !sockets {
		fds = fds[:1]
	}
	var limit *unix.Timespec
	if timeout >= 0 {
		t := unix.NsecToTimespec(int64(timeout))
		limit = &t
	}
	w.calls.Add(1)
	var n uintptr
	var errno unix.Errno
	if w.keepP {
		n, _, errno = unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fds[0])), uintptr(len(fds)),
			uintptr(unsafe.Pointer(limit)), 0, 0, 0)
	} else {
		n, _, errno = unix.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fds[0])), uintptr(len(fds)),
			uintptr(unsafe.Pointer(limit)), 0, 0, 0)
	}
	switch {
	case errno != 0 && errno != unix.EINTR:
		return Ready{}, failed("wait for datagrams", errno, "")
	case errno == unix.EINTR || n == 0:
		return Ready{}, nil
	}
	return w.ready(fds), nil
}

// ready reads the results of ppoll.
func (w *Waiter) ready(fds []unix.PollFd) (r Ready) {
	if fds[0].Revents != 0 {
		var count [8]byte
		w.calls.Add(1)
		unix.RawSyscall(unix.SYS_READ, uintptr(fds[0].Fd), uintptr(unsafe.Pointer(&count)), 8)
		// This comes after the read. Before it, a Wake between the two would be consumed
		// with the flag left set, and no later Wake would write again.
		w.pending.Store(false)
		r.Woken = true
	}
	for i, fd := range fds[1:] {
		if fd.Revents&unix.POLLIN != 0 {
			r.Readable |= 1 << i
		}
		if fd.Revents&unix.POLLERR != 0 {
			r.Errors |= 1 << i
			w.sockets[i].hasErrors = true
		}
	}
	return r
}

// Wake makes the present Wait return, or the next if there is none. Any goroutine may
// call it, also after Close. While an earlier wake-up is pending it is one atomic
// operation. What the caller wrote before Wake, the loop sees after Wait.
func (w *Waiter) Wake() {
	if !w.pending.CompareAndSwap(false, true) {
		return
	}
	one := [8]byte{1: 1} // any number but 0 in host order
	w.mu.Lock()
	if w.event >= 0 {
		w.calls.Add(1)
		unix.RawSyscall(unix.SYS_WRITE, uintptr(w.event), uintptr(unsafe.Pointer(&one)), 8)
	}
	w.mu.Unlock()
}

// Drain discards calls of Wake, for a program that does not Wait.
func (w *Waiter) Drain() {
	if w.pending.Load() {
		_, _ = w.Wait(0, false) // it cannot fail in a way that matters here
	}
}

// Fd returns the descriptor that Wake makes readable. Any goroutine may call it.
func (w *Waiter) Fd() int { return int(w.fds[0].Fd) }

// Calls returns how many system calls waiting and waking made. Any goroutine may call
// it.
func (w *Waiter) Calls() uint64 { return w.calls.Load() }

// Close frees the Waiter, not its sockets. No Wait may be under way or follow.
func (w *Waiter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.event < 0 {
		return nil
	}
	err := failed("close the eventfd", unix.Close(w.event), "")
	w.event = -1
	return err
}
