// Package netlink asks the kernel for the links, addresses and routes of this host, and
// receives their changes (rtnetlink(7)). It needs no privilege. Each socket is in the
// network namespace of the thread that opened it.
package netlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// LinkKind says what happened to an interface.
type LinkKind uint8

// The kinds of change.
const (
	LinkUp LinkKind = iota + 1
	LinkDown
	LinkGone // the interface was deleted, or moved to another network namespace
	AddrAdded
	AddrRemoved
)

// String returns the kind in words.
func (k LinkKind) String() string {
	names := [...]string{LinkUp: "link up", LinkDown: "link down", LinkGone: "link gone", AddrAdded: "address added", AddrRemoved: "address removed"}
	if int(k) < len(names) && names[k] != "" {
		return names[k]
	}
	return "unknown"
}

// LinkChange is one change of an interface of this host. The kernel also repeats what
// has not changed: LinkUp and LinkDown tell a state, not a transition.
type LinkChange struct {
	Kind  LinkKind
	Index int        // of the interface
	Name  string     // for LinkUp and LinkDown: the interface's
	Addr  netip.Addr // for AddrAdded and AddrRemoved
}

// ErrResync says that changes were lost because they came faster than they were read:
// forget what is known of the interfaces, and Ask.
var ErrResync = errors.New("netlink: changes of interfaces were lost; ask for their state anew")

// Links hears of changes of interfaces and their addresses: a netlink socket
// (rtnetlink(7)) in the network namespace of the thread that opened it.
type Links struct {
	file *os.File
	conn netlinkConn
	buf  [linksBuffer]byte
	out  []LinkChange
}

// netlinkConn is the part of syscall.RawConn that Links uses.
type netlinkConn interface {
	Read(f func(fd uintptr) (done bool)) error
	Write(f func(fd uintptr) (done bool)) error
}

// linksBuffer holds the largest datagram of a netlink group: the kernel fills at most 8
// KiB or a page, whichever is more.
const linksBuffer = 64 << 10

// OpenLinks starts to listen. It needs no privilege.
func OpenLinks() (*Links, error) {
	file, conn, err := openGroups("listen for changes of interfaces",
		unix.RTMGRP_LINK|unix.RTMGRP_IPV4_IFADDR|unix.RTMGRP_IPV6_IFADDR)
	if err != nil {
		return nil, err
	}
	return &Links{file: file, conn: conn}, nil
}

// openGroups returns a netlink socket that hears of groups, in the network namespace of
// the calling thread.
func openGroups(op string, groups uint32) (*os.File, netlinkConn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, nil, failed(op, err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return nil, nil, errors.Join(failed(op, err), unix.Close(fd))
	}
	file := os.NewFile(uintptr(fd), "netlink")
	conn, err := file.SyscallConn()
	if err != nil {
		return nil, nil, errors.Join(failed(op, err), file.Close())
	}
	return file, conn, nil
}

// failed returns a non-nil err with the step that failed.
func failed(step string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("netlink: %s: %w", step, err)
}

// Ask lets Next return the present state of every interface as LinkUp or LinkDown. One
// goroutine at a time may call it or Next.
func (l *Links) Ask() error {
	var b [netlinkHeader + unix.SizeofIfInfomsg]byte
	binary.NativeEndian.PutUint32(b[:], uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], unix.RTM_GETLINK)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	var err error
	writeErr := l.conn.Write(func(fd uintptr) bool {
		err = unix.Sendto(int(fd), b[:], 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		return true
	})
	if writeErr != nil {
		return os.ErrClosed
	}
	return failed("ask for the state of interfaces", err)
}

// Next waits for changes and returns them, at least one, in the order in which they
// happened; the slice is valid until the next call. ErrResync means that some are
// missing, and Next can be called again. Any other error is final: os.ErrClosed after
// Close. One goroutine at a time may call it; while it waits it holds no thread.
func (l *Links) Next() ([]LinkChange, error) {
	for {
		n, err := l.read()
		if err != nil {
			return nil, err
		}
		if l.out = appendChanges(l.out[:0], l.buf[:n]); len(l.out) > 0 {
			return l.out, nil
		}
	}
}

// read waits for a datagram of the kernel's and returns its length, 0 for others'.
func (l *Links) read() (n int, err error) {
	waitErr := l.conn.Read(func(fd uintptr) bool {
		var from unix.Sockaddr
		n, from, err = unix.Recvfrom(int(fd), l.buf[:], unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		// Anybody with CAP_NET_ADMIN can write to us; only the kernel has port 0.
		if kernel, ok := from.(*unix.SockaddrNetlink); err == nil && (!ok || kernel.Pid != 0) {
			n = 0
		}
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
	switch {
	case waitErr != nil:
		return 0, os.ErrClosed // nothing else ends the wait
	case errors.Is(err, unix.ENOBUFS) || n > len(l.buf):
		return 0, ErrResync
	case err != nil:
		return 0, failed("read changes of interfaces", err)
	}
	return n, nil
}

// Close ends listening; a Next that waits returns os.ErrClosed. Any goroutine may call it.
func (l *Links) Close() error { return l.file.Close() }

// Sizes and offsets of netlink(7) and rtnetlink(7). Fields are in host order, messages
// and attributes are padded to 4 bytes.
const (
	netlinkHeader = unix.SizeofNlMsghdr
	attrHeader    = unix.SizeofRtAttr
	netlinkAlign  = 4
)

// appendChanges appends the changes that a netlink datagram tells, and passes by what
// it does not understand. It stops at the first message that does not fit what is left.
func appendChanges(out []LinkChange, b []byte) []LinkChange {
	for len(b) >= netlinkHeader {
		n := int(binary.NativeEndian.Uint32(b))
		if n < netlinkHeader || n > len(b) {
			return out
		}
		kind := binary.NativeEndian.Uint16(b[4:])
		if c, ok := parseChange(kind, b[netlinkHeader:n]); ok {
			out = append(out, c)
		}
		b = b[min(align(n), len(b)):]
	}
	return out
}

// align returns n padded.
func align(n int) int { return (n + netlinkAlign - 1) &^ (netlinkAlign - 1) }

// parseChange reads one message without its header.
func parseChange(kind uint16, b []byte) (c LinkChange, ok bool) {
	switch kind {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if len(b) < unix.SizeofIfInfomsg {
			return c, false
		}
		c.Index = int(int32(binary.NativeEndian.Uint32(b[4:])))
		if c.Kind = linkKind(kind, binary.NativeEndian.Uint32(b[8:])); c.Kind != LinkGone {
			c.Name = linkName(b[unix.SizeofIfInfomsg:])
		}
		return c, b[0] != unix.AF_BRIDGE // that is about a bridge and its port
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		if len(b) < unix.SizeofIfAddrmsg {
			return c, false
		}
		c.Index = int(int32(binary.NativeEndian.Uint32(b[4:])))
		c.Kind = AddrAdded
		if kind == unix.RTM_DELADDR {
			c.Kind = AddrRemoved
		}
		c.Addr = localAddr(b[unix.SizeofIfAddrmsg:])
		return c, c.Addr.IsValid()
	}
	return c, false
}

// linkKind returns what a message of that kind says of an interface with the flags.
func linkKind(kind uint16, flags uint32) LinkKind {
	const usable = unix.IFF_UP | unix.IFF_RUNNING
	switch {
	case kind == unix.RTM_DELLINK:
		return LinkGone
	case flags&usable == usable:
		return LinkUp
	}
	return LinkDown
}

// linkName returns IFLA_IFNAME among the attributes.
func linkName(b []byte) string {
	for len(b) >= attrHeader {
		n := int(binary.NativeEndian.Uint16(b))
		if n < attrHeader || n > len(b) {
			break
		}
		if binary.NativeEndian.Uint16(b[2:]) == unix.IFLA_IFNAME {
			name, _, _ := strings.Cut(string(b[attrHeader:n]), "\x00")
			return name
		}
		b = b[min(align(n), len(b)):]
	}
	return ""
}

// localAddr returns the host's own address among the attributes: IFA_LOCAL where there
// is one, since on a point-to-point link IFA_ADDRESS is the other end.
func localAddr(b []byte) (addr netip.Addr) {
	for len(b) >= attrHeader {
		n := int(binary.NativeEndian.Uint16(b))
		if n < attrHeader || n > len(b) {
			return addr
		}
		switch binary.NativeEndian.Uint16(b[2:]) {
		case unix.IFA_LOCAL:
			if local, ok := netip.AddrFromSlice(b[attrHeader:n]); ok {
				return local
			}
		case unix.IFA_ADDRESS:
			addr, _ = netip.AddrFromSlice(b[attrHeader:n])
		}
		b = b[min(align(n), len(b)):]
	}
	return addr
}
