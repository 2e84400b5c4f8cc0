package bpf

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"systole/engine/enginetest/netlab"
)

// An interface has one native XDP program and one at each side of tcx.
func TestHooks(t *testing.T) {
	needBPF(t)
	netlab.InNamespace(t, func() {
		netlab.VethPair(t)
		expect(t, "a0", nil)
		links, programs, err := occupy("a0")
		if err != nil {
			t.Error(err)
			return
		}
		expect(t, "a0", programs)
		expect(t, "b0", nil)
		if err := expectWithoutPrivilege("a0"); err != nil {
			t.Error(err)
		}
		for _, l := range links {
			l.Close()
		}
		expect(t, "a0", nil)
	})
}

// expect compares the programs of an interface. Each has its name and this process as its holder.
func expect(t *testing.T, device string, programs []occupied) {
	t.Helper()
	name, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Error(err)
		return
	}
	var want, got []string
	for _, p := range programs {
		want = append(want, fmt.Sprintf("%s: program %d (%s), held by %s (%d)", p.hook, p.id, p.name, name[:len(name)-1], os.Getpid()))
	}
	found, err := occupants(device)
	if err != nil {
		t.Error(err)
	}
	for _, o := range found {
		got = append(got, o.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: found %q, want %q", device, got, want)
	}
}

// expectWithoutPrivilege calls Hooks while the thread has no effective capabilities. It finds XDP and no name.
func expectWithoutPrivilege(device string) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var before [2]unix.CapUserData
	if err := unix.Capget(&header, &before[0]); err != nil {
		return err
	}
	without := before
	without[0].Effective, without[1].Effective = 0, 0
	if err := unix.Capset(&header, &without[0]); err != nil {
		return err
	}
	found, hooksErr := occupants(device)
	if err := unix.Capset(&header, &before[0]); err != nil {
		return err
	}
	if len(found) != 1 || found[0].Hook != "xdp native" || found[0].Name != "" || !errors.Is(hooksErr, unix.EPERM) {
		return fmt.Errorf("without capabilities: %v, %w", found, hooksErr)
	}
	return nil
}

// occupied is a program that occupy attached.
type occupied struct {
	hook, name string
	id         ebpf.ProgramID
}

// occupy attaches a program to each hook of an interface. Each passes every packet.
func occupy(device string) (links []link.Link, programs []occupied, err error) {
	dev, err := netlink.LinkByName(device)
	if err != nil {
		return nil, nil, err
	}
	index := dev.Attrs().Index
	for _, h := range []struct {
		hook, name string
		kind       ebpf.ProgramType
		verdict    int32
		attach     func(*ebpf.Program) (link.Link, error)
	}{
		{"xdp native", "passes_frames", ebpf.XDP, 2, func(p *ebpf.Program) (link.Link, error) {
			return link.AttachXDP(link.XDPOptions{Program: p, Interface: index, Flags: link.XDPDriverMode})
		}},
		{"tcx ingress", "passes_in", ebpf.SchedCLS, -1, func(p *ebpf.Program) (link.Link, error) {
			return link.AttachTCX(link.TCXOptions{Program: p, Interface: index, Attach: ebpf.AttachTCXIngress})
		}},
		{"tcx egress", "passes_out", ebpf.SchedCLS, -1, func(p *ebpf.Program) (link.Link, error) {
			return link.AttachTCX(link.TCXOptions{Program: p, Interface: index, Attach: ebpf.AttachTCXEgress})
		}},
	} {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Name: h.name, Type: h.kind, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, h.verdict), asm.Return()},
		})
		if err != nil {
			return nil, nil, err
		}
		defer p.Close() // its link holds it
		l, err := h.attach(p)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", h.hook, err)
		}
		info, err := p.Info()
		if err != nil {
			return nil, nil, err
		}
		id, _ := info.ID()
		links = append(links, l)
		programs = append(programs, occupied{h.hook, h.name, id})
	}
	return links, programs, nil
}

func TestHooksOfNoInterface(t *testing.T) {
	found, err := occupants("none0")
	if missing := (netlink.LinkNotFoundError{}); len(found) != 0 || !errors.As(err, &missing) {
		t.Errorf("%v, %v", found, err)
	}
}

func TestInfoProgram(t *testing.T) {
	const text = "pos:\t0\nflags:\t02000002\nmnt_id:\t15\nlink_type:\ttcx\nlink_id:\t3\nprog_tag:\ta04f5eef06a7f555\nprog_id:\t%s\nifindex:\t2\n"
	if id, ok := infoProgram(fmt.Sprintf(text, "42")); !ok || id != 42 {
		t.Errorf("%d, %v", id, ok)
	}
	for _, wrong := range []string{"", "pos:\t0\n", fmt.Sprintf(text, "many"), fmt.Sprintf(text, "4294967296")} {
		if id, ok := infoProgram(wrong); ok {
			t.Errorf("%q: %d", wrong, id)
		}
	}
}
