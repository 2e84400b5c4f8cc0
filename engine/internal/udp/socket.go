package udp

import (
	"errors"
	"net/netip"
	"strconv"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Options describe a socket. Of the zero value only Local must be set.
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
	// RecvBuffer and SendBuffer are the bytes wanted, 0 for the system's default. The
	// kernel charges each queued datagram its whole memory, which is several times a
	// heartbeat's length: see QueuedSize. What was not granted is in Socket.Shortage.
	RecvBuffer, SendBuffer int
	// Timestamps asks the kernel to stamp each datagram on its arrival.
	Timestamps bool
	// Overflows asks the kernel to tell, with each datagram, how many were dropped at
	// this socket before it.
	Overflows bool
	// Destinations asks the kernel to tell which local address each datagram was written
	// to, which a socket on a wildcard address does not know otherwise.
	Destinations bool
	// Errors asks for the error queue: what the network returns of our datagrams. It
	// also makes the kernel report a full queue of the local interface as ENOBUFS.
	Errors bool
}

// QueuedSize is what the kernel charges a receive buffer for one queued datagram of
// up to 160 bytes, in bytes as RecvBuffer counts them: half of the 832 bytes of an skb
// with a small head (Linux 6.18, loopback and veth), because the kernel doubles what is
// asked for (socket(7)). Up to 600 bytes it is 640, above it 1152. Some network drivers
// take a larger head for any datagram.
const QueuedSize = 416

// Socket is a UDP socket. It belongs to the goroutine that uses it, except for the
// methods that say otherwise.
type Socket struct {
	fd         int
	local      Addr
	recvBuffer int
	sendBuffer int
	shortage   error
	hasErrors  bool
	faulty     bool
	overflow   uint32
	calls      atomic.Uint64
	meminfo    [unix.SK_MEMINFO_VARS]uint32
	meminfoLen uint32
	waiting    int32 // what SO_ERROR said
	waitingLen uint32
}

// Open returns a bound, non-blocking socket, or an *Error.
func Open(o Options) (*Socket, error) {
	s := &Socket{local: AddrFrom(o.Local)}
	if s.local.IsZero() {
		return nil, failed("open a socket on "+o.Local.String(), unix.EINVAL, "the address is not valid, or its zone names no interface")
	}
	if o.RecvBuffer < 0 || o.SendBuffer < 0 || o.RecvBuffer > maxBuffer || o.SendBuffer > maxBuffer {
		return nil, failed("open a socket on "+o.Local.String(), unix.EINVAL, "a buffer is negative or above 1 GiB")
	}
	var err error
	s.fd, err = unix.Socket(int(s.local.family()), unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_UDP)
	if err != nil {
		return nil, failed("open a UDP socket on "+o.Local.String(), err, socketHelp(err, o.Local))
	}
	if err := s.setUp(&o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// maxBuffer keeps a buffer's size, which the kernel doubles, within an int32.
const maxBuffer = 1 << 30

// setUp sets the options, then binds: no datagram may arrive before its stamp is on.
func (s *Socket) setUp(o *Options) error {
	level, recvErr, pktInfo := unix.SOL_IP, unix.IP_RECVERR, unix.IP_PKTINFO
	if s.local.Is6() {
		level, recvErr, pktInfo = unix.SOL_IPV6, unix.IPV6_RECVERR, unix.IPV6_RECVPKTINFO
	}
	const stamps = unix.SOF_TIMESTAMPING_RX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE
	for _, opt := range [...]struct {
		want              bool
		name              string
		level, opt, value int
	}{
		{s.local.Is6(), "IPV6_V6ONLY", unix.SOL_IPV6, unix.IPV6_V6ONLY, 1},
		{o.Timestamps, "SO_TIMESTAMPING", unix.SOL_SOCKET, unix.SO_TIMESTAMPING, stamps},
		{o.Overflows, "SO_RXQ_OVFL", unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1},
		{o.Errors, "IP_RECVERR", level, recvErr, 1},
		{o.Destinations, "IP_PKTINFO", level, pktInfo, 1},
	} {
		if !opt.want {
			continue
		}
		if err := unix.SetsockoptInt(s.fd, opt.level, opt.opt, opt.value); err != nil {
			return failed("set socket option "+opt.name, err, "the kernel may be too old")
		}
	}
	if err := s.setBuffers(o); err != nil {
		return err
	}
	return s.bindTo(o)
}

// bindTo binds, and shares the port if asked. A socket that joins shares before it binds.
// The first of a group shares after: bind(2) then refuses a port that another process
// has, whether that shares it or not, and chooses none that another group has.
func (s *Socket) bindTo(o *Options) error {
	if o.Join {
		if err := s.sharePort(); err != nil {
			return err
		}
	}
	if err := s.bind(o.Local); err != nil {
		return err
	}
	if o.ReusePort && !o.Join {
		return s.sharePort()
	}
	return nil
}

// sharePort sets SO_REUSEPORT.
func (s *Socket) sharePort() error {
	err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	return failed("set socket option SO_REUSEPORT", err, "the kernel may be too old")
}

// setBuffers asks for the buffers wanted, past the system's limit where allowed, and
// notes what was granted.
func (s *Socket) setBuffers(o *Options) error {
	var short [2]error
	for i, b := range [...]struct {
		name, sysctl string
		wanted       int
		force, plain int
		granted      *int
	}{
		{"receive", "net.core.rmem_max", o.RecvBuffer, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, &s.recvBuffer},
		{"send", "net.core.wmem_max", o.SendBuffer, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, &s.sendBuffer},
	} {
		if b.wanted > 0 && unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, b.force, b.wanted) != nil {
			if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, b.plain, b.wanted); err != nil {
				return failed("set the "+b.name+" buffer", err, "")
			}
		}
		doubled, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, b.plain)
		if err != nil {
			return failed("read the "+b.name+" buffer's size", err, "")
		}
		*b.granted = doubled / 2
		if *b.granted < b.wanted {
			short[i] = &ShortageError{Buffer: b.name, Wanted: b.wanted, Granted: *b.granted, Sysctl: b.sysctl}
		}
	}
	s.shortage = errors.Join(short[:]...)
	return nil
}

// bind binds to s.local and reads back which port it became.
func (s *Socket) bind(local netip.AddrPort) error {
	_, _, errno := unix.Syscall(unix.SYS_BIND, uintptr(s.fd), uintptr(unsafe.Pointer(&s.local)), uintptr(s.local.size()))
	if errno != 0 {
		return failed("bind "+local.String(), errno, bindHelp(errno, local))
	}
	size := uint32(len(s.local))
	_, _, errno = unix.Syscall(unix.SYS_GETSOCKNAME, uintptr(s.fd), uintptr(unsafe.Pointer(&s.local)), uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return failed("read the local address", errno, "")
	}
	s.local.canonical(size)
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
	const help = "no interface of this host has this name"
	op := "look up the interface " + strconv.Quote(name)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return 0, failed(op, unix.ENODEV, help)
	}
	if err := unix.IoctlIfreq(s.fd, unix.SIOCGIFINDEX, r); err != nil {
		return 0, failed(op, err, help)
	}
	return int(r.Uint32()), nil
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

// Shortage returns a *ShortageError per buffer that is smaller than wanted, joined, or
// nil. Any goroutine may call it.
func (s *Socket) Shortage() error { return s.shortage }

// Calls returns how many system calls were made for this socket since Open, by
// receivers, senders and error readers. Any goroutine may call it.
func (s *Socket) Calls() uint64 { return s.calls.Load() }

// HasErrors reports whether the kernel announced something in the error queue, to Recv,
// Flush, Wait or Announced, that no ErrorReader has read yet. It can be a false alarm.
func (s *Socket) HasErrors() bool { return s.hasErrors }

// Faulty reports whether the last Recv failed, and not for what the network returned: nobody can
// be heard through this socket.
func (s *Socket) Faulty() bool { return s.faulty }

// Announced asks the kernel, which takes one system call, whether it has an error to announce
// to the next call, and reports HasErrors. After a Recv of a part of a batch, false proves
// that the queue was empty: an error that cut it short would wait to be announced.
func (s *Socket) Announced() bool {
	if s.hasErrors {
		return true
	}
	s.waitingLen = uint32(unsafe.Sizeof(s.waiting))
	s.calls.Add(1)
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), unix.SOL_SOCKET, unix.SO_ERROR,
		uintptr(unsafe.Pointer(&s.waiting)), uintptr(unsafe.Pointer(&s.waitingLen)), 0)
	s.hasErrors = errno == 0 && s.waiting != 0
	return s.hasErrors
}

// Overflow returns the socket's count of dropped datagrams as the last datagram read
// told it; it wraps at 2³². It costs nothing, and is behind Memory by what is still
// queued. It needs Options.Overflows.
func (s *Socket) Overflow() uint32 { return s.overflow }

// Close closes the socket. It may be called once; nothing may be called after it.
func (s *Socket) Close() error {
	err := failed("close the socket", unix.Close(s.fd), "")
	s.fd = -1
	return err
}
