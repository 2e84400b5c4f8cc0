package udp

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	errorBatch       = 16
	errorControlSize = 256      // an extended error with an IPv6 offender takes 64, a stamp 64
	errorDataSize    = slotSize // some hosts quote a whole datagram, tag included
)

// Origin says who made an error (ip(7), sock_extended_err).
type Origin uint8

// The origins of errors that a UDP socket can see.
const (
	OriginNone  Origin = unix.SO_EE_ORIGIN_NONE
	OriginLocal Origin = unix.SO_EE_ORIGIN_LOCAL
	OriginICMP  Origin = unix.SO_EE_ORIGIN_ICMP
	OriginICMP6 Origin = unix.SO_EE_ORIGIN_ICMP6
)

// QueuedError is one entry of a socket's error queue: the fate of a datagram of ours,
// as the network or this host returned it.
type QueuedError struct {
	Errno      unix.Errno // what the kernel makes of it
	Origin     Origin
	Type, Code uint8  // of the ICMP message
	Info       uint32 // for EMSGSIZE, the path's MTU
	Offender   Addr   // who sent the ICMP message, port 0; zero if unknown
	Dest       Addr   // where our datagram was sent to
	quoted     []byte
}

// PortUnreachable reports whether the destination's host answered that no socket is
// open there (RFC 1122, 3.2.2.1; RFC 4443, 3.1).
func (e *QueuedError) PortUnreachable() bool {
	return e.Origin == OriginICMP && e.Type == 3 && e.Code == 3 ||
		e.Origin == OriginICMP6 && e.Type == 1 && e.Code == 4
}

// Quoted returns the beginning of our datagram, without IP and UDP headers, as far as
// the ICMP message quotes it. Hosts quote 548 bytes or all of it as a rule; the least
// is nothing at all (RFC 792 asks for 8 bytes, which are the UDP header). It comes from
// the network: anybody who can guess our ports can forge it. Valid until the
// reader's next Read.
func (e *QueuedError) Quoted() []byte { return e.quoted }

// ErrorReader is the scratch for reading error queues. It serves any number of
// sockets, one after the other.
type ErrorReader struct {
	headers  [errorBatch]unix.Mmsghdr
	vectors  [errorBatch]unix.Iovec
	entries  [errorBatch]QueuedError
	dest     [errorBatch]Addr
	controls [errorBatch][errorControlSize]byte
	data     [errorBatch][errorDataSize]byte
}

// NewErrorReader returns a wired ErrorReader, about 30 KiB.
func NewErrorReader() *ErrorReader {
	r := new(ErrorReader)
	for i := range errorBatch {
		attach(&r.headers[i].Hdr, &r.vectors[i], &r.dest[i], r.data[i][:], r.controls[i][:])
	}
	return r
}

// Read takes a batch of entries off the error queue and returns how many; 0 means it
// was empty. It never blocks. An entry that cannot be understood is returned with
// OriginNone. Entries are read with Entry. The socket needs Options.Errors.
func (r *ErrorReader) Read(s *Socket) (int, error) {
	for i := range r.headers {
		rearm(&r.headers[i].Hdr, errorControlSize)
	}
	s.calls.Add(1)
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&r.headers)),
		errorBatch, unix.MSG_DONTWAIT|unix.MSG_ERRQUEUE, 0, 0)
	switch errno {
	case 0:
	case unix.EAGAIN, unix.EINTR:
		s.hasErrors = false
		return 0, nil
	default:
		return 0, errno
	}
	s.hasErrors = n == errorBatch
	for i := range r.headers[:n] {
		h := &r.headers[i].Hdr
		e := &r.entries[i]
		*e = parseQueued(r.controls[i][:min(h.Controllen, errorControlSize)])
		r.dest[i].canonical(h.Namelen)
		e.Dest = r.dest[i]
		e.quoted = r.data[i][:min(r.headers[i].Len, errorDataSize)]
	}
	return int(n), nil
}

// Entry returns entry i of the last Read, valid until the next.
func (r *ErrorReader) Entry(i int) *QueuedError { return &r.entries[i] }

// parseQueued reads the extended error out of the control messages of an entry.
func parseQueued(b []byte) (e QueuedError) {
	for {
		c, rest, ok := nextControl(b)
		if !ok {
			return e
		}
		b = rest
		if c.level == unix.SOL_IP && c.kind == unix.IP_RECVERR || c.level == unix.SOL_IPV6 && c.kind == unix.IPV6_RECVERR {
			parseExtended(c.data, &e)
		}
	}
}

// parseExtended reads a struct sock_extended_err and the offender's address after it.
func parseExtended(b []byte, e *QueuedError) {
	const size = 16
	if len(b) < size {
		return
	}
	e.Errno = unix.Errno(binary.NativeEndian.Uint32(b))
	e.Origin, e.Type, e.Code = Origin(b[4]), b[5], b[6]
	e.Info = binary.NativeEndian.Uint32(b[8:])
	e.Offender = Addr{}
	n := copy(e.Offender[:], b[size:])
	e.Offender.canonical(uint32(n))
}
