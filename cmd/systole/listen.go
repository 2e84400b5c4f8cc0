package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
)

// parseListen returns the local addresses of the flags --listen. A port alone, as in :7853, stands for
// all addresses of IPv4 and IPv6.
func parseListen(flags []string, log *slog.Logger) ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	for _, text := range flags {
		if port, ok := strings.CutPrefix(text, ":"); ok {
			if n, err := strconv.ParseUint(port, 10, 16); err == nil {
				out = append(out, anyAddress(uint16(n), log)...)
				continue
			}
		}
		a, err := netip.ParseAddrPort(text)
		if err != nil {
			return nil, fmt.Errorf("--listen %q: want address:port or :port, for instance 192.0.2.7:%s: %w", text, defaultPort, err)
		}
		out = append(out, a)
	}
	return out, nil
}

// anyAddress returns a port of all addresses of IPv4 and IPv6. A host may lack one of the two, for
// instance IPv6 in a sandbox: it is left out with a warning.
func anyAddress(port uint16, log *slog.Logger) []netip.AddrPort {
	both := []netip.AddrPort{
		netip.AddrPortFrom(netip.IPv4Unspecified(), port), netip.AddrPortFrom(netip.IPv6Unspecified(), port),
	}
	var out []netip.AddrPort
	for i, network := range []string{"udp4", "udp6"} {
		c, err := net.ListenPacket(network, netip.AddrPortFrom(both[i].Addr(), 0).String())
		switch {
		case err == nil:
			_ = c.Close()
		case errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL):
			log.Warn("this host lacks an address family; serving on the other one", "missing", network, "error", err)
			continue
		}
		out = append(out, both[i])
	}
	if len(out) == 0 {
		return both // Open returns the error
	}
	return out
}
