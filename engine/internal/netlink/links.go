//go:build linux

package netlink

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// LinkKind is the kind of a LinkChange.
type LinkKind uint8

// The kinds of change.
const (
	LinkUp LinkKind = iota + 1
	LinkDown
	LinkGone // the interface was deleted, or moved to another network namespace
	AddrAdded
	AddrRemoved
)

// LinkChange is one change of an interface of this host. The kernel also repeats what
// has not changed: LinkUp and LinkDown are a state, not a transition.
type LinkChange struct {
	Kind  LinkKind
	Index int        // of the interface
	Name  string     // of the interface, for LinkUp and LinkDown
	Addr  netip.Addr // for AddrAdded and AddrRemoved
}

// ErrResync says that changes were lost because they came faster than they were read.
// The caller must forget the state of all interfaces and call Ask.
var ErrResync = errors.New("netlink: changes of interfaces were lost; ask for their state again")

// Links receives changes of interfaces and their addresses.
type Links struct {
	listener
	// buf holds the largest datagram of a group: the kernel fills at most 8 KiB or a page,
	// whichever is more.
	buf [64 << 10]byte
	out []LinkChange
}

// OpenLinks starts to listen.
func OpenLinks() (*Links, error) {
	l, err := listen(unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR)
	if err != nil {
		return nil, err
	}
	return &Links{listener: l}, nil
}

// Ask makes Next return the present state of every interface as LinkUp or LinkDown. One
// goroutine at a time may call Ask or Next.
func (l *Links) Ask() error {
	b := appendHeader(nil, unix.RTM_GETLINK, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, 0)
	b = append(b, make([]byte, unix.SizeofIfInfomsg)...)
	setLength(b)
	_, err := l.file.Write(b)
	return failed("ask for the state of interfaces", err)
}

// Next waits for changes and returns them, at least one, in the order in which they
// happened; the slice is valid until the next call. ErrResync means that some are
// missing, and Next can be called again. Any other error is final: os.ErrClosed after
// Close. One goroutine at a time may call it; while it waits it holds no thread.
func (l *Links) Next() ([]LinkChange, error) {
	for {
		n, err := l.receive(l.buf[:])
		switch {
		case errors.Is(err, unix.ENOBUFS) || n > len(l.buf):
			return nil, ErrResync
		case err != nil:
			return nil, err
		}
		if l.out = appendChanges(l.out[:0], l.buf[:n]); len(l.out) > 0 {
			return l.out, nil
		}
	}
}

// appendChanges appends the changes in a datagram, and ignores messages of other kinds.
func appendChanges(out []LinkChange, datagram []byte) []LinkChange {
	for kind, body := range messages(datagram) {
		if c, ok := parseChange(kind, body); ok {
			out = append(out, c)
		}
	}
	return out
}

func parseChange(kind uint16, b []byte) (c LinkChange, ok bool) {
	switch kind {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		// A message of this family is about a bridge and its port.
		if len(b) < unix.SizeofIfInfomsg || b[0] == unix.AF_BRIDGE {
			return c, false
		}
		c.Index = linkIndex(b)
		if c.Kind = linkKind(kind, binary.NativeEndian.Uint32(b[8:])); c.Kind != LinkGone {
			c.Name = linkName(b[unix.SizeofIfInfomsg:])
		}
		return c, true
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		if len(b) < unix.SizeofIfAddrmsg {
			return c, false
		}
		c = LinkChange{Kind: AddrAdded, Index: linkIndex(b), Addr: localAddr(b[unix.SizeofIfAddrmsg:])}
		if kind == unix.RTM_DELADDR {
			c.Kind = AddrRemoved
		}
		return c, c.Addr.IsValid()
	}
	return c, false
}

// linkIndex returns the index in an ifinfomsg or an ifaddrmsg.
func linkIndex(b []byte) int { return int(int32(binary.NativeEndian.Uint32(b[4:]))) }

// linkKind returns the kind of a message about an interface with these flags.
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

// linkName returns the interface's name among the attributes of a link.
func linkName(b []byte) string {
	for kind, value := range attributes(b) {
		if kind == unix.IFLA_IFNAME {
			return unix.ByteSliceToString(value)
		}
	}
	return ""
}

// localAddr returns the host's own address among the attributes of an address: IFA_LOCAL
// if present, since IFA_ADDRESS is the other end of a point-to-point link.
func localAddr(b []byte) (addr netip.Addr) {
	for kind, value := range attributes(b) {
		ip, ok := netip.AddrFromSlice(value)
		switch {
		case ok && kind == unix.IFA_LOCAL:
			return ip
		case kind == unix.IFA_ADDRESS:
			addr = ip
		}
	}
	return addr
}
