package bpf

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// occupant is a program that is attached to a hook of a network interface.
type occupant struct {
	Hook    string   // "xdp native", "xdp generic", "xdp offloaded", "tcx ingress" or "tcx egress"
	Program uint32   // the kernel's id of the program
	Name    string   // the program's name; "" if it has none, or if reading it needs CAP_SYS_ADMIN
	Holders []string // processes that hold the program or its link, as "name (pid)", as far as they may be seen
}

// String returns, for instance, "xdp native: program 17 (xdp_filter), held by agent (812)".
func (o occupant) String() string {
	s := fmt.Sprintf("%s: program %d", o.Hook, o.Program)
	if o.Name != "" {
		s += " (" + o.Name + ")"
	}
	if len(o.Holders) > 0 {
		s += ", held by " + strings.Join(o.Holders, ", ")
	}
	return s
}

// Hooks returns the programs that are attached to the XDP and tcx hooks of an interface in the calling
// thread's network namespace, each in words that begin with "xdp" or "tcx", for instance "xdp native:
// program 17 (xdp_filter), held by agent (812)". XDP needs no privilege, tcx needs CAP_BPF and CAP_NET_ADMIN.
// The result has what was found also if there is an error. A kernel without tcx has no programs there, and
// that is no error. Any goroutine may call Hooks.
func Hooks(device string) ([]string, error) {
	found, err := occupants(device)
	list := make([]string, len(found))
	for i := range found {
		list[i] = found[i].String()
	}
	return list, err
}

// occupants returns the programs that are attached to the XDP and tcx hooks of an interface.
func occupants(device string) ([]occupant, error) {
	dev, err := netlink.LinkByName(device)
	if err != nil {
		return nil, fmt.Errorf("bpf: interface %s: %w", device, err)
	}
	var found []occupant
	if xdp := dev.Attrs().Xdp; xdp != nil && xdp.Attached {
		found = append(found, occupant{Hook: xdpHook(xdp.AttachMode), Program: xdp.ProgId})
	}
	for _, side := range []struct {
		hook   string
		attach ebpf.AttachType
	}{{"tcx ingress", ebpf.AttachTCXIngress}, {"tcx egress", ebpf.AttachTCXEgress}} {
		var programs []link.AttachedProgram
		if programs, err = queryTCX(dev.Attrs().Index, side.attach); err != nil {
			err = fmt.Errorf("bpf: %s of %s: %w", side.hook, device, err)
			break
		}
		for _, p := range programs {
			found = append(found, occupant{Hook: side.hook, Program: uint32(p.ID)})
		}
	}
	for i := range found {
		found[i].Name = programName(found[i].Program)
	}
	addHolders(found)
	return found, err
}

// xdpHook returns the name of a mode of XDP.
func xdpHook(mode uint32) string {
	switch mode {
	case nl.XDP_ATTACHED_DRV:
		return "xdp native"
	case nl.XDP_ATTACHED_SKB:
		return "xdp generic"
	case nl.XDP_ATTACHED_HW:
		return "xdp offloaded"
	}
	return "xdp" // in several modes at once
}

// queryTCX returns the programs at one side of tcx. Kernels below 6.6 do not know tcx and answer EINVAL.
// ErrNotSupported means a refusal: each kernel from 4.15 on can list programs, and the library probes
// for that with a call that needs the same privilege.
func queryTCX(device int, attach ebpf.AttachType) ([]link.AttachedProgram, error) {
	r, err := link.QueryPrograms(link.QueryOptions{Target: device, Attach: attach})
	switch {
	case errors.Is(err, unix.EINVAL):
		return nil, nil
	case errors.Is(err, ebpf.ErrNotSupported):
		return nil, fmt.Errorf("%w: listing programs needs CAP_BPF and CAP_NET_ADMIN", unix.EPERM)
	case err != nil:
		return nil, err
	}
	return r.Programs, nil
}

// programName returns the name of a program, "" if it may not be read.
func programName(id uint32) string {
	p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
	if err != nil {
		return ""
	}
	defer func() { _ = p.Close() }()
	info, err := p.Info()
	if err != nil {
		return ""
	}
	return info.Name
}

// addHolders looks through the descriptors of all processes. It skips those that this process may not see.
func addHolders(found []occupant) {
	if len(found) == 0 {
		return
	}
	processes, _ := os.ReadDir("/proc")
	for _, p := range processes {
		if _, err := strconv.Atoi(p.Name()); err != nil {
			continue
		}
		dir := "/proc/" + p.Name()
		for _, id := range programsHeld(dir) {
			i := slices.IndexFunc(found, func(o occupant) bool { return o.Program == id })
			if i < 0 {
				continue
			}
			comm, _ := os.ReadFile(dir + "/comm")
			holder := fmt.Sprintf("%s (%s)", strings.TrimSpace(string(comm)), p.Name())
			if !slices.Contains(found[i].Holders, holder) {
				found[i].Holders = append(found[i].Holders, holder)
			}
		}
	}
}

// programsHeld returns the ids of the programs that a process holds, itself or by a link.
func programsHeld(dir string) []uint32 {
	descriptors, _ := os.ReadDir(dir + "/fd")
	var held []uint32
	for _, fd := range descriptors {
		target, err := os.Readlink(dir + "/fd/" + fd.Name())
		if err != nil || target != "anon_inode:bpf-prog" && target != "anon_inode:bpf_link" {
			continue
		}
		info, err := os.ReadFile(dir + "/fdinfo/" + fd.Name())
		if err != nil {
			continue
		}
		if id, ok := infoProgram(string(info)); ok {
			held = append(held, id)
		}
	}
	return held
}

// infoProgram returns the id of the program in the text of a file in fdinfo.
func infoProgram(info string) (uint32, bool) {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, "prog_id:"); ok {
			id, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
			return uint32(id), err == nil
		}
	}
	return 0, false
}
