// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

//go:build linux

package udp

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"systole/engine/internal/network"
)

// controlSize is the room for the control messages of one datagram: a stamp (64 bytes), a
// destination (40) and an extended error (64), with a reserve.
const controlSize = 192

// control is what the control messages (cmsg(3)) of a received datagram say.
type control struct {
	stamp    int64  // CLOCK_REALTIME in nanoseconds, 0 if none
	pktinfo  []byte // an in_pktinfo or an in6_pktinfo
	extended []byte // a sock_extended_err and the offender's address
}

// parseControl reads control messages, up to the first one that does not fit. Each step
// takes at least a header, so the length of b bounds the loop.
func parseControl(b []byte) (c control) {
	for len(b) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(b)
		if err != nil {
			return c
		}
		b = rest
		switch {
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_TIMESTAMPING:
			c.stamp = parseStamp(data)
		case h.Level == unix.SOL_IP && h.Type == unix.IP_PKTINFO,
			h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_PKTINFO:
			c.pktinfo = data
		case h.Level == unix.SOL_IP && h.Type == unix.IP_RECVERR,
			h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_RECVERR:
			c.extended = data
		}
	}
	return c
}

// parseStamp reads the software stamp, the first of the three timespecs of struct
// scm_timestamping (kernel: Documentation/networking/timestamping.rst, 2.1). A stamp
// that no clock can show counts as none.
func parseStamp(b []byte) int64 {
	if len(b) < int(unsafe.Sizeof(unix.Timespec{})) {
		return 0
	}
	t := (*unix.Timespec)(unsafe.Pointer(&b[0])) // of the machine's word: 32 bits end in 2038
	sec, nsec := t.Unix()
	if sec < 0 || sec > maxStampSeconds || nsec < 0 || nsec >= 1e9 {
		return 0
	}
	return sec*1e9 + nsec
}

// maxStampSeconds keeps a stamp in nanoseconds within an int64: the year 2262.
const maxStampSeconds = (1<<63-1)/1_000_000_000 - 1

// destination returns the address that the datagram was written to, with port 0 and, if it
// is link-local, the scope on which it arrived. For a broadcast it is the address to answer
// from. Without a pktinfo it is the zero Addr. The length of a pktinfo is that of its family.
func (c *control) destination() (a Addr) {
	switch p := c.pktinfo; len(p) {
	case unix.SizeofInet4Pktinfo:
		a = network.AddrFrom(netip.AddrPortFrom(netip.AddrFrom4([4]byte(p[4:8])), 0))
	case unix.SizeofInet6Pktinfo:
		a = network.AddrFrom(netip.AddrPortFrom(netip.AddrFrom16([16]byte(p)), 0))
		a.SetScope(binary.NativeEndian.Uint32(p[16:]))
	}
	return a
}

// putStampRequest writes the control message that asks for the transmit stamp of one datagram (kernel:
// Documentation/networking/timestamping.rst, 1.3.4). It returns the message's length.
func putStampRequest(b []byte) int {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = unix.SOL_SOCKET, unix.SO_TIMESTAMPING
	h.SetLen(unix.CmsgLen(4))
	binary.NativeEndian.PutUint32(b[unix.CmsgLen(0):], unix.SOF_TIMESTAMPING_TX_SOFTWARE)
	return unix.CmsgSpace(4)
}

// putSource writes the control message for a datagram to an address that is to leave from
// local, through the interface device unless that is 0. The zero Addr leaves the source
// address to the routes. It returns the message's length.
func putSource(b []byte, to, local *Addr, device uint32) int {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	data := b[unix.CmsgLen(0):]
	size := unix.SizeofInet6Pktinfo
	if to.Is4() {
		size = unix.SizeofInet4Pktinfo
		h.Level, h.Type = unix.SOL_IP, unix.IP_PKTINFO
		binary.NativeEndian.PutUint32(data, device)
		copy(data[4:8], local[network.OffAddr4:]) // spec_dst; the kernel does not read what follows
	} else {
		h.Level, h.Type = unix.SOL_IPV6, unix.IPV6_PKTINFO
		if device == 0 {
			device = local.Scope()
		}
		copy(data[:16], local[network.OffAddr6:])
		binary.NativeEndian.PutUint32(data[16:], device)
	}
	h.SetLen(unix.CmsgLen(size))
	return unix.CmsgSpace(size)
}
