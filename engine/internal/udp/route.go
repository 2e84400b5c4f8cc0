package udp

import (
	"encoding/binary"
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Routes asks the kernel which way a datagram would take: a netlink socket
// (rtnetlink(7)) in the network namespace of the thread that opened it. It belongs to the
// goroutine that uses it.
type Routes struct {
	fd       int
	sequence uint32
	request  [routeRequest]byte
	answer   [routeAnswer]byte
}

const (
	// routeRequest is a header, an rtmsg and one address attribute of IPv6.
	routeRequest = netlinkHeader + unix.SizeofRtMsg + attrHeader + 16
	// routeAnswer holds a route, which has no long attributes, or an error that quotes
	// the request.
	routeAnswer = 2048
)

// OpenRoutes returns a Routes or an *Error. It needs no privilege.
func OpenRoutes() (*Routes, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, failed("open a socket to ask for routes", err, "raise the limit of open files")
	}
	return &Routes{fd: fd}, nil
}

// Interface returns the index of the interface through which a datagram to addr would
// leave, or 0 if there is no way to it: no route, or an address that is none. It makes
// two system calls, does not wait, and allocates nothing. An error says that
// the kernel gave no usable answer.
func (r *Routes) Interface(addr *Addr) (int, error) {
	const op = "ask for a route"
	if scope := addr.scope(); scope != 0 {
		return int(scope), nil
	}
	n := r.build(addr)
	if n == 0 {
		return 0, nil
	}
	if _, _, errno := unix.Syscall6(unix.SYS_SENDTO, uintptr(r.fd), uintptr(unsafe.Pointer(&r.request)), uintptr(n), 0, 0, 0); errno != 0 {
		return 0, failed(op, errno, "")
	}
	// The kernel answers within the call. What is left of an earlier question is
	// passed by, of which there is no more than one.
	for range 3 {
		k, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(r.fd), uintptr(unsafe.Pointer(&r.answer)), routeAnswer, 0, 0, 0)
		if errno != 0 {
			return 0, failed(op, errno, "")
		}
		b := r.answer[:k]
		if len(b) < netlinkHeader || binary.NativeEndian.Uint32(b[8:]) != r.sequence {
			continue
		}
		return routeOf(b)
	}
	return 0, failed(op, unix.EPROTO, "")
}

// build writes the request and returns its length, 0 if addr is no address.
func (r *Routes) build(addr *Addr) int {
	ip := addr.ip()
	if len(ip) == 0 {
		return 0
	}
	b := r.request[:]
	clear(b)
	n := netlinkHeader + unix.SizeofRtMsg + attrHeader + len(ip)
	r.sequence++
	binary.NativeEndian.PutUint32(b, uint32(n))
	binary.NativeEndian.PutUint16(b[4:], unix.RTM_GETROUTE)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST)
	binary.NativeEndian.PutUint32(b[8:], r.sequence)
	b[netlinkHeader] = byte(addr.family())
	b[netlinkHeader+1] = byte(8 * len(ip)) // the destination's length in bits
	attr := b[netlinkHeader+unix.SizeofRtMsg:]
	binary.NativeEndian.PutUint16(attr, uint16(attrHeader+len(ip)))
	binary.NativeEndian.PutUint16(attr[2:], unix.RTA_DST)
	copy(attr[attrHeader:], ip)
	return n
}

// ErrNoAnswer says that the kernel answered with something that is no route.
var ErrNoAnswer = errors.New("udp: the kernel's answer holds no route")

// routeOf reads an answer.
func routeOf(b []byte) (int, error) {
	n := int(binary.NativeEndian.Uint32(b))
	if n < netlinkHeader || n > len(b) {
		return 0, ErrNoAnswer
	}
	kind, body := binary.NativeEndian.Uint16(b[4:]), b[netlinkHeader:n]
	switch {
	case kind == unix.NLMSG_ERROR && len(body) >= 4:
		switch errno := unix.Errno(-int32(binary.NativeEndian.Uint32(body))); errno {
		case unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.ENODEV:
			return 0, nil
		default:
			return 0, errno
		}
	case kind == unix.RTM_NEWROUTE && len(body) >= unix.SizeofRtMsg:
		return outInterface(body[unix.SizeofRtMsg:])
	}
	return 0, ErrNoAnswer
}

// outInterface returns RTA_OIF among the attributes.
func outInterface(b []byte) (int, error) {
	for len(b) >= attrHeader {
		n := int(binary.NativeEndian.Uint16(b))
		if n < attrHeader || n > len(b) {
			break
		}
		if binary.NativeEndian.Uint16(b[2:]) == unix.RTA_OIF && n >= attrHeader+4 {
			return int(int32(binary.NativeEndian.Uint32(b[attrHeader:]))), nil
		}
		b = b[min(align(n), len(b)):]
	}
	return 0, ErrNoAnswer
}

// Close closes the socket.
func (r *Routes) Close() error { return failed("close the socket for routes", unix.Close(r.fd), "") }
