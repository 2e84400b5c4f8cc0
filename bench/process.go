package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of times in /proc: USER_HZ, 100 per second on every Linux.
const clockTick = 10 * time.Millisecond

// cpuTime returns the user and system time that all threads of a process took
// (proc_pid_stat(5), fields 14 and 15), in whole clock ticks.
func cpuTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseStat(string(stat))
}

// parseStat is cpuTime of the text of a stat file. The second field is a name in
// parentheses that may itself hold blanks and parentheses.
func parseStat(stat string) (time.Duration, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]) // from the third on
	if len(fields) < 13 {
		return 0, fmt.Errorf("a process's stat has %d fields", len(fields))
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * clockTick, err
}

// packets returns how many packets a device received and sent, in the network
// namespace of a process.
func packets(pid int, device string) (uint64, error) {
	dev, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", pid))
	if err != nil {
		return 0, err
	}
	return parseDev(string(dev), device)
}

// parseDev is packets of the text of a net/dev file: per device eight counters of what
// came in, then eight of what went out; the second of each are packets.
func parseDev(dev, device string) (uint64, error) {
	for line := range strings.Lines(dev) {
		name, counters, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) != device {
			continue
		}
		fields := strings.Fields(counters)
		if len(fields) < 10 {
			return 0, fmt.Errorf("device %s has %d counters", device, len(fields))
		}
		in, err := strconv.ParseUint(fields[1], 10, 64)
		if err != nil {
			return 0, err
		}
		out, err := strconv.ParseUint(fields[9], 10, 64)
		return in + out, err
	}
	return 0, fmt.Errorf("there is no device %s", device)
}
