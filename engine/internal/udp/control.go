// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package udp

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// controlSize is the room for the control messages of one datagram: a stamp (64 bytes), a
// destination (40) and an extended error (64), with a reserve.
const controlSize = 192

// A control message (cmsg(3)) is a header of length, level and type, then data, padded
// to 8 bytes.
const (
	cmsgHeader = unix.SizeofCmsghdr
	cmsgAlign  = 8
)

// message is one control message.
type message struct {
	level, kind uint32
	data        []byte
}

// nextMessage splits the first control message off b. It reports false at the end and at
// the first message that does not fit: nothing after it can be trusted.
func nextMessage(b []byte) (m message, rest []byte, ok bool) {
	if len(b) < cmsgHeader {
		return message{}, nil, false
	}
	n := binary.NativeEndian.Uint64(b)
	if n < cmsgHeader || n > uint64(len(b)) {
		return message{}, nil, false
	}
	m.level = binary.NativeEndian.Uint32(b[8:])
	m.kind = binary.NativeEndian.Uint32(b[12:])
	m.data = b[cmsgHeader:n]
	next := (n + cmsgAlign - 1) &^ (cmsgAlign - 1)
	return m, b[min(next, uint64(len(b))):], true
}

func (m *message) is(level, kind uint32) bool { return m.level == level && m.kind == kind }

// control is what the control messages of a received datagram say. Its slices are empty
// if the message was absent or too short.
type control struct {
	stamp    int64  // CLOCK_REALTIME in nanoseconds, 0 if none
	pktinfo  []byte // an in_pktinfo or an in6_pktinfo
	extended []byte // a sock_extended_err and the offender's address
}

// parseControl reads control messages. Each step takes at least a header, so the length
// of b bounds the loop.
func parseControl(b []byte) (c control) {
	for m, rest, ok := nextMessage(b); ok; m, rest, ok = nextMessage(rest) {
		switch {
		case m.is(unix.SOL_SOCKET, unix.SCM_TIMESTAMPING):
			c.stamp = parseStamp(m.data)
		case m.is(unix.SOL_IP, unix.IP_PKTINFO) && len(m.data) >= unix.SizeofInet4Pktinfo:
			c.pktinfo = m.data[:unix.SizeofInet4Pktinfo]
		case m.is(unix.SOL_IPV6, unix.IPV6_PKTINFO) && len(m.data) >= unix.SizeofInet6Pktinfo:
			c.pktinfo = m.data[:unix.SizeofInet6Pktinfo]
		case (m.is(unix.SOL_IP, unix.IP_RECVERR) || m.is(unix.SOL_IPV6, unix.IPV6_RECVERR)) && len(m.data) >= extendedSize:
			c.extended = m.data
		}
	}
	return c
}

// parseStamp reads the software stamp, the first of the three timespecs of struct
// scm_timestamping (kernel: Documentation/networking/timestamping.rst, 2.1). A stamp
// that no clock can show counts as none.
func parseStamp(b []byte) int64 {
	if len(b) < 16 {
		return 0
	}
	sec := int64(binary.NativeEndian.Uint64(b))
	nsec := int64(binary.NativeEndian.Uint64(b[8:]))
	if sec < 0 || sec > maxStampSeconds || nsec < 0 || nsec >= 1e9 {
		return 0
	}
	return sec*1e9 + nsec
}

// maxStampSeconds keeps a stamp in nanoseconds within an int64: the year 2262.
const maxStampSeconds = (1<<63-1)/1_000_000_000 - 1

// destination returns the address that the datagram was written to, with port 0 and, if it
// is link-local, the scope on which it arrived. For a broadcast it is the address to answer
// from. Without a pktinfo it is the zero Addr.
func (c *control) destination() (a Addr) {
	switch p := c.pktinfo; len(p) {
	case unix.SizeofInet4Pktinfo:
		a = AddrFrom(netip.AddrPortFrom(netip.AddrFrom4([4]byte(p[4:8])), 0))
	case unix.SizeofInet6Pktinfo:
		a = AddrFrom(netip.AddrPortFrom(netip.AddrFrom16([16]byte(p)), 0))
		a.SetScope(binary.NativeEndian.Uint32(p[16:]))
	}
	return a
}

// putSource writes the control message for a datagram to an address that is to leave from
// local, through the interface device unless that is 0. The zero Addr leaves the source
// address to the routes. It returns the message's length.
func putSource(b *[controlSize]byte, to, local *Addr, device uint32) int {
	level, kind, size := uint32(unix.SOL_IPV6), uint32(unix.IPV6_PKTINFO), unix.SizeofInet6Pktinfo
	data := b[cmsgHeader:]
	if to.Is4() {
		level, kind, size = unix.SOL_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo
		binary.NativeEndian.PutUint32(data, device)
		copy(data[4:8], local[offAddr4:]) // spec_dst; the kernel does not read what follows
	} else {
		if device == 0 {
			device = local.Scope()
		}
		copy(data[:16], local[offAddr6:])
		binary.NativeEndian.PutUint32(data[16:], device)
	}
	binary.NativeEndian.PutUint64(b[:], uint64(cmsgHeader+size))
	binary.NativeEndian.PutUint32(b[8:], level)
	binary.NativeEndian.PutUint32(b[12:], kind)
	return (cmsgHeader + size + cmsgAlign - 1) &^ (cmsgAlign - 1)
}
