//go:build linux

package udp

import (
	"errors"
	"net/netip"
	"strconv"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"systole/engine/internal/network"
)

// Options describe a socket. Only Local must be set.
type Options struct {
	// Local is the address to bind. Port 0 lets the kernel choose. An IPv6 socket takes
	// IPv6 only, so that an address has one form; IPv4 needs a socket of its own.
	Local netip.AddrPort
	// ReusePort lets sockets that Join share Local; see AttachSteering. Only a socket of
	// the same user can join.
	ReusePort bool
	// Join shares Local with the socket that has it. Without Join, Open fails with
	// EADDRINUSE where any socket has Local, shared or not.
	Join bool
	// RecvBuffer and SendBuffer are the bytes wanted, 0 for the system's default. The kernel
	// charges each queued datagram its whole memory, which is several times a heartbeat's
	// length: see QueuedSize. It may grant less: see Socket.RecvBuffer.
	RecvBuffer, SendBuffer int
	// Timestamps asks the kernel to stamp each datagram on its arrival. Sender.Stamp needs it as well.
	Timestamps bool
	// Errors asks for the error queue: the datagrams of ours that the network returns. It
	// also makes the kernel report a full queue of the local interface as ENOBUFS.
	Errors bool
}

// Socket is a UDP socket. It belongs to the goroutine that uses it, except for the
// methods that say otherwise.
type Socket struct {
	fd         int
	local      Addr
	recvBuffer int
	sendBuffer int
	hasErrors  bool
	faulty     bool
	// awaitsStamps says that datagrams to be stamped were sent since an ErrorReader last read.
	awaitsStamps bool
	calls        atomic.Uint64
}

// Open returns a bound, non-blocking socket, or an *Error.
func Open(o Options) (*Socket, error) {
	s := &Socket{local: network.AddrFrom(o.Local)}
	op := "open a UDP socket on " + o.Local.String()
	if s.local.IsZero() {
		return nil, failed(op, unix.EINVAL, "the address is not valid, or its zone names no interface")
	}
	if min(o.RecvBuffer, o.SendBuffer) < 0 || max(o.RecvBuffer, o.SendBuffer) > maxBuffer {
		return nil, failed(op, unix.EINVAL, "a buffer is negative or above 1 GiB")
	}
	var err error
	s.fd, err = unix.Socket(int(s.local.Family()), unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_UDP)
	if err != nil {
		return nil, failed(op, err, helpFor(err, o.Local))
	}
	s.raise()
	if err := s.setUp(&o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// raise moves the socket to a descriptor above most others, so that its port is closed as soon as the
// process is killed, and peers learn that by ICMP. The kernel releases what a dead process had open in
// the reverse order of the descriptors (task_work_add), and takes 16 ms for each BPF program that
// was attached to an interface.
func (s *Socket) raise() {
	const above = 512
	fd, err := unix.FcntlInt(uintptr(s.fd), unix.F_DUPFD_CLOEXEC, above)
	if err != nil {
		return // the limit of open files is lower
	}
	_ = unix.Close(s.fd)
	s.fd = fd
}

// maxBuffer keeps a buffer's size, which the kernel doubles, within an int32.
const maxBuffer = 1 << 30

// setUp sets the options, then binds: no datagram may arrive before its stamp is on. A
// socket that joins shares its port before it binds. The first of a group shares it after:
// bind(2) then refuses a port that another process has, whether that shares it or not, and
// chooses none that another group has.
func (s *Socket) setUp(o *Options) error {
	level, recvErr, pktInfo := unix.SOL_IP, unix.IP_RECVERR, unix.IP_PKTINFO
	if s.Is6() {
		level, recvErr, pktInfo = unix.SOL_IPV6, unix.IPV6_RECVERR, unix.IPV6_RECVPKTINFO
	}
	const stamps = unix.SOF_TIMESTAMPING_RX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE
	err := errors.Join(
		s.setOption(s.Is6(), "IPV6_V6ONLY", unix.SOL_IPV6, unix.IPV6_V6ONLY, 1),
		s.setOption(o.Timestamps, "SO_TIMESTAMPING", unix.SOL_SOCKET, unix.SO_TIMESTAMPING, stamps),
		s.setOption(o.Errors, "IP_RECVERR", level, recvErr, 1),
		s.setOption(s.local.IP().IsUnspecified(), "IP_PKTINFO", level, pktInfo, 1),
		s.setOption(o.Join, "SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
		s.setBuffer(&s.recvBuffer, o.RecvBuffer, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF),
		s.setBuffer(&s.sendBuffer, o.SendBuffer, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF),
	)
	if err == nil {
		err = s.bind(o.Local)
	}
	if err != nil {
		return err
	}
	return s.setOption(o.ReusePort && !o.Join, "SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
}

// setOption sets an option that is wanted.
func (s *Socket) setOption(want bool, name string, level, option, value int) error {
	if !want {
		return nil
	}
	return failed("set socket option "+name, unix.SetsockoptInt(s.fd, level, option, value), "the kernel may be too old")
}

// setBuffer asks for a buffer unless wanted is 0, beyond the system's limit where allowed,
// and stores the granted size.
func (s *Socket) setBuffer(granted *int, wanted, force, plain int) error {
	const op = "set a socket buffer"
	if wanted > 0 && unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, force, wanted) != nil {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, plain, wanted); err != nil {
			return failed(op, err, "")
		}
	}
	doubled, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, plain)
	*granted = doubled / 2
	return failed(op, err, "")
}

// bind binds to s.local and reads back the port.
func (s *Socket) bind(local netip.AddrPort) error {
	_, _, errno := unix.Syscall(unix.SYS_BIND, uintptr(s.fd), uintptr(unsafe.Pointer(&s.local)), uintptr(sockaddrSize(&s.local)))
	if errno != 0 {
		return failed("bind "+local.String(), errno, helpFor(errno, local))
	}
	size := uint32(len(s.local))
	_, _, errno = unix.Syscall(unix.SYS_GETSOCKNAME, uintptr(s.fd), uintptr(unsafe.Pointer(&s.local)), uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return failed("read the local address", errno, "")
	}
	canonical(&s.local, size)
	return nil
}

// Local returns the bound address, with the port that the kernel chose if it did. Any
// goroutine may call it.
func (s *Socket) Local() netip.AddrPort { return s.local.AddrPort() }

// LocalAddr returns the bound address as the kernel has it. Any goroutine may read it.
func (s *Socket) LocalAddr() *Addr { return &s.local }

// Device returns the index of the interface with a name, in the socket's network
// namespace, or an *Error. Any goroutine may call it.
func (s *Socket) Device(name string) (int, error) {
	r, err := unix.NewIfreq(name)
	if err != nil {
		err = unix.ENODEV // the name is too long
	} else if err = unix.IoctlIfreq(s.fd, unix.SIOCGIFINDEX, r); err == nil {
		return int(r.Uint32()), nil
	}
	return 0, failed("look up the interface "+strconv.Quote(name), err, "no interface of this host has this name")
}

// Is6 reports whether the socket sends and receives IPv6; otherwise IPv4. Any goroutine
// may call it.
func (s *Socket) Is6() bool { return s.local.Is6() }

// RecvBuffer returns the granted size of the receive buffer in bytes, as Options counts
// it. Any goroutine may call it.
func (s *Socket) RecvBuffer() int { return s.recvBuffer }

// SendBuffer returns the granted size of the send buffer in bytes, as Options counts it.
// Any goroutine may call it.
func (s *Socket) SendBuffer() int { return s.sendBuffer }

// Calls returns how many system calls were made for this socket since Open, by
// receivers, senders and error readers. Any goroutine may call it.
func (s *Socket) Calls() uint64 { return s.calls.Load() }

// HasErrors reports whether the error queue may have entries that no ErrorReader has read.
// Recv, Flush, Wait and PendingError find out. It can be a false alarm.
func (s *Socket) HasErrors() bool { return s.hasErrors }

// AwaitsStamps reports whether a datagram to be stamped was sent since an ErrorReader last read the
// socket. A stamp that comes after that reading sets HasErrors in Wait.
func (s *Socket) AwaitsStamps() bool { return s.awaitsStamps }

// Faulty reports whether the last Recv failed for another reason than what the network
// returned: nothing can be received through this socket.
func (s *Socket) Faulty() bool { return s.faulty }

// PendingError reads the socket's pending error (SO_ERROR), which takes one system call,
// and reports HasErrors. After a Recv of a part of a batch, false proves that the queue was
// empty: an error that ended the batch early would be pending.
func (s *Socket) PendingError() bool {
	if !s.hasErrors {
		s.calls.Add(1)
		errno, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		s.hasErrors = err == nil && errno != 0
	}
	return s.hasErrors
}

// Memory returns the kernel's account of the socket's memory (sock_diag(7)), by
// unix.SK_MEMINFO_RMEM_ALLOC and so on: bytes, including the kernel's overhead per
// datagram. The limits are twice what Options asks for. SK_MEMINFO_DROPS counts the
// datagrams dropped since Open, mostly because the receive buffer was full; it wraps at
// 2³². Memory takes one system call.
func (s *Socket) Memory() (m [unix.SK_MEMINFO_VARS]uint32, err error) {
	size := uint32(unsafe.Sizeof(m))
	s.calls.Add(1)
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&m)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return m, errno
	}
	return m, nil
}

// Fd returns the descriptor, for a program that polls it itself. Any goroutine may call
// it.
func (s *Socket) Fd() int { return s.fd }

// Close closes the socket. It may be called once; nothing may be called after it.
func (s *Socket) Close() error {
	err := failed("close the socket", unix.Close(s.fd), "")
	s.fd = -1
	return err
}
