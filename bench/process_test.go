package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseProc(t *testing.T) {
	// proc_pid_stat(5): utime is field 14, stime 15; the name may hold anything.
	stat := "42 (a) (b c) S " + strings.Repeat("1 ", 10) + "150 50 7 7 20 0 2"
	if got, err := parseStat(stat); err != nil || got != 2*time.Second {
		t.Errorf("CPU time %v, %v", got, err)
	}
	const dev = "Inter-| Receive | Transmit\n face |bytes packets\n    lo: 1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\n  lab0: 900 17 0 0 0 0 0 0 800 15 0 0 0 0 0 0\n"
	for device, want := range map[string]uint64{"lab0": 32, "lo": 6} {
		if got, err := parseDev(dev, device); err != nil || got != want {
			t.Errorf("%s: %d packets, %v", device, got, err)
		}
	}
}

// Whatever its name, a process has the CPU time of its fields 14 and 15.
func TestParseStatProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.String().Draw(t, "name")
		user, system := rapid.Int64Range(0, 1<<40).Draw(t, "user"), rapid.Int64Range(0, 1<<40).Draw(t, "system")
		stat := fmt.Sprintf("1 (%s) R %s%d %d%s\n", name, strings.Repeat("3 ", 10), user, system, strings.Repeat(" 9", rapid.IntRange(0, 30).Draw(t, "more")))
		if got, err := parseStat(stat); err != nil || got != time.Duration(user+system)*clockTick {
			t.Fatalf("%q: %v, %v", stat, got, err)
		}
	})
}

func TestParseProcMistakes(t *testing.T) {
	ten := strings.Repeat("1 ", 10)
	for stat, want := range map[string]string{
		"42 (cat) R 1 2":           "3 fields after the name",
		"":                         "0 fields after the name",
		"42 (cat) R " + ten + "2":  "12 fields after the name",
		"1 (x) R " + ten + "a 5 6": `CPU time in field 14: strconv.ParseInt: parsing "a"`,
		"1 (x) R " + ten + "5 b 6": `CPU time in field 15: strconv.ParseInt: parsing "b"`,
	} {
		if got, err := parseStat(stat); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("stat %q: %v, %v; want %s", stat, got, err, want)
		}
	}
	for dev, want := range map[string]string{
		"":                             "there is no device lab",
		"lab\n":                        "there is no device lab",
		"lab0: 1 2 3 4 5 6 7 8 9 10\n": "there is no device lab",
		"lab: 1 2 3 4 5 6 7 8 9\n":     "device lab has 9 counters",
		"lab: 1 x 3 4 5 6 7 8 9 10\n":  `packets of device lab: strconv.ParseUint: parsing "x"`,
		"lab: 1 2 3 4 5 6 7 8 9 -1\n":  `packets of device lab: strconv.ParseUint: parsing "-1"`,
	} {
		if got, err := parseDev(dev, "lab"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("dev %q: %v, %v; want %s", dev, got, err, want)
		}
	}
}

// The kernel's own files are parsed: of this process, and of its loopback device.
func TestProc(t *testing.T) {
	if cpu, err := cpuTime(os.Getpid()); err != nil || cpu < 0 || cpu > time.Hour {
		t.Errorf("CPU time %v, %v", cpu, err)
	}
	if _, err := packets(os.Getpid(), "lo"); err != nil {
		t.Error(err)
	}
	if _, err := packets(1<<30, "lo"); !os.IsNotExist(err) {
		t.Errorf("no such process: %v", err)
	}
}

// Busy loops are busy: children's CPU time grows while they run, on a busy machine after a while.
func TestBusy(t *testing.T) {
	spent := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := spent()
	for range 20 {
		stop, err := startBusy(2)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if spent()-before >= 100*time.Millisecond {
			return
		}
	}
	t.Errorf("two busy loops took %v of CPU in 2 s", spent()-before)
}

// A command that does not start is an error, and a child that was stopped is gone.
func TestStart(t *testing.T) {
	if _, err := start(exec.Command("/no/such/program")); err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("error %v", err)
	}
	c := exec.Command("/bin/sleep", "60")
	stop, err := start(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if s, ok := c.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGKILL {
		t.Errorf("the child ended by %v", c.ProcessState)
	}
}
