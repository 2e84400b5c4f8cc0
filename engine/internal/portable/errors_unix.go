//go:build unix

package portable

import (
	"syscall"

	"golang.org/x/sys/unix"

	"systole/engine/internal/network"
)

const (
	noFamily  = unix.EAFNOSUPPORT
	noAddress = unix.EADDRNOTAVAIL
	inUse     = unix.EADDRINUSE
	tooLong   = unix.EMSGSIZE
)

// refusals are the faults of this host that sends report. EHOSTDOWN is none: BSD systems report it
// of a neighbour that does not answer ARP, which the peer's own silence judges.
var refusals = map[syscall.Errno]network.Refusal{
	unix.ENOBUFS: network.NoBuffer, unix.ENOMEM: network.NoBuffer, unix.EAGAIN: network.NoBuffer,
	unix.ENETUNREACH: network.NoRoute, unix.EHOSTUNREACH: network.Unreachable, unix.EADDRNOTAVAIL: network.NoAddress,
	unix.ENETDOWN: network.LinkFailed, unix.ENODEV: network.LinkFailed, unix.ENXIO: network.LinkFailed,
	unix.EPERM: network.NotPermitted, unix.EACCES: network.Prohibited, unix.EMSGSIZE: network.TooBig,
	unix.EINVAL: network.Refused, unix.EAFNOSUPPORT: network.Refused,
}

// returned are the errors of reads that the network has returned.
var returned = map[syscall.Errno]bool{
	unix.ECONNREFUSED: true, unix.EHOSTUNREACH: true, unix.ENETUNREACH: true, unix.EHOSTDOWN: true,
	unix.EMSGSIZE: true, unix.ENOPROTOOPT: true, unix.EACCES: true, unix.EINTR: true,
}
