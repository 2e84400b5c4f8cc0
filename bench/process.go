package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the unit of times in /proc: USER_HZ, 100 per second on every Linux.
const clockTick = 10 * time.Millisecond

// cpuTime returns the user and system time of all threads of a process, in whole clock ticks.
func cpuTime(pid int) (time.Duration, error) {
	path := fmt.Sprintf("/proc/%d/stat", pid)
	stat, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	cpu, err := parseStat(string(stat))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return cpu, nil
}

// parseStat returns the CPU time in the text of a stat file: fields 14 and 15 of proc_pid_stat(5).
// The second field is a name in parentheses, which may contain spaces and parentheses.
func parseStat(stat string) (time.Duration, error) {
	const user, system = 11, 12 // from the third field on
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) <= system {
		return 0, fmt.Errorf("%d fields after the name, want more than %d", len(fields), system)
	}
	var ticks int64
	for _, i := range []int{user, system} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("CPU time in field %d: %w", i+3, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// packets returns how many packets a device has received and sent, in the network namespace of a
// process.
func packets(pid int, device string) (uint64, error) {
	path := fmt.Sprintf("/proc/%d/net/dev", pid)
	dev, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := parseDev(string(dev), device)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

// parseDev returns the packets of a device in the text of a net/dev file. A device has eight
// counters of what it received, then eight of what it sent; the second of each eight is packets.
func parseDev(dev, device string) (uint64, error) {
	const received, sent = 1, 9
	for line := range strings.Lines(dev) {
		name, counters, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(name) != device {
			continue
		}
		fields := strings.Fields(counters)
		if len(fields) <= sent {
			return 0, fmt.Errorf("device %s has %d counters, want more than %d", device, len(fields), sent)
		}
		var sum uint64
		for _, i := range []int{received, sent} {
			n, err := strconv.ParseUint(fields[i], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("packets of device %s: %w", device, err)
			}
			sum += n
		}
		return sum, nil
	}
	return 0, fmt.Errorf("there is no device %s", device)
}

// busyLoop keeps one CPU busy without system calls. It is a process and no goroutine, because the
// Go scheduler preempts a goroutine every 10 ms.
const busyLoop = "while :; do :; done"

// maxBusy bounds the number of busy loops.
const maxBusy = 256

// startBusy starts n busy loops, each a process at normal priority. stop kills them.
func startBusy(n int) (stop func() error, err error) {
	var stops []func() error
	stop = func() error {
		var errs []error
		for _, s := range stops {
			errs = append(errs, s())
		}
		return errors.Join(errs...)
	}
	for range n {
		s, err := start(exec.Command("/bin/sh", "-c", busyLoop))
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		stops = append(stops, s)
	}
	return stop, nil
}

// start starts c as a child that ends with this program. stop kills it.
func start(c *exec.Cmd) (stop func() error, err error) {
	endWithParent(c)
	if err := c.Start(); err != nil {
		return nil, err
	}
	return func() error {
		if err := c.Process.Kill(); err != nil {
			return err
		}
		_ = c.Wait() // its error is the signal
		return nil
	}, nil
}

// endWithParent has the kernel kill the process of c when the thread that starts it ends. Errors
// that the process prints appear with those of this program.
func endWithParent(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.Stderr = os.Stderr
}
