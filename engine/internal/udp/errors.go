//go:build linux

package udp

import (
	"errors"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"

	"systole/engine/internal/network"
)

// Error is a failed step of a set-up. It unwraps to the unix.Errno.
type Error = network.Error

// failed returns an *Error for a non-nil err, and nil for nil.
func failed(op string, err error, help string) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Err: err, Help: help}
}

// helpFor returns what would help after a failed socket(2) or bind(2) for a local address.
func helpFor(err error, local netip.AddrPort) string {
	has, lacks := "IPv4", "IPv6"
	if local.Addr().Unmap().Is4() {
		has, lacks = lacks, has
	}
	switch {
	case errors.Is(err, unix.EAFNOSUPPORT):
		return "this host has no " + lacks + ", or a sandbox forbids it: listen on " + has + " addresses only"
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return "raise the limit of open files"
	case errors.Is(err, unix.EADDRINUSE):
		return "another socket has this port: stop it, or choose another port"
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return "no interface of this host has this address"
	case errors.Is(err, unix.EACCES):
		return "port " + strconv.Itoa(int(local.Port())) + " needs CAP_NET_BIND_SERVICE, or choose one from 1024 up"
	}
	return ""
}
