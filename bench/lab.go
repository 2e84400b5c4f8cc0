package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// lab is two hosts, each a network namespace, joined by a veth pair:
//
//	host a 10.78.0.1/24 ── lab0 ────── lab0 ── 10.78.0.2/24 host b
//
// It works through ip(8) of iproute2, and needs root.
type lab struct{ A, B *host }

// host is one network namespace.
type host struct{ name, Addr, Device string }

// errPrivilege says what is missing to make a lab.
var errPrivilege = errors.New("network namespaces need root (CAP_SYS_ADMIN, CAP_NET_ADMIN)")

// newLab makes a lab. A process has one at a time.
func newLab() (*lab, error) {
	if os.Getuid() != 0 {
		return nil, errPrivilege
	}
	name := fmt.Sprintf("bench%d", os.Getpid())
	l := &lab{&host{name + "a", "10.78.0.1", "lab0"}, &host{name + "b", "10.78.0.2", "lab0"}}
	if err := l.make(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// make sets the namespaces, the link and the addresses up.
func (l *lab) make() error {
	for _, h := range []*host{l.A, l.B} {
		if err := ip("netns", "add", h.name); err != nil {
			return err
		}
	}
	if err := ip("-n", l.A.name, "link", "add", l.A.Device, "type", "veth", "peer", "name", l.B.Device, "netns", l.B.name); err != nil {
		return err
	}
	for _, h := range []*host{l.A, l.B} {
		err := errors.Join(
			ip("-n", h.name, "link", "set", "lo", "up"),
			ip("-n", h.name, "addr", "add", h.Addr+"/24", "dev", h.Device),
			ip("-n", h.name, "link", "set", h.Device, "up"))
		if err != nil {
			return err
		}
	}
	return nil
}

// Close removes the namespaces; the kernel removes what is in them once no process is.
func (l *lab) Close() error {
	var errs []error
	for _, h := range []*host{l.A, l.B} {
		if _, err := os.Stat("/run/netns/" + h.name); err == nil {
			errs = append(errs, ip("netns", "del", h.name))
		}
	}
	return errors.Join(errs...)
}

// Run runs a command on the host to its end and returns what it complained of.
func (h *host) Run(tool string, args ...string) error {
	return ip(append([]string{"netns", "exec", h.name, tool}, args...)...)
}

// Command returns a command that runs on the host. The process that it starts is the
// command itself, so signals reach it and its pid is the command's.
func (h *host) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", h.name, name}, args...)...)
}

// commandTime bounds each call of ip(8).
const commandTime = 10 * time.Second

// ip runs ip(8) and returns what it complained of.
func ip(args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
