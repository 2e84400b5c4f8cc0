package netlink

import (
	"encoding/binary"
	"errors"
	"net/netip"
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
	// routeRequest is a header, an rtmsg, an address attribute of IPv6 and an interface.
	routeRequest = netlinkHeader + unix.SizeofRtMsg + attrHeader + 16 + attrHeader + 4
	// routeAnswer holds a route, which has no long attributes, or an error that quotes
	// the request.
	routeAnswer = 2048
)

// OpenRoutes opens the socket.
func OpenRoutes() (*Routes, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, failed("open a socket to ask for routes", err)
	}
	return &Routes{fd: fd}, nil
}

// Route is what the kernel says of the way to an address.
type Route struct {
	Device int        // the interface through which a datagram would leave; 0: there is no way
	Source netip.Addr // the address it would have, without a zone
	Local  bool       // the address is this host's own
}

// To returns the route of a datagram to addr, which is to leave through the interface
// device unless that is 0. A zone of addr is ignored. To makes two system calls, does not
// wait, and allocates nothing. An error says that the kernel gave no usable answer.
func (r *Routes) To(addr netip.Addr, device int) (Route, error) {
	if !addr.IsValid() {
		return Route{}, nil
	}
	n := r.begin(unix.RTM_GETROUTE, unix.SizeofRtMsg)
	r.request[netlinkHeader] = family(addr)
	r.request[netlinkHeader+1] = byte(addr.BitLen())
	n = r.address(n, unix.RTA_DST, addr)
	if device != 0 {
		var index [4]byte
		binary.NativeEndian.PutUint32(index[:], uint32(device))
		n = r.attribute(n, unix.RTA_OIF, index[:])
	}
	b, err := r.exchange(n)
	if err != nil {
		return Route{}, err
	}
	return routeOf(b)
}

// IsLocal reports whether addr, on the interface scope unless that is 0, is this host's
// own. It costs what To costs.
func (r *Routes) IsLocal(addr netip.Addr, scope int) (bool, error) {
	if !addr.Is6() {
		way, err := r.To(addr, 0)
		return way.Local, err
	}
	n := r.begin(unix.RTM_GETADDR, unix.SizeofIfAddrmsg)
	body := r.request[netlinkHeader:]
	body[0] = unix.AF_INET6
	binary.NativeEndian.PutUint32(body[4:], uint32(scope))
	b, err := r.exchange(r.address(n, unix.IFA_ADDRESS, addr))
	if err != nil {
		return false, err
	}
	return binary.NativeEndian.Uint16(b[4:]) == unix.RTM_NEWADDR, nil // else an error that says no
}

// family returns the address family of addr.
func family(addr netip.Addr) byte {
	if addr.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// exchange sends the first n bytes of the request and returns the answer, which has a
// header at least.
func (r *Routes) exchange(n int) ([]byte, error) {
	const op = "ask for a route"
	binary.NativeEndian.PutUint32(r.request[:], uint32(n))
	if _, _, errno := unix.Syscall6(unix.SYS_SENDTO, uintptr(r.fd), uintptr(unsafe.Pointer(&r.request)), uintptr(n), 0, 0, 0); errno != 0 {
		return nil, failed(op, errno)
	}
	// The kernel answers within the call. What is left of an earlier question is
	// passed by, of which there is no more than one.
	for range 3 {
		k, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(r.fd), uintptr(unsafe.Pointer(&r.answer)), routeAnswer, 0, 0, 0)
		if errno != 0 {
			return nil, failed(op, errno)
		}
		b := r.answer[:k]
		if len(b) >= netlinkHeader && binary.NativeEndian.Uint32(b[8:]) == r.sequence {
			return b, nil
		}
	}
	return nil, failed(op, unix.EPROTO)
}

// begin starts a request with an empty body and returns its length so far.
func (r *Routes) begin(kind uint16, body int) int {
	clear(r.request[:])
	r.sequence++
	binary.NativeEndian.PutUint16(r.request[4:], kind)
	binary.NativeEndian.PutUint16(r.request[6:], unix.NLM_F_REQUEST)
	binary.NativeEndian.PutUint32(r.request[8:], r.sequence)
	return netlinkHeader + body
}

// attribute appends an attribute to the n bytes of the request and returns their number.
func (r *Routes) attribute(n int, kind uint16, value []byte) int {
	b := r.request[n:]
	binary.NativeEndian.PutUint16(b, uint16(attrHeader+len(value)))
	binary.NativeEndian.PutUint16(b[2:], kind)
	return n + attrHeader + copy(b[attrHeader:], value)
}

// address appends an address as attribute does.
func (r *Routes) address(n int, kind uint16, addr netip.Addr) int {
	if addr.Is4() {
		ip := addr.As4()
		return r.attribute(n, kind, ip[:])
	}
	ip := addr.As16()
	return r.attribute(n, kind, ip[:])
}

// ErrNoAnswer says that the kernel answered with something that is no route.
var ErrNoAnswer = errors.New("netlink: the kernel's answer holds no route")

// routeOf reads an answer.
func routeOf(b []byte) (Route, error) {
	n := int(binary.NativeEndian.Uint32(b))
	if n < netlinkHeader || n > len(b) {
		return Route{}, ErrNoAnswer
	}
	kind, body := binary.NativeEndian.Uint16(b[4:]), b[netlinkHeader:n]
	switch {
	case kind == unix.NLMSG_ERROR && len(body) >= 4:
		switch errno := unix.Errno(-int32(binary.NativeEndian.Uint32(body))); errno {
		case unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.ENODEV, // none, or unreachable
			unix.EACCES, unix.EINVAL: // prohibit, blackhole
			return Route{}, nil
		default:
			return Route{}, errno
		}
	case kind == unix.RTM_NEWROUTE && len(body) >= unix.SizeofRtMsg:
		way := attributesOf(body[unix.SizeofRtMsg:])
		if way.Local = body[7] == unix.RTN_LOCAL; way.Device != 0 {
			return way, nil
		}
	}
	return Route{}, ErrNoAnswer
}

// attributesOf reads RTA_OIF and RTA_PREFSRC among the attributes.
func attributesOf(b []byte) (way Route) {
	for len(b) >= attrHeader {
		n := int(binary.NativeEndian.Uint16(b))
		if n < attrHeader || n > len(b) {
			break
		}
		switch value := b[attrHeader:n]; binary.NativeEndian.Uint16(b[2:]) {
		case unix.RTA_OIF:
			if len(value) >= 4 {
				way.Device = int(int32(binary.NativeEndian.Uint32(value)))
			}
		case unix.RTA_PREFSRC:
			way.Source, _ = netip.AddrFromSlice(value)
		}
		b = b[min(align(n), len(b)):]
	}
	return way
}

// Close closes the socket.
func (r *Routes) Close() error { return failed("close the socket for routes", unix.Close(r.fd)) }
