package doctor

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// counts are counters of the kernel at one instant, each with the error of reading it.
type counts struct {
	cpu        cpuTimes
	cpuErr     error
	udp        udpCounts
	udpErr     error
	backlog    backlogCounts
	backlogErr error
	quota      quota
	quotaErr   error
}

// count reads all counters.
func (h *host) count() (c counts) {
	if text, err := h.text("proc/stat"); err != nil {
		c.cpuErr = err
	} else {
		c.cpu, c.cpuErr = parseCPUTimes(text)
	}
	if text, err := h.text("proc/net/snmp"); err != nil {
		c.udpErr = err
	} else {
		c.udp, c.udpErr = parseUDP(text)
	}
	if text, err := h.text("proc/net/softnet_stat"); err != nil {
		c.backlogErr = err
	} else {
		c.backlog, c.backlogErr = parseBacklog(text)
	}
	c.quota, c.quotaErr = h.readQuota()
	return c
}

// numbers parses decimal numbers.
func numbers(fields []string) ([]uint64, error) {
	out := make([]uint64, len(fields))
	for i, f := range fields {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return nil, err
		}
		out[i] = n
	}
	return out, nil
}

// cpuTimes are times of all CPUs since boot, in ticks.
type cpuTimes struct{ total, steal uint64 }

// parseCPUTimes reads the first line of /proc/stat. Guests are counted in user and nice already.
func parseCPUTimes(text string) (cpuTimes, error) {
	line, _, _ := strings.Cut(text, "\n")
	f := strings.Fields(line)
	if len(f) < 9 || f[0] != "cpu" {
		return cpuTimes{}, fmt.Errorf("no steal time in %q", line)
	}
	n, err := numbers(f[1:9])
	if err != nil {
		return cpuTimes{}, err
	}
	t := cpuTimes{steal: n[7]}
	for _, ticks := range n {
		t.total += ticks
	}
	return t, nil
}

// sub returns the times since an earlier reading. The kernel's sums now and then go back a little.
func (t cpuTimes) sub(before cpuTimes) cpuTimes {
	return cpuTimes{since(t.total, before.total), since(t.steal, before.steal)}
}

// since returns by how much a counter grew.
func since(after, before uint64) uint64 { return after - min(after, before) }

// stealPPM returns the share of steal time in parts per million.
func (t cpuTimes) stealPPM() int64 {
	if t.total == 0 {
		return 0
	}
	return int64(float64(t.steal) / float64(t.total) * 1e6)
}

// udpCounts are the drops of UDP in a network namespace.
type udpCounts struct{ errors, full, checksum uint64 }

// parseUDP reads the counters of UDP in /proc/net/snmp: a line of names, then a line of values.
func parseUDP(text string) (udpCounts, error) {
	var lines [][]string
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 0 && f[0] == "Udp:" {
			lines = append(lines, f)
		}
	}
	if len(lines) != 2 || len(lines[0]) != len(lines[1]) {
		return udpCounts{}, errors.New("no counters of UDP")
	}
	values, err := numbers(lines[1][1:])
	if err != nil {
		return udpCounts{}, err
	}
	var c udpCounts
	for i, name := range lines[0][1:] {
		switch name {
		case "InErrors":
			c.errors = values[i]
		case "RcvbufErrors":
			c.full = values[i]
		case "InCsumErrors":
			c.checksum = values[i]
		}
	}
	return c, nil
}

// backlogCounts are what the CPUs could not take from the network in time.
type backlogCounts struct{ dropped, squeezed uint64 }

// parseBacklog reads /proc/net/softnet_stat: a line of hexadecimal numbers per CPU.
func parseBacklog(text string) (c backlogCounts, err error) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 3 {
			return c, fmt.Errorf("%d columns", len(f))
		}
		dropped, err := strconv.ParseUint(f[1], 16, 64)
		if err != nil {
			return c, err
		}
		squeezed, err := strconv.ParseUint(f[2], 16, 64)
		if err != nil {
			return c, err
		}
		c.dropped += dropped
		c.squeezed += squeezed
	}
	return c, nil
}
