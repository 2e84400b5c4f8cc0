//go:build linux

package netlink

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Routes asks the kernel for routes. One goroutine at a time may use it.
type Routes struct {
	fd       int
	sequence uint32
	request  []byte     // at most a header, an rtmsg, an IPv6 address and an interface: 56 bytes
	answer   [2048]byte // a route, which has no long attributes, or an error that quotes the request
}

// OpenRoutes opens the socket.
func OpenRoutes() (*Routes, error) {
	fd, err := open(0)
	if err != nil {
		return nil, err
	}
	return &Routes{fd: fd, request: make([]byte, 0, 64)}, nil
}

// Close closes the socket.
func (r *Routes) Close() error { return failed("close the socket for routes", unix.Close(r.fd)) }

// Route is the way of datagrams to an address.
type Route struct {
	Device int        // index of the interface through which they leave; 0: there is no route
	Source netip.Addr // their source address, without a zone
	Local  bool       // the destination is an address of this host
}

// To returns the route to addr, through the interface device unless that is 0. It ignores
// a zone of addr. It makes two system calls, does not wait and does not allocate. An error
// means that the kernel gave no usable answer.
func (r *Routes) To(addr netip.Addr, device int) (Route, error) {
	if !addr.IsValid() {
		return Route{}, nil
	}
	body := [unix.SizeofRtMsg]byte{unix.AF_INET6, byte(addr.BitLen())}
	if addr.Is4() {
		body[0] = unix.AF_INET
	}
	r.begin(unix.RTM_GETROUTE, body[:])
	r.appendAddr(unix.RTA_DST, addr)
	if device != 0 {
		var index [4]byte
		binary.NativeEndian.PutUint32(index[:], uint32(device))
		r.request = appendAttribute(r.request, unix.RTA_OIF, index[:])
	}
	b, err := r.exchange()
	if err != nil {
		return Route{}, err
	}
	route, err := parseRoute(b)
	return route, failed("ask for a route", err)
}

// IsLocal reports whether addr, on the interface scope unless that is 0, is an address of
// this host. It costs as much as To.
func (r *Routes) IsLocal(addr netip.Addr, scope int) (bool, error) {
	if !addr.Is6() {
		route, err := r.To(addr, 0)
		return route.Local, err
	}
	body := [unix.SizeofIfAddrmsg]byte{unix.AF_INET6}
	binary.NativeEndian.PutUint32(body[4:], uint32(scope))
	r.begin(unix.RTM_GETADDR, body[:])
	r.appendAddr(unix.IFA_ADDRESS, addr)
	b, err := r.exchange()
	if err != nil {
		return false, err
	}
	return binary.NativeEndian.Uint16(b[4:]) == unix.RTM_NEWADDR, nil // an error means no
}

// begin starts a request.
func (r *Routes) begin(kind uint16, body []byte) {
	r.sequence++
	r.request = append(appendHeader(r.request[:0], kind, unix.NLM_F_REQUEST, r.sequence), body...)
}

// appendAddr appends an address to the request.
func (r *Routes) appendAddr(kind uint16, addr netip.Addr) {
	ip := addr.As16()
	value := ip[:]
	if addr.Is4() {
		value = ip[12:]
	}
	r.request = appendAttribute(r.request, kind, value)
}

// exchange sends the request and returns the answer, which has at least a header.
func (r *Routes) exchange() ([]byte, error) {
	setLength(r.request)
	if _, err := unix.Write(r.fd, r.request); err != nil {
		return nil, failed("ask for a route", err)
	}
	// The kernel answers within the call. At most one answer to an earlier request is left,
	// and is skipped.
	for range 3 {
		n, err := unix.Read(r.fd, r.answer[:])
		if err != nil {
			return nil, failed("read a route", err)
		}
		if b := r.answer[:n]; n >= headerSize && binary.NativeEndian.Uint32(b[8:]) == r.sequence {
			return b, nil
		}
	}
	return nil, failed("read a route", errNoRoute)
}

var errNoRoute = errors.New("the kernel's answer has no route")

// parseRoute returns the route in an answer, the zero Route if the answer is that there is
// none.
func parseRoute(b []byte) (Route, error) {
	for kind, body := range messages(b) {
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
			route := routeOf(body[unix.SizeofRtMsg:])
			if route.Local = body[7] == unix.RTN_LOCAL; route.Device != 0 {
				return route, nil
			}
		}
	}
	return Route{}, errNoRoute
}

// routeOf returns the interface and the source address among the attributes of a route.
func routeOf(b []byte) (route Route) {
	for kind, value := range attributes(b) {
		switch {
		case kind == unix.RTA_OIF && len(value) >= 4:
			route.Device = int(int32(binary.NativeEndian.Uint32(value)))
		case kind == unix.RTA_PREFSRC:
			route.Source, _ = netip.AddrFromSlice(value)
		}
	}
	return route
}

// routeGroups are routes, the rules that choose among tables, and next hops.
const routeGroups = unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE | unix.RTMGRP_IPV4_RULE |
	1<<(unix.RTNLGRP_IPV6_RULE-1) | 1<<(unix.RTNLGRP_NEXTHOP-1)

// RouteChanges receives the fact that routes changed. It is apart from Links so that a
// routing daemon, which changes thousands of routes, cannot make Links lose changes.
type RouteChanges struct {
	listener
	buf [1]byte // the changes themselves are not read
}

// OpenRouteChanges starts to listen.
func OpenRouteChanges() (*RouteChanges, error) {
	l, err := listen(routeGroups)
	if err != nil {
		return nil, err
	}
	return &RouteChanges{listener: l}, nil
}

// maxDrained bounds how many queued changes one Next drops.
const maxDrained = 4096

// Next waits until a route changed, and drops the changes that are queued then. An error
// is final: os.ErrClosed after Close. One goroutine at a time may call it; while it waits
// it holds no thread.
func (c *RouteChanges) Next() error {
	_, err := c.receive(c.buf[:])
	if err != nil && !errors.Is(err, unix.ENOBUFS) { // the queue was full
		return err
	}
	return c.read(func(fd uintptr) bool {
		for range maxDrained {
			if _, err := unix.Read(int(fd), c.buf[:]); errors.Is(err, unix.EAGAIN) {
				break
			}
		}
		return true
	})
}
