//go:build !systole_portable

package engine

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The runtime follows the processors that the process may use. Procs ends that, Close does not begin it
// again, and runtime.SetDefaultGOMAXPROCS does. It is the same for the CPU limit of a control group, which
// the runtime reads with the processors. A process of its own does it, since it takes processors away.
func TestProcsEndTheFollowing(t *testing.T) {
	const inside = "SYSTOLE_TEST_PROCS"
	if os.Getenv(inside) != "" {
		followProcessors(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1", "GOMAXPROCS=") // which would end the following
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func followProcessors(t *testing.T) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	if all.Count() < 2 {
		if os.Getenv("SYSTOLE_CI") != "" {
			t.Fatal("CI lacks a second processor")
		}
		t.Skip("this machine lacks a second processor")
	}
	var one unix.CPUSet
	for i := 0; one.Count() == 0; i++ {
		if all.IsSet(i) {
			one.Set(i)
		}
	}
	runtime.SetDefaultGOMAXPROCS() // package testing has set GOMAXPROCS
	many := runtime.GOMAXPROCS(0)
	run := func(on *unix.CPUSet, want int, when string) {
		runOn(t, on)
		eventually(t, strconv.Itoa(want)+" Ps "+when, func() bool { return runtime.GOMAXPROCS(0) == want })
	}
	run(&one, 1, "on one processor")
	run(&all, many, "on all again")
	stays := func(want int, when string) {
		time.Sleep(2500 * time.Millisecond) // the runtime looks each second
		if got := runtime.GOMAXPROCS(0); got != want {
			t.Errorf("%d Ps %s, want %d", got, when, want)
		}
	}
	e := open(t, Config{Period: time.Minute, Sched: Sched{Procs: 1}})
	runOn(t, &one)
	stays(many+1, "with Procs, on one processor")
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	stays(many, "after Close, on one processor")
	runtime.SetDefaultGOMAXPROCS()
	run(&one, 1, "after SetDefaultGOMAXPROCS")
	run(&all, many, "on all again after SetDefaultGOMAXPROCS")
}

// runOn has all threads of this process run on some processors.
func runOn(t *testing.T, on *unix.CPUSet) {
	t.Helper()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err == nil {
			err = unix.SchedSetaffinity(id, on)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) { // it ended meanwhile
			t.Fatal(err)
		}
	}
}
