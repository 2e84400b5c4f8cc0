package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"systole/cmd/systole/internal/doctor"
	"systole/engine/enginetest/netlab"
)

// doctorTime is how long doctor may take at most.
const doctorTime = 3 * time.Second

// checks are the names of the findings, in their order.
var checks = strings.Fields(`clock-source time-namespace timer-slack slice scheduling-class wake-up steal cpu-quota buffers
	udp-drops backlog-drops kernel capabilities unprivileged-bpf btf receive-stamps hardware-stamps hooks stamp-tier`)

// examined is a line of doctor. It has the fields of all types.
type examined struct {
	V        int              `json:"v"`
	Type     string           `json:"type"`
	T        time.Time        `json:"t"`
	Check    string           `json:"check"`
	Subject  string           `json:"subject"`
	Verdict  string           `json:"verdict"`
	Found    string           `json:"found"`
	Remedy   string           `json:"remedy"`
	Figures  map[string]int64 `json:"figures"`
	OK       int              `json:"ok"`
	Notes    int              `json:"notes"`
	Problems int              `json:"problems"`
	Stamps   string           `json:"stamps"`
}

// examine runs a doctor that prints JSON. It checks that every check has findings, that the summary and the
// exit status fit them, and that it ends in time. It returns the findings by check, and the summary.
func examine(t *testing.T, cmd *exec.Cmd) (map[string]examined, examined) {
	t.Helper()
	var out, complaints strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &complaints
	start := time.Now()
	err := cmd.Run()
	if took := time.Since(start); took > doctorTime {
		t.Errorf("took %v", took)
	}
	if cmd.ProcessState == nil || complaints.Len() > 0 {
		t.Fatalf("%v: %s", err, complaints.String())
	}
	found := make(map[string]examined)
	counts := make(map[string]int)
	var order []string
	var last examined
	for text := range strings.Lines(out.String()) {
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.DisallowUnknownFields()
		last = examined{}
		if err := decoder.Decode(&last); err != nil || last.V != 1 || last.T.IsZero() {
			t.Fatalf("%v: %s", err, text)
		}
		if last.Type != "finding" {
			break
		}
		if last.Found == "" || strings.Contains(last.Found+last.Remedy, "\n") {
			t.Errorf("nothing found, or several lines: %+v", last)
		}
		if len(order) == 0 || order[len(order)-1] != last.Check {
			order = append(order, last.Check)
		}
		found[last.Check] = last
		counts[last.Verdict]++
	}
	if strings.Join(order, " ") != strings.Join(checks, " ") {
		t.Errorf("checks %q, want %q", order, checks)
	}
	if last.Type != "summary" || last.OK != counts["ok"] || last.Notes != counts["note"] || last.Problems != counts["problem"] {
		t.Errorf("%v, and the summary %+v", counts, last)
	}
	if want := min(counts["problem"], exitPeer); cmd.ProcessState.ExitCode() != want {
		t.Errorf("exit status %d for %v", cmd.ProcessState.ExitCode(), counts)
	}
	return found, last
}

// doctorCommand returns a doctor that prints JSON.
func doctorCommand(args ...string) *exec.Cmd {
	return exec.Command(binary, append([]string{"doctor", "-o", "json"}, args...)...)
}

func TestDoctor(t *testing.T) {
	found, summary := examine(t, doctorCommand("--interface", "lo", "-l", "127.0.0.1:0"))
	if f := found["receive-stamps"]; f.Verdict != "ok" {
		t.Errorf("no stamps: %+v", f)
	}
	if f := found["wake-up"]; f.Figures["sleeps"] == 0 || f.Figures["p99_ns"] < f.Figures["p50_ns"] {
		t.Errorf("wake-ups: %+v", f)
	}
	if f := found["hardware-stamps"]; f.Subject != "lo" {
		t.Errorf("another interface: %+v", f)
	}
	if summary.Stamps == "user" {
		t.Errorf("with the kernel's stamps: %+v", summary)
	}
	text, complaint, _ := run1("doctor")
	if !regexp.MustCompile(`(?m)^(ok|note) +receive-stamps`).MatchString(text) || !strings.Contains(text, "; stamps: ") || complaint != "" {
		t.Errorf("%s%s", text, complaint)
	}
}

// An address that is taken is a problem, with a remedy.
func TestDoctorBusyAddress(t *testing.T) {
	s := serve(t, anyPort)
	found, summary := examine(t, doctorCommand("-l", s.addr))
	if f := found["buffers"]; f.Verdict != "problem" || f.Remedy == "" || !strings.Contains(f.Found, s.addr) || summary.Problems == 0 {
		t.Errorf("%+v", f)
	}
	text, _, code := run1("doctor", "-l", s.addr)
	if code != exitPeer || !strings.Contains(text, "remedy: free the address") {
		t.Errorf("exit status %d: %s", code, text)
	}
}

func TestDoctorUsage(t *testing.T) {
	for _, args := range [][]string{
		{"-o", "xml"}, {"--peers", "0"}, {"--peers", "1048577"}, {"--interface", "none0"}, {"-l", "7853"}, {"-l", "224.0.0.1:7853"}, {"x"},
		{"--what"},
	} {
		out, complaint, code := run1(append([]string{"doctor"}, args...)...)
		if code != exitUsage || complaint == "" || out != "" {
			t.Errorf("%q: exit status %d, %q, %q", args, code, out, complaint)
		}
	}
}

// The format of the lines is part of the interface.
func TestDoctorFormat(t *testing.T) {
	findings := []doctor.Finding{
		{Check: "clock-source", Found: "tsc"},
		{Check: "steal", Verdict: doctor.Note, Found: "2 %", Remedy: "another machine", Figures: map[string]int64{"boot_ppm": 20000}},
		{Check: "hooks", Subject: "eth0", Verdict: doctor.Problem, Found: "taken"},
		{Check: doctor.CheckTier, Subject: "kernel", Found: "works"},
	}
	var lines, text strings.Builder
	if err := printFindings(json.NewEncoder(&lines), findings); err != nil {
		t.Fatal(err)
	}
	writeFindings(&text, findings)
	got := regexp.MustCompile(`"t":"[^"]+"`).ReplaceAllString(lines.String(), `"t":"T"`) + text.String()
	want, err := os.ReadFile("testdata/doctor.golden")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Without any privilege, capabilities are a note, and the kernel's stamps work.
func TestDoctorWithoutPrivilege(t *testing.T) {
	if os.Getuid() != 0 {
		netlab.Require(t, netlab.ErrPrivilege)
	}
	cmd := doctorCommand()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	found, summary := examine(t, cmd)
	if f := found["capabilities"]; f.Verdict != "note" || !strings.HasPrefix(f.Found, "without CAP_BPF") {
		t.Errorf("capabilities: %+v", f)
	}
	if found["receive-stamps"].Verdict != "ok" || summary.Stamps != "kernel" {
		t.Errorf("%+v, %+v", found["receive-stamps"], summary)
	}
}

// onThread runs f, then examine, on a thread that ends with them. What f takes from the thread, doctor lacks.
func onThread(t *testing.T, f func() error) (found map[string]examined, summary examined) {
	t.Helper()
	var err error
	t.Run("", func(t *testing.T) {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine of this test
		if err = f(); err == nil {
			found, summary = examine(t, doctorCommand())
		}
	})
	if err != nil {
		netlab.Require(t, err)
	}
	return found, summary
}

// A container may hide /sys, or /proc as well.
func TestDoctorWithoutFiles(t *testing.T) {
	if os.Getuid() != 0 {
		netlab.Require(t, netlab.ErrPrivilege)
	}
	for _, hidden := range [][]string{{"/sys"}, {"/sys", "/proc"}} {
		found, _ := onThread(t, func() error { return hide(hidden) })
		for check, dir := range map[string]string{"clock-source": "/sys", "cpu-quota": "/sys", "steal": "/proc", "udp-drops": "/proc"} {
			f, want := found[check], dir == "/sys" || len(hidden) == 2
			if strings.HasPrefix(f.Found, "not known: ") != want || want && f.Verdict != "note" {
				t.Errorf("without %q: %+v", hidden, f)
			}
		}
		if f := found["btf"]; f.Verdict != "note" {
			t.Errorf("without %q: %+v", hidden, f)
		}
	}
}

// hide mounts empty directories over others, in a mount namespace of the calling thread.
func hide(dirs []string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return err
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
			return err
		}
	}
	return nil
}

// A sandbox may refuse system calls, which need not be known to it. Each refusal is a finding.
func TestDoctorRefused(t *testing.T) {
	refused := []uint32{
		unix.SYS_PRCTL, unix.SYS_SCHED_GETATTR, unix.SYS_SCHED_SETATTR, unix.SYS_CAPGET, unix.SYS_BPF, unix.SYS_SOCKET,
		unix.SYS_CLOCK_NANOSLEEP, unix.SYS_UNAME, unix.SYS_IOCTL,
	}
	for _, errno := range []unix.Errno{unix.EPERM, unix.ENOSYS} {
		found, summary := onThread(t, func() error { return refuse(errno, refused...) })
		for _, check := range []string{"timer-slack", "slice", "scheduling-class", "wake-up", "kernel", "capabilities", "hardware-stamps", "hooks"} {
			if f := found[check]; f.Verdict != "note" || !strings.HasPrefix(f.Found, "not known: ") {
				t.Errorf("%v: %+v", errno, f)
			}
		}
		if f := found["buffers"]; f.Verdict != "problem" || summary.Stamps != "user" {
			t.Errorf("%v: %+v, %+v", errno, f, summary)
		}
	}
	found, _ := onThread(t, func() error { return refuse(unix.EPERM, unix.SYS_SETSOCKOPT) })
	if f := found["receive-stamps"]; f.Verdict != "note" || !strings.Contains(f.Found, "SO_TIMESTAMPING") {
		t.Errorf("without options of sockets: %+v", f)
	}
}

// refuse makes system calls of the calling thread, and of what it starts, fail. It needs no privilege.
func refuse(errno unix.Errno, calls ...uint32) error {
	program := []bpf.Instruction{bpf.LoadAbsolute{Off: 0, Size: 4}} // seccomp_data.nr
	for _, call := range calls {
		program = append(program,
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: call, SkipTrue: 1},
			bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(errno)})
	}
	raw, err := bpf.Assemble(append(program, bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}))
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, in := range raw {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
}
