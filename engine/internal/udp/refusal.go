//go:build linux

package udp

import (
	"golang.org/x/sys/unix"

	"systole/engine/internal/network"
)

// RefusalOf returns what errno, of a datagram that Flush did not send, says. An errno that ICMP
// can cause as well is the datagram's own here, since Flush tries again past pending errors.
func RefusalOf(errno unix.Errno) network.Refusal {
	switch errno {
	case 0:
		return network.Sent
	case unix.ENETUNREACH:
		return network.NoRoute
	case unix.EHOSTUNREACH:
		return network.Unreachable
	case unix.EADDRNOTAVAIL:
		return network.NoAddress
	case unix.ENETDOWN, unix.ENODEV, unix.ENXIO, unix.ENONET:
		return network.LinkFailed
	case unix.EPERM:
		return network.NotPermitted
	case unix.EACCES:
		return network.Prohibited
	case unix.EMSGSIZE:
		return network.TooBig
	case unix.ENOBUFS, unix.ENOMEM, unix.EAGAIN:
		return network.NoBuffer
	case unix.EINVAL, unix.EAFNOSUPPORT:
		return network.Refused
	}
	return network.Foreign
}
