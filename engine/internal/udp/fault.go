package udp

import "golang.org/x/sys/unix"

// LocalFault reports whether errno, of a datagram that was not sent, is a fault of this host's: its routes
// (ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL), its firewall (EPERM), its addresses and interfaces, the size, or
// buffers that are full. Else it announces what the network returned of an earlier datagram, or is a fault of
// the socket. Errnos that an ICMP error can be as well are the datagram's own after Flush, which tries again
// past announcements.
func LocalFault(errno unix.Errno) bool {
	switch errno {
	case unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL, unix.EPERM,
		unix.EADDRNOTAVAIL, unix.EAFNOSUPPORT, unix.ENETDOWN, unix.ENODEV, unix.ENXIO, unix.ENONET,
		unix.EMSGSIZE, unix.ENOBUFS, unix.ENOMEM, unix.EAGAIN:
		return true
	}
	return false
}
