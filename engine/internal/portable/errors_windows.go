package portable

import (
	"syscall"

	"golang.org/x/sys/windows"

	"systole/engine/internal/network"
)

const (
	noFamily  = windows.WSAEAFNOSUPPORT
	noAddress = windows.WSAEADDRNOTAVAIL
	inUse     = windows.WSAEADDRINUSE
	tooLong   = windows.WSAEMSGSIZE
)

// refusals are the faults of this host that sends report.
var refusals = map[syscall.Errno]network.Refusal{
	windows.WSAENOBUFS: network.NoBuffer, windows.WSAEWOULDBLOCK: network.NoBuffer,
	windows.WSAENETUNREACH: network.NoRoute, windows.WSAEHOSTUNREACH: network.Unreachable,
	windows.WSAEADDRNOTAVAIL: network.NoAddress, windows.WSAENETDOWN: network.LinkFailed,
	windows.WSAEACCES: network.Prohibited, windows.WSAEMSGSIZE: network.TooBig,
	windows.WSAEINVAL: network.Refused, windows.WSAEAFNOSUPPORT: network.Refused,
}

// returned are the errors of reads that the network has returned. Package net turns the first two
// off (SIO_UDP_CONNRESET, SIO_UDP_NETRESET).
var returned = map[syscall.Errno]bool{
	windows.WSAECONNRESET: true, windows.WSAENETRESET: true, windows.WSAEHOSTUNREACH: true,
	windows.WSAENETUNREACH: true, windows.WSAEINTR: true,
}
