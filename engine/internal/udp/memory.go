// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package udp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Memory is a socket's use of memory as the kernel accounts it (sock_diag(7),
// SK_MEMINFO), in bytes including the kernel's overhead per datagram; the limits are
// twice what Options asks for.
type Memory struct {
	RecvQueued, RecvLimit uint32
	SendQueued, SendLimit uint32
	// Drops counts the datagrams dropped at this socket since Open, mostly because
	// the receive buffer was full; it wraps at 2³².
	Drops uint32
}

// Memory asks the kernel for the present figures, which takes one system call.
func (s *Socket) Memory() (Memory, error) {
	s.meminfoLen = uint32(unsafe.Sizeof(s.meminfo))
	s.calls.Add(1)
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&s.meminfo)), uintptr(unsafe.Pointer(&s.meminfoLen)), 0)
	if errno != 0 {
		return Memory{}, errno
	}
	return Memory{
		RecvQueued: s.meminfo[unix.SK_MEMINFO_RMEM_ALLOC],
		RecvLimit:  s.meminfo[unix.SK_MEMINFO_RCVBUF],
		SendQueued: s.meminfo[unix.SK_MEMINFO_WMEM_ALLOC],
		SendLimit:  s.meminfo[unix.SK_MEMINFO_SNDBUF],
		Drops:      s.meminfo[unix.SK_MEMINFO_DROPS],
	}, nil
}
