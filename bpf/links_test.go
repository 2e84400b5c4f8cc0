package bpf

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"systole/engine/enginetest/netlab"
)

// tinyProgram loads a program that does nothing but return a verdict.
func tinyProgram(t *testing.T, kind ebpf.ProgramType, at ebpf.AttachType, verdict int32) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "tiny", Type: kind, AttachType: at, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, verdict), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// tinyPrograms loads a program for each hook.
func tinyPrograms(t *testing.T) *programs {
	t.Helper()
	const next, pass, allow = -1, 2, 1
	return &programs{
		tcx:    tinyProgram(t, ebpf.SchedCLS, ebpf.AttachTCXIngress, next),
		xdp:    tinyProgram(t, ebpf.XDP, ebpf.AttachXDP, pass),
		cgroup: tinyProgram(t, ebpf.CGroupSKB, ebpf.AttachCGroupInetIngress, allow),
	}
}

// needBPF skips the test without root, as netlab.Require does.
func needBPF(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		netlab.Require(t, fmt.Errorf("BPF programs need CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, and %w", netlab.ErrPrivilege))
	}
}

// eventually waits until f holds.
func eventually(t *testing.T, what string, f func() bool) bool {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if f() {
			return true
		}
	}
	t.Errorf("not within 5 s: %s", what)
	return false
}

// words returns the attached programs as words such as "a0:tcx", and "a0:tcx!" with an error.
func words(all []InterfaceStatus) string {
	var list []string
	for _, i := range all {
		word := fmt.Sprintf("%s:%v", i.Name, i.Hook)
		if i.Err != nil {
			word += "!"
		}
		list = append(list, word)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// becomes waits until the attachments are as words has them.
func (a *attachments) becomes(t *testing.T, want string) {
	t.Helper()
	if !eventually(t, want, func() bool { return words(a.status()) == want }) {
		t.Errorf("it is %s", words(a.status()))
	}
}

// index returns the index of an interface with a name, 0 if there is none.
func (a *attachments) index(name string) int {
	for _, i := range a.status() {
		if i.Name == name {
			return i.Index
		}
	}
	return 0
}

// tcxAt returns how many programs are at the ingress of an interface, in the calling thread's namespace.
func tcxAt(t *testing.T, index int) int {
	t.Helper()
	q, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		t.Errorf("query interface %d: %v", index, err)
		return -1
	}
	return len(q.Programs)
}

// attachHere attaches in the calling thread's namespace, after a change. It returns nil if that fails.
func attachHere(t *testing.T, o Options, programs *programs, change ...func(a *attachments)) *attachments {
	t.Helper()
	namespace, err := netns.Get()
	if err != nil {
		t.Error(err)
		return nil
	}
	defer func() { _ = namespace.Close() }()
	a := newAttachments(o.withDefaults(), programs)
	for _, f := range change {
		f(a)
	}
	if err := a.start(namespace); err != nil {
		t.Error(err)
		return nil
	}
	t.Cleanup(a.close)
	return a
}

// addressedPair makes the interfaces a0 and b0, and gives b0 an address as well.
func addressedPair(t testing.TB) {
	netlab.VethPair(t)
	netlab.IP(t, "addr", "add", "198.51.100.7/24", "dev", "b0")
}

// Without a name, an interface has a program once it has an address, and keeps it.
func TestInterfacesWithoutAddresses(t *testing.T) {
	needBPF(t)
	programs := tinyPrograms(t)
	netlab.InNamespace(t, func() {
		a := attachHere(t, Options{}, programs)
		if a == nil {
			return
		}
		netlab.VethPair(t)
		a.becomes(t, "a0:tcx lo:tcx")
		netlab.IP(t, "addr", "add", "fd77::1/64", "dev", "b0", "nodad")
		a.becomes(t, "a0:tcx b0:tcx lo:tcx")
		since := a.status()
		netlab.IP(t, "addr", "del", "fd77::1/64", "dev", "b0")
		netlab.IP(t, "link", "add", "c0", "type", "veth", "peer", "name", "d0")
		netlab.IP(t, "addr", "add", "198.51.100.9/24", "dev", "d0")
		a.becomes(t, "a0:tcx b0:tcx d0:tcx lo:tcx")
		for _, was := range since {
			if !slices.Contains(a.status(), was) {
				t.Errorf("%+v, was %+v", a.status(), was)
			}
		}
	})
}

func TestInterfacesComeAndGo(t *testing.T) {
	needBPF(t)
	programs := tinyPrograms(t)
	netlab.InNamespace(t, func() {
		a := attachHere(t, Options{}, programs)
		if a == nil {
			return
		}
		a.becomes(t, "lo:tcx")
		addressedPair(t)
		a.becomes(t, "a0:tcx b0:tcx lo:tcx")
		if n := tcxAt(t, a.index("a0")); n != 1 {
			t.Errorf("%d programs", n)
		}
		since := a.status()[2].Since
		netlab.IP(t, "link", "set", "a0", "down")
		netlab.IP(t, "link", "set", "a0", "name", "c0")
		netlab.IP(t, "link", "set", "c0", "up")
		a.becomes(t, "b0:tcx c0:tcx lo:tcx")
		if got := a.status()[2].Since; got != since {
			t.Error("an interface was attached to anew when its name changed")
		}
		netlab.IP(t, "link", "del", "c0")
		a.becomes(t, "lo:tcx")
		addressedPair(t)
		a.becomes(t, "a0:tcx b0:tcx lo:tcx")
		a.close()
		if n := tcxAt(t, 1); n != 0 {
			t.Errorf("%d programs at lo after close", n)
		}
	})
}

// An interface that is made anew with the index of the last one has a program again.
func TestInterfaceWithTheSameIndex(t *testing.T) {
	needBPF(t)
	programs := tinyPrograms(t)
	netlab.InNamespace(t, func() {
		a := attachHere(t, Options{Interfaces: []string{"a0"}}, programs)
		if a == nil {
			return
		}
		a.becomes(t, "a0:none!")
		if err := a.status()[0].Err; !errors.Is(err, unix.ENODEV) {
			t.Error(err)
		}
		for range 3 {
			netlab.IP(t, "link", "add", "a0", "index", "77", "type", "veth", "peer", "name", "b0")
			eventually(t, "a program at a0", func() bool { return tcxAt(t, 77) == 1 })
			a.becomes(t, "a0:tcx")
			netlab.IP(t, "link", "del", "a0")
			netlab.IP(t, "link", "add", "a0", "index", "77", "type", "veth", "peer", "name", "b0")
			eventually(t, "a program at the new a0", func() bool { return tcxAt(t, 77) == 1 })
			netlab.IP(t, "link", "del", "a0")
			a.becomes(t, "a0:none!")
		}
	})
}

// An interface that moves to another namespace takes no program along.
func TestInterfaceMoves(t *testing.T) {
	needBPF(t)
	programs := tinyPrograms(t)
	netlab.InNamespace(t, func() {
		a := attachHere(t, Options{XDP: []string{"b0"}}, programs)
		if a == nil {
			return
		}
		addressedPair(t)
		a.becomes(t, "a0:tcx b0:xdp lo:tcx")
		index := a.index("a0")
		other := fmt.Sprintf("sysmove%d", os.Getpid())
		netlab.IP(t, "netns", "add", other)
		defer netlab.IP(t, "netns", "del", other)
		netlab.IP(t, "link", "set", "a0", "netns", other)
		netlab.IP(t, "link", "set", "b0", "netns", other)
		a.becomes(t, "b0:none! lo:tcx")
		here, err := netns.Get()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = netns.Set(here); _ = here.Close() }()
		there, err := netns.GetFromName(other)
		if err != nil || netns.Set(there) != nil {
			t.Error("cannot enter the other namespace")
			return
		}
		defer func() { _ = there.Close() }()
		eventually(t, "no program at a0", func() bool { return tcxAt(t, index) == 0 })
	})
}

// An interface whose name comes to be among those for XDP changes its hook, and back.
func TestRenamedForXDP(t *testing.T) {
	needBPF(t)
	programs := tinyPrograms(t)
	netlab.InNamespace(t, func() {
		addressedPair(t)
		a := attachHere(t, Options{Interfaces: []string{"a0", "x0"}, XDP: []string{"x0"}}, programs)
		if a == nil {
			return
		}
		a.becomes(t, "a0:tcx x0:none!")
		rename(t, "a0", "x0")
		a.becomes(t, "a0:none! x0:xdp")
		rename(t, "x0", "a0")
		a.becomes(t, "a0:tcx x0:none!")
		rename(t, "a0", "y0")
		a.becomes(t, "a0:none! x0:none!")
	})
}

func rename(t *testing.T, from, to string) {
	netlab.IP(t, "link", "set", from, "down")
	netlab.IP(t, "link", "set", from, "name", to)
	netlab.IP(t, "link", "set", to, "up")
}

func TestOccupiedXDP(t *testing.T) {
	needBPF(t)
	programs := tinyPrograms(t)
	for _, mode := range []link.XDPAttachFlags{link.XDPDriverMode, link.XDPGenericMode} {
		netlab.InNamespace(t, func() {
			addressedPair(t)
			index := indexOf(t, "a0")
			owner, err := link.AttachXDP(link.XDPOptions{Program: programs.xdp, Interface: index, Flags: mode})
			if err != nil {
				t.Error(err)
				return
			}
			a := attachHere(t, Options{XDP: []string{"a0", "lo"}}, programs)
			if a == nil {
				return
			}
			a.becomes(t, "a0:tcx! b0:tcx lo:tcx!")
			for _, i := range a.status() {
				if i.Name != "a0" {
					continue
				}
				if !strings.Contains(i.Err.Error(), "(tiny)") || !errors.Is(i.Err, unix.EBUSY) && !errors.Is(i.Err, unix.EEXIST) {
					t.Errorf("%v, without the owner", i.Err)
				}
			}
			// With the owner gone, the interface is tried again when it goes up.
			_ = owner.Close()
			netlab.IP(t, "link", "set", "a0", "down")
			time.Sleep(2 * settleTime)
			netlab.IP(t, "link", "set", "a0", "up")
			a.becomes(t, "a0:xdp b0:tcx lo:tcx!")
		})
	}
}

// Programs that are attached already run after ours.
func TestBesideOthers(t *testing.T) {
	needBPF(t)
	programs := tinyPrograms(t)
	other := tinyProgram(t, ebpf.SchedCLS, ebpf.AttachTCXIngress, 0)
	netlab.InNamespace(t, func() {
		l, err := link.AttachTCX(link.TCXOptions{Interface: 1, Program: other, Attach: ebpf.AttachTCXIngress})
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = l.Close() }()
		a := attachHere(t, Options{}, programs)
		if a == nil {
			return
		}
		q, err := link.QueryPrograms(link.QueryOptions{Target: 1, Attach: ebpf.AttachTCXIngress})
		if err != nil {
			t.Error(err)
			return
		}
		if len(q.Programs) != 2 || q.Programs[0].ID != idOf(t, programs.tcx) {
			t.Errorf("programs %v, ours is %d", q.Programs, idOf(t, programs.tcx))
		}
	})
}

// Without tcx in the kernel, one program at the root of the cgroups sees all interfaces.
func TestFallbackToCgroup(t *testing.T) {
	needBPF(t)
	programs := tinyPrograms(t)
	netlab.InNamespace(t, func() {
		addressedPair(t)
		root, missing := cgroupRoot()
		if missing != nil {
			t.Error(missing)
			return
		}
		a := attachHere(t, Options{XDP: []string{"a0"}}, programs, func(a *attachments) {
			a.tcx = func(*ebpf.Program, int, string) (link.Link, *Error) {
				return nil, failed("attach tcx", ebpf.ErrNotSupported)
			}
		})
		if a == nil {
			return
		}
		a.becomes(t, root+":cgroup a0:xdp")
	})
	netlab.InNamespace(t, func() {
		a := attachHere(t, Options{Hook: hookCgroup, Cgroup: "/nowhere"}, programs)
		if a == nil {
			return
		}
		a.becomes(t, "/nowhere:none!")
		if err := a.status()[0].Err; !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
}

// A failed attempt is made again, at most maxTries times.
func TestRetry(t *testing.T) {
	needBPF(t)
	programs := tinyPrograms(t)
	netlab.InNamespace(t, func() {
		tries := make(chan struct{}, 100)
		a := attachHere(t, Options{}, programs, func(a *attachments) {
			a.tcx = func(p *ebpf.Program, index int, name string) (link.Link, *Error) {
				tries <- struct{}{}
				if len(tries) < 3 {
					return nil, failed("attach", unix.ENOMEM)
				}
				return attachTCX(p, index, name)
			}
		})
		if a == nil {
			return
		}
		if got := words(a.status()); got != "lo:none!" {
			t.Error(got)
		}
		a.becomes(t, "lo:tcx")
		if len(tries) != 3 {
			t.Errorf("%d tries", len(tries))
		}
	})
	gone := attachment{tries: maxTries}
	if gone.due(time.Now()) {
		t.Error("tried without end")
	}
}

func indexOf(t *testing.T, name string) int {
	i, err := net.InterfaceByName(name)
	if err != nil {
		t.Error(err)
		return 0
	}
	return i.Index
}

// Interfaces are listed again and again while the kernel refuses to report changes, or loses reports.
func TestWithoutReports(t *testing.T) {
	needBPF(t)
	programs := tinyPrograms(t)
	netlab.InNamespace(t, func() {
		asked := make(chan int, 100)
		a := attachHere(t, Options{}, programs, func(a *attachments) {
			a.subscribe = func() *subscription {
				asked <- len(asked)
				switch len(asked) {
				case 1:
					return nil
				case 2:
					s := &subscription{make(chan struct{}), make(chan struct{})}
					close(s.ch)
					return s
				}
				return subscribe()
			}
		})
		if a == nil {
			return
		}
		addressedPair(t)
		a.becomes(t, "a0:tcx b0:tcx lo:tcx")
		eventually(t, "reports are asked for again", func() bool { return len(asked) == 3 })
		netlab.IP(t, "link", "del", "a0")
		a.becomes(t, "lo:tcx")
		if len(asked) != 3 {
			t.Errorf("asked %d times", len(asked))
		}
	})
}

// Attaching to an interface that comes later needs no capability.
func TestLaterInterfaceWithoutCapabilities(t *testing.T) {
	needBPF(t)
	programs := tinyPrograms(t)
	netlab.InNamespace(t, func() {
		a := attachHere(t, Options{XDP: []string{"b0"}}, programs, func(a *attachments) {
			a.tcx = func(p *ebpf.Program, index int, name string) (link.Link, *Error) {
				header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
				if err := unix.Capset(&header, &new([2]unix.CapUserData)[0]); err != nil { // of this thread, which ends with a
					return nil, failed("drop capabilities", err)
				}
				return attachTCX(p, index, name)
			}
		})
		if a == nil {
			return
		}
		addressedPair(t)
		a.becomes(t, "a0:tcx b0:xdp lo:tcx")
	})
}

func idOf(t *testing.T, p *ebpf.Program) ebpf.ProgramID {
	info, err := p.Info()
	if err != nil {
		t.Error(err)
		return 0
	}
	id, _ := info.ID()
	return id
}

// The tracepoint needs no more than its program.
func TestAttachHandOff(t *testing.T) {
	needBPF(t)
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "tiny", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "net_dev_start_xmit", License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	l, failure := attachHandOff(p)
	if failure != nil {
		t.Fatal(failure)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
