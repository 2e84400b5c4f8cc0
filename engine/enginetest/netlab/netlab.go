//go:build linux

// Package netlab makes real networks for tests: two hosts, each a network namespace,
// joined by a veth pair, with the faults that a kernel can make.
//
//	host a                        host b
//	10.78.0.1/24 ── veth ────── veth ── 10.78.0.2/24
//	fd78::1/64                          fd78::2/64
//
// NewRouted puts a router between both.
//
// It works through ip(8) of iproute2 and nft(8) of nftables, and needs root.
package netlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Lab is two hosts. Close it when done.
type Lab struct {
	A, B   *Host
	Router *Host  // of NewRouted; its Device is the one towards host B
	FromA  string // the router's device towards host A
}

// Host is one network namespace.
type Host struct {
	name   string
	Addr   string // IPv4
	Addr6  string
	Device string
}

// serial tells the labs of one process apart.
var serial atomic.Uint32

// ErrPrivilege says what is missing to make a lab.
var ErrPrivilege = errors.New("netlab: network namespaces need root (CAP_SYS_ADMIN, CAP_NET_ADMIN)")

// New makes a lab.
func New() (*Lab, error) {
	if os.Getuid() != 0 {
		return nil, ErrPrivilege
	}
	id := fmt.Sprintf("sys%d-%d", os.Getpid(), serial.Add(1))
	l := &Lab{
		A: &Host{name: id + "a", Addr: "10.78.0.1", Addr6: "fd78::1", Device: "lab0"},
		B: &Host{name: id + "b", Addr: "10.78.0.2", Addr6: "fd78::2", Device: "lab0"},
	}
	if err := l.make(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// make sets the namespaces up, and what joins them.
func (l *Lab) make() error {
	if err := create(l.A, l.B); err != nil {
		return err
	}
	return l.Link()
}

// create makes the namespaces of hosts.
func create(hosts ...*Host) error {
	for _, h := range hosts {
		if err := ip("netns", "add", h.name); err != nil {
			return err
		}
		if err := h.ip("link", "set", "lo", "up"); err != nil {
			return err
		}
	}
	return nil
}

// Link makes the interfaces of both hosts anew, after one was deleted: of the same names, with other indices.
func (l *Lab) Link() error {
	err := l.A.ip("link", "add", l.A.Device, "type", "veth", "peer", "name", l.B.Device, "netns", l.B.name)
	if err != nil {
		return err
	}
	for _, h := range []*Host{l.A, l.B} {
		for _, args := range [][]string{
			{"addr", "add", h.Addr + "/24", "dev", h.Device},
			{"link", "set", h.Device, "up"},
			{"addr", "add", h.Addr6 + "/64", "dev", h.Device, "nodad"},
		} {
			if err := h.ip(args...); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close removes the namespaces; the kernel removes what is in them once no process is.
func (l *Lab) Close() error { return remove(l.A, l.Router, l.B) }

// remove removes the namespaces of hosts, as far as they exist.
func remove(hosts ...*Host) error {
	var errs []error
	for _, h := range hosts {
		if h == nil {
			continue
		}
		if _, err := os.Stat("/run/netns/" + h.name); err == nil {
			errs = append(errs, ip("netns", "del", h.name))
		}
	}
	return errors.Join(errs...)
}

// commandTime bounds the tools that a lab calls.
const commandTime = 10 * time.Second

// ip runs ip(8) and returns what it complained of.
func ip(args ...string) error { return run("ip", args...) }

// run runs a tool and returns what it complained of.
func run(tool string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, tool, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("netlab: %s %s: %w: %s", tool, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// ip runs ip(8) on the host.
func (h *Host) ip(args ...string) error { return ip(append([]string{"-n", h.name}, args...)...) }

// Run runs a command on the host to its end and returns what it complained of.
func (h *Host) Run(tool string, args ...string) error {
	return ip(append([]string{"netns", "exec", h.name, tool}, args...)...)
}

// Command returns a command that runs on the host. The process that it starts is the
// command itself, so signals reach it.
func (h *Host) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", h.name, name}, args...)...)
}

// Do calls f on a thread in the host's namespace, and returns its error. Sockets that f opens stay in
// the namespace. f must not call t.FailNow.
func (h *Host) Do(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with f
		done <- h.enter(f)
	}()
	return <-done
}

// enter moves the calling thread into the host's namespace and calls f.
func (h *Host) enter(f func() error) error {
	ns, err := os.Open("/run/netns/" + h.name)
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("netlab: enter the namespace of %s: %w", h.name, err)
	}
	return f()
}

// DropIn drops a share of the UDP datagrams that reach the host, in per cent, each
// independently, so that the sender does not notice; 0 drops none again.
func (h *Host) DropIn(percent int) error {
	rules := "add table inet lab; delete table inet lab; "
	if percent > 0 {
		rules += "add table inet lab; " +
			"add chain inet lab in { type filter hook input priority 0; }; " +
			"add rule inet lab in meta l4proto udp "
		if percent < 100 {
			rules += fmt.Sprintf("numgen random mod 100 < %d ", percent)
		}
		rules += "drop"
	}
	return h.Run("nft", rules)
}
