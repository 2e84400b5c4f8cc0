package udp

import (
	"errors"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// SetTimerSlack sets by how much the kernel may lengthen the waits of the calling
// thread to save wake-ups (prctl(2), PR_SET_TIMERSLACK): 50 µs unless set, at least
// 1 ns. The goroutine must be locked to its thread. Real-time threads have none.
func SetTimerSlack(slack time.Duration) error {
	op := "set the timer slack to " + slack.String()
	if slack < 1 {
		return failed(op, unix.EINVAL, "the least is 1 ns")
	}
	return failed(op, unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0), "")
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
	// CPU is the processor to run on, from 0; -1 leaves the choice to the kernel.
	CPU int
}

// Apply schedules the calling thread, to which the goroutine must be locked. Threads
// that it starts do not inherit the real-time class. It returns an *Error that names the
// missing privilege; then steps before the failed one stay done.
func (c *Sched) Apply() error {
	if err := c.validate(); err != nil {
		return err
	}
	if c.CPU >= 0 {
		var set unix.CPUSet
		set.Set(c.CPU)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return failed("run on CPU "+strconv.Itoa(c.CPU), err, affinityHelp(err))
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

// validate refuses what no kernel would take, or would clamp.
func (c *Sched) validate() error {
	const op = "schedule the thread"
	switch {
	case c.FIFO < 0 || c.FIFO > 99:
		return failed(op, unix.EINVAL, "SCHED_FIFO priorities are 1 to 99")
	case c.Nice < -20 || c.Nice > 19:
		return failed(op, unix.EINVAL, "nice values are -20 to 19")
	case c.Slice != 0 && (c.Slice < 100*time.Microsecond || c.Slice > 100*time.Millisecond):
		return failed(op, unix.EINVAL, "slices are 100 µs to 100 ms")
	case c.CPU < -1 || c.CPU >= maxCPU:
		return failed(op, unix.EINVAL, "CPUs are 0 to 1023, or -1 for any")
	}
	return nil
}

// maxCPU is how many processors a unix.CPUSet can name.
const maxCPU = 1024

// applyFIFO enters the real-time class.
func (c *Sched) applyFIFO() error {
	attr := unix.SchedAttr{
		Size:     unix.SizeofSchedAttr,
		Policy:   unix.SCHED_FIFO,
		Flags:    unix.SCHED_FLAG_RESET_ON_FORK,
		Priority: uint32(c.FIFO),
	}
	err := unix.SchedSetAttr(0, &attr, 0)
	help := ""
	if errors.Is(err, unix.EPERM) {
		help = "it needs CAP_SYS_NICE, or RLIMIT_RTPRIO (ulimit -r, LimitRTPRIO=) of at least " + strconv.Itoa(c.FIFO) +
			"; in a cgroup v1 also cpu.rt_runtime_us"
	}
	return failed("set SCHED_FIFO priority "+strconv.Itoa(c.FIFO), err, help)
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
	err = unix.SchedSetAttr(0, attr, 0)
	help := ""
	if errors.Is(err, unix.EPERM) {
		help = "it needs CAP_SYS_NICE, or RLIMIT_NICE (LimitNICE=) of at least " + strconv.Itoa(20-c.Nice)
	}
	return failed("set nice "+strconv.Itoa(c.Nice), err, help)
}

// affinityHelp says what would help after a failed sched_setaffinity(2).
func affinityHelp(err error) string {
	if errors.Is(err, unix.EINVAL) {
		return "the machine has no such CPU online, or the process's cpuset excludes it"
	}
	return ""
}
