//go:build linux

package udp

import (
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// SetTimerSlack sets by how much the kernel may lengthen the waits of the calling
// thread to save wake-ups (prctl(2), PR_SET_TIMERSLACK): 50 µs unless set, at least
// 1 ns. The goroutine must be locked to its thread. Real-time threads have none.
func SetTimerSlack(slack time.Duration) error {
	err := error(unix.EINVAL) // 0 would mean the default
	if slack > 0 {
		err = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0)
	}
	return failed("set the timer slack to "+slack.String(), err, "")
}

// Sched is how a thread is scheduled (sched(7)).
type Sched struct {
	// FIFO is the priority in the real-time class SCHED_FIFO, 1 to 99. 0 stays in the
	// normal class. A real-time thread leaves its nice value and slice unused.
	FIFO int
	// Nice is the nice value, -20 (favoured) to 19. 0 changes nothing.
	Nice int
	// Slice is how long the thread wants to run at a time in the normal class, 100 µs to
	// 100 ms. The shorter, the sooner it runs after a wake-up. 0 changes nothing, and
	// kernels before 6.12 ignore it.
	Slice time.Duration
	// CPU is the processor to run on, 0 to 1023; -1 leaves the choice to the kernel.
	CPU int
}

// Apply schedules the calling thread, to which the goroutine must be locked. Threads
// that it starts do not inherit the real-time class. It returns an *Error that names the
// missing privilege; then steps before the failed one stay done.
func (c *Sched) Apply() error {
	if !c.valid() {
		return failed("schedule the thread", unix.EINVAL, "CPU, FIFO, Nice or Slice is out of range")
	}
	if c.CPU >= 0 {
		var set unix.CPUSet
		set.Set(c.CPU)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return failed("run on CPU "+strconv.Itoa(c.CPU), err, "is it online, and in the process's cpuset?")
		}
	}
	switch {
	case c.FIFO > 0:
		return c.applyFIFO()
	case c.Nice != 0 || c.Slice != 0:
		return c.applyNormal()
	}
	return nil
}

// valid reports whether the kernel takes every field as it is: it clamps some.
func (c *Sched) valid() bool {
	slice := c.Slice == 0 || c.Slice >= 100*time.Microsecond && c.Slice <= 100*time.Millisecond
	return slice && c.FIFO >= 0 && c.FIFO <= 99 && c.Nice >= -20 && c.Nice <= 19 && c.CPU >= -1 && c.CPU < maxCPU
}

// maxCPU is how many processors a unix.CPUSet can name.
const maxCPU = 1024

// applyFIFO enters the real-time class.
func (c *Sched) applyFIFO() error {
	err := unix.SchedSetAttr(0, &unix.SchedAttr{
		Size:     unix.SizeofSchedAttr,
		Policy:   unix.SCHED_FIFO,
		Flags:    unix.SCHED_FLAG_RESET_ON_FORK,
		Priority: uint32(c.FIFO),
	}, 0)
	priority := strconv.Itoa(c.FIFO)
	return failed("set SCHED_FIFO priority "+priority, err,
		"it needs CAP_SYS_NICE, or RLIMIT_RTPRIO (ulimit -r, LimitRTPRIO=) of at least "+priority+
			"; in a cgroup v1 also cpu.rt_runtime_us")
}

// applyNormal sets nice value and slice in the thread's present class.
func (c *Sched) applyNormal() error {
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return failed("read the thread's scheduling", err, "")
	}
	if c.Nice != 0 {
		attr.Nice = int32(c.Nice)
	}
	if c.Slice != 0 {
		attr.Runtime = uint64(c.Slice)
	}
	return failed("set nice "+strconv.Itoa(c.Nice), unix.SchedSetAttr(0, attr, 0),
		"it needs CAP_SYS_NICE, or RLIMIT_NICE (LimitNICE=) of at least "+strconv.Itoa(20-c.Nice))
}
