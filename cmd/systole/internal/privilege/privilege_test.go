package privilege

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"unsafe"

	"golang.org/x/sys/unix"

	"systole/engine"
)

// childMode is the environment variable by which this test's program knows that it is a child.
const childMode = "SYSTOLE_PRIVILEGE_TEST"

func TestMain(m *testing.M) {
	switch os.Getenv(childMode) {
	case "":
		os.Exit(m.Run())
	case "drop":
		if err := child(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	case "report":
		report()
	}
}

// report prints the capabilities of this process.
func report() {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "CapPrm:") || strings.HasPrefix(line, "CapEff:") {
			fmt.Print(line)
		}
	}
}

// noCapabilities is what report prints without any.
const noCapabilities = "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n"

// child drops its capabilities beside the loops of an engine, which wait in system calls. Before, it can
// load a program; after, no thread can, none can take a capability back, and no program that it executes
// gets one. The program to execute is its argument.
func child() error {
	if err := loadProgram(); err != nil {
		return fmt.Errorf("before Drop: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var before [2]unix.CapUserData
	if err := unix.Capget(&header, &before[0]); err != nil {
		return err
	}
	e, err := engine.Open(engine.Config{
		Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Shards: 2, Sched: engine.Sched{Procs: 2},
	})
	if err != nil {
		return err
	}
	const threads = 8
	dropped, results := make(chan bool), make(chan error)
	started := make(chan bool)
	for range threads {
		go func() {
			runtime.LockOSThread()
			started <- true
			<-dropped
			results <- powerless(before)
		}()
	}
	for range threads {
		<-started
	}
	if err := Drop(); err != nil {
		return err
	}
	close(dropped)
	for range threads {
		if err := <-results; err != nil {
			return err
		}
	}
	if err := Drop(); err != nil {
		return fmt.Errorf("a second Drop: %w", err)
	}
	if err := e.Close(); err != nil {
		return err
	}
	cmd := exec.Command(os.Args[1])
	cmd.Env = []string{childMode + "=report"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("execute: %w: %s", err, out)
	}
	if string(out) != noCapabilities {
		return fmt.Errorf("an executed program has capabilities:\n%s", out)
	}
	return powerless(before)
}

// powerless returns an error unless the calling thread is refused a program, its former capabilities, and
// an ambient one.
func powerless(before [2]unix.CapUserData) error {
	if err := loadProgram(); !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("after Drop, loading a program: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capset(&header, &before[0]); !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("after Drop, taking capabilities back: %w", err)
	}
	err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_BPF, 0, 0)
	if !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("after Drop, raising an ambient capability: %w", err)
	}
	return nil
}

// loadProgram loads an XDP program that passes every packet, and closes it. It needs CAP_BPF and
// CAP_NET_ADMIN.
func loadProgram() error {
	instructions := [...]uint64{0x00000002_000000b7, 0x95} // r0 = XDP_PASS; exit
	license := []byte("GPL\x00")
	attr := struct {
		kind, count           uint32
		instructions, license uintptr
		rest                  [104]byte
	}{unix.BPF_PROG_TYPE_XDP, uint32(len(instructions)), uintptr(unsafe.Pointer(&instructions)), uintptr(unsafe.Pointer(&license[0])), [104]byte{}}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(&instructions)
	runtime.KeepAlive(license)
	if errno != 0 {
		return fmt.Errorf("load a program: %w", errno)
	}
	return unix.Close(int(fd))
}

// capabilities are those of the loader.
var capabilities = []uintptr{unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_PERFMON}

// A child has capabilities alone, or is root. Drop works with cgo and without.
func TestDrop(t *testing.T) {
	if os.Getuid() != 0 {
		lacking(t, "giving capabilities to a child needs root (CAP_SETPCAP, CAP_SETUID)")
	}
	for _, cgo := range []string{"0", "1"} {
		binary, gifted := build(t, cgo)
		for name, id := range map[string]uint32{"capabilities": 65534, "root": 0} {
			t.Run("cgo="+cgo+"/"+name, func(t *testing.T) {
				cmd := exec.Command(binary, gifted)
				cmd.Env = []string{childMode + "=drop"}
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
				if id != 0 {
					cmd.SysProcAttr.AmbientCaps = capabilities
				}
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
	}
}

// build builds this test's program, and a copy whose file has capabilities. It checks that executing the
// copy gives them.
func build(t *testing.T, cgo string) (binary, gifted string) {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	binary, gifted = filepath.Join(dir, "plain"), filepath.Join(dir, "gifted")
	cmd := exec.Command("go", "test", "-c", "-o", binary, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		lacking(t, fmt.Sprintf("building with CGO_ENABLED=%s needs a C compiler: %v: %s", cgo, err, out))
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(gifted, program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(gifted, "security.capability", fileCapabilities(), 0); err != nil {
		lacking(t, fmt.Sprintf("giving capabilities to the file %s needs CAP_SETFCAP: %v", gifted, err))
	}
	report := exec.Command(gifted)
	report.Env = []string{childMode + "=report"}
	report.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := report.CombinedOutput(); err != nil || string(out) == noCapabilities {
		t.Fatalf("the file's capabilities have no effect: %v, %s", err, out)
	}
	return binary, gifted
}

// fileCapabilities returns the extended attribute of a file that gives capabilities, in version 2
// (linux/capability.h).
func fileCapabilities() []byte {
	var permitted uint64
	for _, c := range capabilities {
		permitted |= 1 << c
	}
	const version2, effective = 0x02000000, 1
	b := binary.LittleEndian.AppendUint32(nil, version2|effective)
	for _, half := range []uint32{uint32(permitted), uint32(permitted >> 32)} {
		b = binary.LittleEndian.AppendUint32(b, half)
		b = binary.LittleEndian.AppendUint32(b, 0) // inheritable
	}
	return b
}

// lacking skips the test, except in CI, which has what tests need.
func lacking(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("SYSTOLE_CI") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}

func TestVerify(t *testing.T) {
	const clean = "Name:\tx\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n" +
		"CapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n"
	thread := func(status string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(status)} }
	if err := verify(fstest.MapFS{"7/status": thread(clean), "8/status": thread(clean)}); err != nil {
		t.Error(err)
	}
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		left := strings.Replace(clean, set+":\t0000", set+":\t0080", 1)
		err := verify(fstest.MapFS{"7/status": thread(clean), "8/status": thread(left)})
		if err == nil || !strings.Contains(err.Error(), "thread 8: "+set) {
			t.Errorf("%s: %v", set, err)
		}
	}
	for name, tasks := range map[string]fstest.MapFS{
		"no threads": {}, "no sets": {"7/status": thread("Name:\tx\n")},
		"new privileges": {"7/status": thread(strings.Replace(clean, "NoNewPrivs:\t1", "NoNewPrivs:\t0", 1))},
	} {
		if verify(tasks) == nil {
			t.Errorf("%s: verified", name)
		}
	}
}
