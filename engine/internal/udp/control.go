// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package udp

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// controlSize is the room for the control messages of one received datagram: a stamp
// (64 bytes), an overflow count (24) and a destination (40), with a reserve.
const controlSize = 192

// A control message (cmsg(3)) is a header of length, level and type, then data, padded
// to 8 bytes.
const (
	cmsgHeader = unix.SizeofCmsghdr
	cmsgAlign  = 8
)

// control is one control message.
type control struct {
	level, kind uint32
	data        []byte
}

// nextControl splits the first control message off b. It reports false at the end and at
// the first message that does not fit what is left: nothing after it can be trusted.
func nextControl(b []byte) (c control, rest []byte, ok bool) {
	if len(b) < cmsgHeader {
		return control{}, nil, false
	}
	n := binary.NativeEndian.Uint64(b)
	if n < cmsgHeader || n > uint64(len(b)) {
		return control{}, nil, false
	}
	c.level = binary.NativeEndian.Uint32(b[8:])
	c.kind = binary.NativeEndian.Uint32(b[12:])
	c.data = b[cmsgHeader:n]
	next := (n + cmsgAlign - 1) &^ (cmsgAlign - 1)
	if next >= uint64(len(b)) {
		return c, nil, true
	}
	return c, b[next:], true
}

// received is what the control messages of a datagram tell.
type received struct {
	stamp       int64  // CLOCK_REALTIME in nanoseconds, 0 if none
	overflow    uint32 // datagrams dropped before it, since Open
	hasOverflow bool
}

// parseReceived reads a received datagram's control messages. Each step takes at least
// a header, so the length of b bounds the loop.
func parseReceived(b []byte) (r received) {
	for {
		c, rest, ok := nextControl(b)
		if !ok {
			return r
		}
		b = rest
		if c.level != unix.SOL_SOCKET {
			continue
		}
		switch c.kind {
		case unix.SCM_TIMESTAMPING:
			r.stamp = parseStamp(c.data)
		case unix.SO_RXQ_OVFL:
			if len(c.data) >= 4 {
				r.overflow, r.hasOverflow = binary.NativeEndian.Uint32(c.data), true
			}
		}
	}
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

// parseDestination reads the address that a received datagram was written to, with port
// 0, out of its control messages; a link-local one has the scope on which it arrived. For
// a broadcast it is the address from which to answer.
func parseDestination(b []byte) (a Addr) {
	for {
		c, rest, ok := nextControl(b)
		if !ok {
			return Addr{}
		}
		b = rest
		switch {
		case c.level == unix.SOL_IP && c.kind == unix.IP_PKTINFO && len(c.data) >= unix.SizeofInet4Pktinfo:
			binary.NativeEndian.PutUint16(a[offFamily:], unix.AF_INET)
			copy(a[offAddr4:], c.data[4:8])
			return a
		case c.level == unix.SOL_IPV6 && c.kind == unix.IPV6_PKTINFO && len(c.data) >= unix.SizeofInet6Pktinfo:
			binary.NativeEndian.PutUint16(a[offFamily:], unix.AF_INET6)
			copy(a[offAddr6:], c.data[:16])
			if a.isLinkLocal() {
				copy(a[offScope:offScope+4], c.data[16:20])
			}
			return a
		}
	}
}

// sourceControl is the room for the control message of a datagram to send: a source.
const sourceControl = cmsgHeader + (unix.SizeofInet6Pktinfo+cmsgAlign-1)&^(cmsgAlign-1)

// putSource writes the control message that sends a datagram from a local address, of
// which only the family counts if it is unspecified, through a device unless that is 0.
// It returns the message's length.
func putSource(b *[sourceControl]byte, local *Addr, device uint32) int {
	if local.Is4() {
		binary.NativeEndian.PutUint64(b[:], cmsgHeader+unix.SizeofInet4Pktinfo)
		binary.NativeEndian.PutUint32(b[8:], unix.SOL_IP)
		binary.NativeEndian.PutUint32(b[12:], unix.IP_PKTINFO)
		binary.NativeEndian.PutUint32(b[16:], device)
		copy(b[20:24], local[offAddr4:]) // spec_dst; the kernel does not read what follows
		return (cmsgHeader + unix.SizeofInet4Pktinfo + cmsgAlign - 1) &^ (cmsgAlign - 1)
	}
	binary.NativeEndian.PutUint64(b[:], cmsgHeader+unix.SizeofInet6Pktinfo)
	binary.NativeEndian.PutUint32(b[8:], unix.SOL_IPV6)
	binary.NativeEndian.PutUint32(b[12:], unix.IPV6_PKTINFO)
	copy(b[16:32], local[offAddr6:])
	if scope := local.scope(); scope != 0 && device == 0 {
		device = scope
	}
	binary.NativeEndian.PutUint32(b[32:], device)
	return sourceControl
}
