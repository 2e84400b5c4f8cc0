//go:build linux

package udp

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"systole/engine/internal/network"
)

// errorBatch is how many entries of an error queue one system call reads.
const errorBatch = 16

// Returned is one entry of a socket's error queue.
type Returned struct {
	network.Returned
	Errno    unix.Errno // the error that the kernel makes of it; ENOMSG for a stamp
	Offender Addr       // who sent the ICMP message, port 0; zero if unknown
}

// ErrorReader reads error queues. It serves any number of sockets, one after the other.
type ErrorReader struct {
	batch
	entries [errorBatch]Returned
}

// NewErrorReader returns an ErrorReader, about 50 KiB.
func NewErrorReader() *ErrorReader {
	return &ErrorReader{batch: newBatch(errorBatch, errorControlSize)}
}

// errorControlSize is the room for the control messages of an entry. Where a BPF program at tc has seen
// an ICMP message, the kernel takes the memory that the program used for a flag, and puts a
// SCM_TIMESTAMPING_OPT_STATS with the quoted datagram before the error (6.18,
// __sock_recv_timestamp; ip_icmp_error does not clear opt_stats).
const errorControlSize = controlSize + unix.SizeofCmsghdr + slotSize

// Read takes entries off the error queue and returns them, none if it was empty. They are
// valid until the next Read. It never blocks. An entry that cannot be understood is
// returned without Errno and Offender. The socket needs Options.Errors.
func (r *ErrorReader) Read(s *Socket) ([]Returned, error) {
	s.awaitsStamps = false
	n, errno := r.receive(s, unix.MSG_ERRQUEUE)
	switch errno {
	case 0:
	case unix.EAGAIN, unix.EINTR:
		s.hasErrors = false
		return nil, nil
	default:
		return nil, errno
	}
	s.hasErrors = n == errorBatch
	for i := range n {
		c := r.control(i)
		r.entries[i] = parseExtended(c.extended)
		r.entries[i].Peer = r.addrs[i]
		r.entries[i].Quoted = r.datagram(i)
		if isStamp(c.extended) {
			r.entries[i].Stamp = c.stamp
			r.entries[i].Quoted = payload(r.datagram(i), s.local.Port())
		}
	}
	return r.entries[:n], nil
}

// parseExtended reads a sock_extended_err and the offender's address after it.
func parseExtended(b []byte) (e Returned) {
	if len(b) < extendedSize {
		return e
	}
	x := (*unix.SockExtendedErr)(unsafe.Pointer(&b[0]))
	e.Errno = unix.Errno(x.Errno)
	e.PortUnreachable = x.Origin == unix.SO_EE_ORIGIN_ICMP && x.Type == 3 && x.Code == 3 ||
		x.Origin == unix.SO_EE_ORIGIN_ICMP6 && x.Type == 1 && x.Code == 4
	n := copy(e.Offender[:], b[extendedSize:])
	canonical(&e.Offender, uint32(n))
	return e
}

// isStamp reports whether a sock_extended_err is that of a transmit stamp of the driver.
func isStamp(b []byte) bool {
	if len(b) < extendedSize {
		return false
	}
	x := (*unix.SockExtendedErr)(unsafe.Pointer(&b[0]))
	return x.Origin == unix.SO_EE_ORIGIN_TIMESTAMPING && x.Info == unix.SCM_TSTAMP_SND
}

// payload returns what a UDP packet from a port carries, nil if the packet is none. A packet comes with
// a transmit stamp as the driver had it, behind headers whose length depends on the device. So the UDP
// header is found by its port and by its length, which is that of the rest of the packet.
func payload(packet []byte, port uint16) []byte {
	for i := minHeaders; i <= min(maxHeaders, len(packet)-udpHeader); i++ {
		rest, says := len(packet)-i, int(binary.BigEndian.Uint16(packet[i+4:]))
		whole := says == rest || says > rest && len(packet) == slotSize // cut to the slot
		if whole && binary.BigEndian.Uint16(packet[i:]) == port {
			return packet[i+udpHeader:]
		}
	}
	return nil
}

const (
	// udpHeader is the length of a UDP header. minHeaders and maxHeaders bound what lies before it: at
	// least an IPv4 header, at most tunnels and options.
	udpHeader  = 8
	minHeaders = 20
	maxHeaders = 256
)

const extendedSize = int(unsafe.Sizeof(unix.SockExtendedErr{}))
