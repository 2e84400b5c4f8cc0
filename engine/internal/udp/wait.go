// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.
// Wake takes a lock, on other goroutines and only when the loop may be asleep.

package udp

import (
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MaxSockets is how many sockets one Waiter can wait for.
const MaxSockets = 32

// Waiter is where a loop sleeps: until a datagram, a wake-up or a deadline. Waiting
// is ppoll(2), whose timeout is in nanoseconds; with SetTimerSlack it is exact to
// some 40 µs.
type Waiter struct {
	fds      [1 + MaxSockets]unix.PollFd // the eventfd, then the sockets
	sockets  [MaxSockets]*Socket
	n        int // sockets
	timeout  unix.Timespec
	consumed [8]byte
	calls    atomic.Uint64
	keepP    bool

	pending atomic.Bool // Wake was called and Wait did not return it yet
	mu      sync.Mutex  // orders Wake's write before Close
	event   int         // the eventfd, -1 when closed; guarded by mu for Wake and Close
}

// Ready is why Wait returned. All zero means that the time was up, or that a signal
// came first.
type Ready struct {
	Woken    bool   // Wake was called
	Readable uint32 // bit i: socket i has a datagram
	Errors   uint32 // bit i: socket i has something in its error queue
}

// NewWaiter returns a Waiter for the sockets, whose order numbers the bits of Ready.
func NewWaiter(sockets ...*Socket) (*Waiter, error) {
	if len(sockets) > MaxSockets {
		return nil, failed("wait for sockets", unix.E2BIG, "a waiter takes at most 32 sockets")
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, failed("open an eventfd", err, "raise the limit of open files")
	}
	w := &Waiter{n: len(sockets), event: event}
	w.fds[0] = unix.PollFd{Fd: int32(event), Events: unix.POLLIN}
	for i, s := range sockets {
		w.fds[1+i] = unix.PollFd{Fd: int32(s.fd), Events: unix.POLLIN}
		w.sockets[i] = s
	}
	return w, nil
}

// KeepP lets Wait keep the P of the Go scheduler, for a loop that has one to itself: on
// waking it then never queues for one behind busy goroutines, and the scheduler does
// not have to follow every wait. When the runtime wants the thread to stop, for a
// collection or for another goroutine, its signal (SIGURG) ends the wait.
func (w *Waiter) KeepP() { w.keepP = true }

// Wait sleeps until Wake is called, until the timeout is over, or, if sockets is set,
// until a socket has a datagram or an error. A negative timeout is none. With an entry
// in a socket's error queue it returns at once, again and again: read it.
//
// It is a system call that the Go scheduler knows of, so the P is free meanwhile, unless
// KeepP was called. It may also return early for no reason. The error is an *Error and
// means that waiting is impossible.
func (w *Waiter) Wait(timeout time.Duration, sockets bool) (Ready, error) {
	n := 1
	if sockets {
		n += w.n
	}
	var limit *unix.Timespec
	if timeout >= 0 {
		w.timeout = unix.NsecToTimespec(int64(timeout))
		limit = &w.timeout
	}
	w.calls.Add(1)
	var k uintptr
	var errno unix.Errno
	if w.keepP {
		k, _, errno = unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&w.fds)), uintptr(n),
			uintptr(unsafe.Pointer(limit)), 0, 0, 0)
	} else {
		k, _, errno = unix.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&w.fds)), uintptr(n),
			uintptr(unsafe.Pointer(limit)), 0, 0, 0)
	}
	if errno != 0 {
		if errno == unix.EINTR {
			return Ready{}, nil
		}
		return Ready{}, failed("wait for datagrams", errno, "")
	}
	if k == 0 {
		return Ready{}, nil
	}
	return w.ready(n), nil
}

// ready reads the results of ppoll for the first n descriptors.
func (w *Waiter) ready(n int) (r Ready) {
	if w.fds[0].Revents != 0 {
		w.calls.Add(1)
		unix.RawSyscall(unix.SYS_READ, uintptr(w.fds[0].Fd), uintptr(unsafe.Pointer(&w.consumed)), 8)
		// After the read: were it before, a Wake between the two would be consumed with
		// the flag left set, and no later one would ever write again.
		w.pending.Store(false)
		r.Woken = true
	}
	for i, fd := range w.fds[1:n] {
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
