//go:build linux

package udp

import (
	"golang.org/x/sys/unix"

	"systole/engine/internal/network"
)

// Addr is an address in the kernel's form.
type Addr = network.Addr

// The form of a network.Addr is the kernel's.
const (
	_ = uint(len(Addr{}) - unix.SizeofSockaddrInet6)
	_ = uint(unix.AF_INET - network.Inet4)
	_ = uint(unix.AF_INET6 - network.Inet6)
)

// sockaddrSize returns how many bytes of a are the sockaddr.
func sockaddrSize(a *Addr) uint32 {
	if a.Is4() {
		return unix.SizeofSockaddrInet4
	}
	return unix.SizeofSockaddrInet6
}

// canonical clears what an older address has left around an address of n bytes that the
// kernel wrote over it, so that == compares.
func canonical(a *Addr, n uint32) {
	switch {
	case n >= unix.SizeofSockaddrInet4 && a.Family() == unix.AF_INET:
		clear(a[network.OffAddr4+4:])
	case n >= unix.SizeofSockaddrInet6 && a.Family() == unix.AF_INET6:
		clear(a[network.OffAddr4:network.OffAddr6]) // flow information
	default:
		*a = Addr{}
	}
}
