//go:build linux

package netlab

import (
	"errors"
	"fmt"
	"os"
)

// NewRouted makes a lab with a router between both hosts, which have IPv4 addresses only.
//
//	host a                        router                       host b
//	10.78.1.1/24 ── veth ── 10.78.1.254   10.78.2.254 ── veth ── 10.78.2.1/24
func NewRouted() (*Lab, error) {
	if os.Getuid() != 0 {
		return nil, ErrPrivilege
	}
	id := fmt.Sprintf("sys%d-%d", os.Getpid(), serial.Add(1))
	l := &Lab{
		A:      &Host{name: id + "a", Addr: "10.78.1.1", Device: "lab0"},
		Router: &Host{name: id + "r", Addr: "10.78.2.254", Device: "tob"},
		B:      &Host{name: id + "b", Addr: "10.78.2.1", Device: "lab0"},
		FromA:  "froma",
	}
	err := create(l.A, l.Router, l.B)
	if err == nil {
		err = errors.Join(
			l.join(l.A, l.FromA, "10.78.1.254"), l.join(l.B, l.Router.Device, l.Router.Addr),
			l.Router.Run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"),
		)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// join joins a host to a device of the router, which is the host's way to everywhere.
func (l *Lab) join(h *Host, device, addr string) error {
	if err := h.ip("link", "add", h.Device, "type", "veth", "peer", "name", device, "netns", l.Router.name); err != nil {
		return err
	}
	return errors.Join(
		h.ip("addr", "add", h.Addr+"/24", "dev", h.Device), h.ip("link", "set", h.Device, "up"),
		l.Router.ip("addr", "add", addr+"/24", "dev", device), l.Router.ip("link", "set", device, "up"),
		h.ip("route", "add", "default", "via", addr),
	)
}
