package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Programs are attached by links, which end with their descriptors: a process that is killed leaves
// nothing behind. No link is ever pinned.

// try attaches a program at t. Where native XDP fails, it attaches tcx.
func (a *attachments) try(t *attachment) {
	t.retry = time.Now().Add(firstRetry << t.tries)
	t.tries++
	err := a.attachTo(t, t.wanted)
	t.Err = err
	if err != nil && t.wanted == hookXDP && a.base == hookTCX {
		if err = a.attachTo(t, hookTCX); err != nil {
			t.Err = newError(err.Op, errors.Join(err.Unwrap(), t.Err), err.Help)
		}
	}
	a.report(t)
	if err != nil && t.wanted != hookCgroup && a.lacksTCX(err) {
		a.base = hookCgroup
	}
}

// lacksTCX reports whether err means that the cgroup must do for tcx.
func (a *attachments) lacksTCX(err *Error) bool {
	unusable := a.programs.tcx == nil || errors.Is(err, ebpf.ErrNotSupported)
	return unusable && a.base == hookTCX && a.options.Hook == "" && a.programs.cgroup != nil
}

// report logs the first attempt at t, and success.
func (a *attachments) report(t *attachment) {
	switch {
	case t.Err == nil:
		a.options.Logger.Debug("bpf: attached", "interface", t.Name, "hook", t.Hook)
	case t.tries == 1:
		a.options.Logger.Warn("bpf: attach", "interface", t.Name, "hook", t.Hook, "error", t.Err)
	}
}

// attachTo attaches the program of a hook at t.
func (a *attachments) attachTo(t *attachment, hook string) (err *Error) {
	switch p := a.programs; hook {
	case hookTCX:
		if p.tcx == nil {
			return failed("load the program for tcx", p.tcxErr, capBPF, capNetAdmin)
		}
		t.link, err = a.tcx(p.tcx, t.Index, t.Name)
	case hookXDP:
		if p.xdp == nil {
			return failed("load the program for XDP", p.xdpErr, capBPF, capNetAdmin)
		}
		t.link, err = attachXDP(p.xdp, t.Index, t.Name)
	case hookCgroup:
		err = a.attachToCgroup(t)
	}
	if err == nil {
		t.Hook, t.Since = hook, time.Now()
	}
	return err
}

// attachToCgroup attaches at the cgroup of the options, or at the root.
func (a *attachments) attachToCgroup(t *attachment) (err *Error) {
	p := a.programs
	if p.cgroup == nil {
		return failed("load the program for a cgroup", p.cgroupErr, capBPF)
	}
	if t.Name == "" {
		if t.Name, err = cgroupRoot(); err != nil {
			return err
		}
	}
	t.link, err = attachCgroup(p.cgroup, t.Name)
	return err
}

// attachTCX attaches p to an interface, before the programs that are there: those may end the chain.
func attachTCX(p *ebpf.Program, index int, name string) (link.Link, *Error) {
	l, err := link.AttachTCX(link.TCXOptions{
		Interface: index, Program: p, Attach: ebpf.AttachTCXIngress, Anchor: link.Head(),
	})
	if err != nil {
		return nil, failed("attach tcx to "+name, err, capBPF, capNetAdmin)
	}
	return l, nil
}

// attachXDP attaches p to the driver of an interface.
func attachXDP(p *ebpf.Program, index int, name string) (link.Link, *Error) {
	l, err := link.AttachXDP(link.XDPOptions{Interface: index, Program: p, Flags: link.XDPDriverMode})
	if err == nil {
		return l, nil
	}
	op := "attach XDP to " + name
	switch {
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return nil, newError(op, fmt.Errorf("occupied by %s: %w", xdpOwner(name), err),
			"stop the program that has it, or leave the interface out of Options.XDP")
	case errors.Is(err, unix.EOPNOTSUPP):
		return nil, newError(op, err, "the driver has no native XDP; leave the interface out of Options.XDP")
	}
	return nil, failed(op, err, capBPF, capNetAdmin)
}

// xdpOwner names the XDP program at an interface.
func xdpOwner(name string) string {
	occupants, _ := occupants(name)
	for _, o := range occupants {
		if strings.HasPrefix(o.Hook, "xdp") {
			return o.String()
		}
	}
	return "another program"
}

// attachCgroup attaches p to the ingress of a cgroup, beside other programs.
func attachCgroup(p *ebpf.Program, dir string) (link.Link, *Error) {
	op := "attach to the cgroup " + dir
	f, err := os.Open(dir)
	if err != nil {
		return nil, failed(op, err)
	}
	defer func() { _ = f.Close() }()
	// Not link.AttachCgroup: without links in the kernel that attaches what outlives the process.
	l, err := link.AttachRawLink(link.RawLinkOptions{
		Target: int(f.Fd()), Program: p, Attach: ebpf.AttachCGroupInetIngress,
	})
	if err != nil {
		return nil, failed(op, err, capBPF, capNetAdmin)
	}
	return l, nil
}

// attachHandOff attaches p to the tracepoint that its section names.
func attachHandOff(p *ebpf.Program) (link.Link, *Error) {
	l, err := link.AttachTracing(link.TracingOptions{Program: p})
	if err != nil {
		return nil, failed("attach to the tracepoint net_dev_start_xmit", err, capBPF, capPerfmon)
	}
	return l, nil
}

// cgroupRoot returns where the root of the cgroups of version 2 is mounted.
func cgroupRoot() (string, *Error) {
	const op = "find the root of cgroup2"
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", failed(op, err)
	}
	defer func() { _ = f.Close() }()
	if dir := cgroupMount(f); dir != "" {
		return dir, nil
	}
	return "", newError(op, errors.New("it is not mounted"), "mount cgroup2, or set Options.Cgroup")
}

// cgroupMount returns the mount point of cgroup2 in a mountinfo file, see proc(5). It prefers one that
// shows the whole hierarchy.
func cgroupMount(mounts io.Reader) (dir string) {
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		if len(fields) < 5 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		if root, point := fields[3], unescape(fields[4]); root == "/" {
			return point
		} else if dir == "" {
			dir = point
		}
	}
	return dir
}

// unescape replaces \040 and its like in a path of mountinfo.
func unescape(path string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(path, `\`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		path = after
		if len(after) >= 3 {
			if c, err := strconv.ParseUint(after[:3], 8, 8); err == nil {
				b.WriteByte(byte(c))
				path = after[3:]
				continue
			}
		}
		b.WriteByte('\\')
	}
}
