package bpf

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/clock"
)

// A test that is run again in another process finds the name of its part in this variable.
const partVariable = "SYSTOLE_BPF_TEST_PART"

// again runs the present test in another process, which a command may prepare. It fails as that does.
func again(t *testing.T, part string, attributes *syscall.SysProcAttr, command ...string) {
	t.Helper()
	needBPF(t)
	command = append(command, "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	if len(command) > 3 {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		command[len(command)-3] = self
	}
	c := exec.Command(command[0], command[1:]...)
	c.Env = append(os.Environ(), partVariable+"="+part)
	c.SysProcAttr = attributes
	if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%s: %v\n%s", part, err, out)
	}
}

// Capabilities alone are enough. CAP_BPF and CAP_NET_ADMIN are for stamps by tcx and cgroup; without
// CAP_PERFMON the verifier refuses the other programs.
func TestCapabilities(t *testing.T) {
	part := os.Getenv(partVariable)
	if part == "" {
		nobody := &syscall.Credential{Uid: 65534, Gid: 65534}
		again(t, "all", &syscall.SysProcAttr{
			Credential: nobody, AmbientCaps: []uintptr{unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_PERFMON},
		})
		again(t, "no perfmon", &syscall.SysProcAttr{
			Credential: nobody, AmbientCaps: []uintptr{unix.CAP_BPF, unix.CAP_NET_ADMIN},
		})
		again(t, "none", &syscall.SysProcAttr{Credential: nobody})
		return
	}
	for _, absorb := range []bool{false, true} {
		p, err := loadPrograms(16, absorb)
		if part == "none" {
			if !errors.Is(err, unix.EPERM) {
				t.Error(err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		all := part == "all"
		if p.cgroup == nil || (p.tcx != nil) != (all || !absorb) || (p.xdp != nil) != all || (p.handOff != nil) != all {
			t.Errorf("absorb %v:\n%+v\n%+v\n%+v\n%+v", absorb, p.tcxErr, p.cgroupErr, p.xdpErr, p.handOffErr)
		}
		if _, err := p.table(); err != nil {
			t.Error(err)
		}
	}
}

// Stamps are instants of the process, in a time namespace too.
func TestTimeNamespace(t *testing.T) {
	if os.Getenv(partVariable) == "" {
		again(t, "inside", nil, "unshare", "--time", "--fork", "--monotonic", "1000")
		return
	}
	offset, err := clockOffset()
	if err != nil {
		t.Fatal(err)
	}
	if d := time.Duration(offset) - 1000*time.Second; d.Abs() > time.Millisecond {
		t.Errorf("the offset is %v", time.Duration(offset))
	}
	p, s := load(t, true)
	h := hooks[0]
	from := clock.Now()
	h.fill(t, p, 1, 1)
	_, _, arrival := s.Next(ours, clock.Never, make([]byte, 200))
	const slack = time.Millisecond // the offset is as exact as a test run is short
	if to := clock.Now(); arrival.At < from.Add(-slack) || arrival.At > to.Add(slack) {
		t.Errorf("it arrived at %v, not from %v to %v", arrival.At, from, to)
	}
}

// Outside of a time namespace the clocks are the same.
func TestClockOffset(t *testing.T) {
	needBPF(t)
	offset, err := clockOffset()
	if err != nil || offset != 0 {
		t.Error(offset, err)
	}
}
