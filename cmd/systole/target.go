package main

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"systole/engine"
	"systole/wire"
)

// targets is the syntax of peers on the command line.
const targets = "[ID@]HOST[:PORT]"

// defaultPort is the port of serve, and of targets without one.
const (
	defaultPort       = "7853"
	defaultPortNumber = 7853
)

// pathOptions are the flags for the path to the given peers.
type pathOptions struct {
	local  string
	device string
}

// peer returns the configuration of a target, and the target with its port.
func (o *pathOptions) peer(target string) (c engine.PeerConfig, full string, err error) {
	c.Device = o.device
	if o.local != "" {
		if c.Local, err = netip.ParseAddr(o.local); err != nil {
			return c, "", fmt.Errorf("--local %q: want an address, for instance 192.0.2.7: %w", o.local, err)
		}
	}
	full = target
	if id, rest, ok := strings.Cut(target, "@"); ok {
		if c.ID, err = wire.ParseID(id); err != nil {
			return c, "", fmt.Errorf("%q: the id before @: %w", target, err)
		}
		full = rest
	}
	if _, _, err := net.SplitHostPort(full); err != nil {
		host := full
		if inner, ok := strings.CutPrefix(full, "["); ok && strings.HasSuffix(inner, "]") {
			host = strings.TrimSuffix(inner, "]")
		}
		full = net.JoinHostPort(host, defaultPort)
	}
	if host, _, _ := net.SplitHostPort(full); host == "" || strings.ContainsAny(host, "[] \t") {
		return c, "", fmt.Errorf("%q: want %s, such as db1.example or [::1]:%s", target, targets, defaultPort)
	}
	if a, err := netip.ParseAddrPort(full); err == nil {
		c.Addr = a
	} else {
		c.Name = full
	}
	if err := c.Validate(); err != nil {
		return c, "", fmt.Errorf("%q: %w", target, err)
	}
	return c, full, nil
}
