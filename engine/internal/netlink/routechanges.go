package netlink

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// RouteChanges hears that routes changed: a netlink socket of its own (rtnetlink(7)), so
// that a flood of routes, as a routing daemon makes, costs no change of a link. It is in
// the network namespace of the thread that opened it.
type RouteChanges struct {
	file *os.File
	conn netlinkConn
	buf  [1]byte // what changed is not read
}

// routeGroups are routes, the rules that choose among tables, and next hops.
const routeGroups = unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE | unix.RTMGRP_IPV4_RULE |
	1<<(unix.RTNLGRP_IPV6_RULE-1) | 1<<(unix.RTNLGRP_NEXTHOP-1)

// OpenRouteChanges starts to listen. It needs no privilege.
func OpenRouteChanges() (*RouteChanges, error) {
	file, conn, err := openGroups("listen for changes of routes", routeGroups)
	if err != nil {
		return nil, err
	}
	return &RouteChanges{file: file, conn: conn}, nil
}

// routeReads bounds how many messages one Next takes.
const routeReads = 4096

// Next waits until something changed, and takes what came up to then. An error is final:
// os.ErrClosed after Close. One goroutine at a time may call it; while it waits it holds no
// thread.
func (c *RouteChanges) Next() error {
	var err error
	waitErr := c.conn.Read(func(fd uintptr) bool {
		changed := false
		for range routeReads {
			_, _, err = unix.Recvfrom(int(fd), c.buf[:], unix.MSG_DONTWAIT|unix.MSG_TRUNC)
			switch {
			case err == nil, errors.Is(err, unix.ENOBUFS): // too many to keep
				changed = true
			case errors.Is(err, unix.EAGAIN):
				err = nil
				return changed
			case !errors.Is(err, unix.EINTR):
				return true
			}
		}
		err = nil
		return true
	})
	if waitErr != nil {
		return os.ErrClosed // nothing else ends the wait
	}
	return failed("read changes of routes", err)
}

// Close ends listening; a Next that waits returns os.ErrClosed. Any goroutine may call it.
func (c *RouteChanges) Close() error { return c.file.Close() }
