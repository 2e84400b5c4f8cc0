package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// clockSource judges the kernel's clock. A heartbeat costs several readings of it.
func (h *host) clockSource() Finding {
	const dir = "sys/devices/system/clocksource/clocksource0/"
	current, err := h.text(dir + "current_clocksource")
	if err != nil {
		return unknown(err)
	}
	available, _ := h.text(dir + "available_clocksource")
	return judgeClockSource(current, strings.Fields(available))
}

// goodClocks are read by user space without a system call, in some 20 ns.
var goodClocks = []string{"tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "tod", "timebase", "riscv_clocksource"}

// slowClocks need a system call and an access to a device, 1 µs and more.
var slowClocks = []string{"hpet", "acpi_pm", "pit", "jiffies", "refined-jiffies"}

// judgeClockSource judges the source that the kernel uses.
func judgeClockSource(current string, available []string) Finding {
	switch {
	case slices.Contains(goodClocks, current):
		return Finding{Found: current}
	case slices.Contains(slowClocks, current):
		f := Finding{
			Verdict: Problem,
			Found:   current + ": each reading takes a system call and an access to a device, a microsecond or more",
			Remedy:  "see the kernel log for why it gave up a better source",
		}
		for _, c := range available {
			if slices.Contains(goodClocks, c) {
				f.Remedy += "; " + c + " is there: write it to current_clocksource if the log has nothing against it"
				break
			}
		}
		return f
	}
	return Finding{Verdict: Note, Found: current + ": not known whether it is read without a system call"}
}

// timeNamespace tells whether this process has other monotonic instants than the kernel's programs.
func (h *host) timeNamespace() Finding {
	text, err := h.text("proc/self/timens_offsets")
	if err != nil {
		return unknown(err) // also a kernel below 5.6, or without time namespaces
	}
	offset, err := parseTimeOffset(text)
	if err != nil {
		return unknown(err)
	}
	figures := map[string]int64{"offset_ns": int64(offset)}
	if offset == 0 {
		return Finding{Found: "the monotonic clock is the host's", Figures: figures}
	}
	return Finding{
		Verdict: Note, Figures: figures,
		Found: fmt.Sprintf("the monotonic clock is %v off the host's; stamps of BPF programs are corrected for it", offset),
	}
}

// parseTimeOffset returns the offset of the monotonic clock in /proc/self/timens_offsets
// (time_namespaces(7)).
func parseTimeOffset(text string) (time.Duration, error) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] != "monotonic" && f[0] != "1" {
			continue
		}
		seconds, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			return 0, err
		}
		nanoseconds, err := strconv.ParseInt(f[2], 10, 64)
		return time.Duration(seconds)*time.Second + time.Duration(nanoseconds), err
	}
	return 0, fmt.Errorf("no monotonic clock in %q", text)
}
