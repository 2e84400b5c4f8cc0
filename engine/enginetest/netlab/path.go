package netlab

import (
	"errors"
	"fmt"
	"os"
)

// Path is two hosts with a router between them. Close it when done.
//
//	host a                        router                       host b
//	10.78.1.1/24 ── veth ── 10.78.1.254   10.78.2.254 ── veth ── 10.78.2.1/24
//
// The Device of the router is the one towards host b. FromA is the one towards host a.
type Path struct {
	A, Router, B *Host
	FromA        string
}

// NewPath makes a path.
func NewPath() (*Path, error) {
	if os.Getuid() != 0 {
		return nil, ErrPrivilege
	}
	id := fmt.Sprintf("sys%d-%d", os.Getpid(), serial.Add(1))
	p := &Path{
		A:      &Host{name: id + "a", Addr: "10.78.1.1", Device: "lab0"},
		Router: &Host{name: id + "r", Addr: "10.78.2.254", Device: "tob"},
		B:      &Host{name: id + "b", Addr: "10.78.2.1", Device: "lab0"},
		FromA:  "froma",
	}
	err := create(p.A, p.Router, p.B)
	if err == nil {
		err = errors.Join(
			p.join(p.A, p.FromA, "10.78.1.254"), p.join(p.B, p.Router.Device, p.Router.Addr),
			p.Router.Run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"),
		)
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// join joins a host to a device of the router, which is the host's way to everywhere.
func (p *Path) join(h *Host, device, addr string) error {
	if err := h.ip("link", "add", h.Device, "type", "veth", "peer", "name", device, "netns", p.Router.name); err != nil {
		return err
	}
	return errors.Join(
		h.ip("addr", "add", h.Addr+"/24", "dev", h.Device), h.ip("link", "set", h.Device, "up"),
		p.Router.ip("addr", "add", addr+"/24", "dev", device), p.Router.ip("link", "set", device, "up"),
		h.ip("route", "add", "default", "via", addr),
	)
}

// Close removes the namespaces.
func (p *Path) Close() error { return remove(p.A, p.Router, p.B) }
