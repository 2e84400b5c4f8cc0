//go:build linux

package udp

import (
	"testing"

	"golang.org/x/sys/unix"

	"systole/engine/internal/network"
)

// Errors with one meaning have one refusal, and what an earlier datagram may have caused has none.
func TestRefusalOf(t *testing.T) {
	for errno, want := range map[unix.Errno]network.Refusal{
		0: network.Sent, unix.ENOBUFS: network.NoBuffer, unix.EAGAIN: network.NoBuffer, unix.ENODEV: network.LinkFailed,
		unix.ENONET: network.LinkFailed, unix.ENETDOWN: network.LinkFailed, unix.EAFNOSUPPORT: network.Refused,
		unix.EINVAL: network.Refused, unix.EPERM: network.NotPermitted, unix.EACCES: network.Prohibited,
		unix.ECONNREFUSED: network.Foreign, unix.EHOSTDOWN: network.Foreign, unix.EBADF: network.Foreign,
	} {
		if got := RefusalOf(errno); got != want {
			t.Errorf("%v: %v, want %v", errno, got, want)
		}
	}
}
