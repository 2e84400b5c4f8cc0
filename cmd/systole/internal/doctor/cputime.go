package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

// quota is a limit of CPU time of a control group.
type quota struct {
	limit, period      time.Duration // CPU time per period; limit 0: none
	periods, throttled uint64        // periods in which the group ran, and those in which it was stopped
	throttledFor       time.Duration
}

// cpus returns the limit in CPUs.
func (q quota) cpus() float64 { return float64(q.limit) / float64(q.period) }

// tighter returns the limit that leaves less time.
func tighter(a, b quota) quota {
	if a.limit == 0 || b.limit != 0 && b.cpus() < a.cpus() {
		return b
	}
	return a
}

// readQuota returns the tightest limit of this process' control groups, and of those above them, in
// either version.
func (h *host) readQuota() (quota, error) {
	groups, err := h.text("proc/self/cgroup")
	if err != nil {
		return quota{}, err
	}
	mounts, err := h.text("proc/self/mountinfo")
	if err != nil {
		return quota{}, err
	}
	v1, v2 := parseGroups(groups)
	var tightest quota
	errs := []error{errors.New("no control group for CPU time is mounted")}
	seen := false
	for _, hierarchy := range []struct {
		group string
		mount mount
		read  func(dir string) (quota, error)
	}{{v1, findMount(mounts, "cgroup", "cpu"), h.quota1}, {v2, findMount(mounts, "cgroup2", ""), h.quota2}} {
		if hierarchy.group == "" || hierarchy.mount.dir == "" {
			continue
		}
		for _, dir := range hierarchy.mount.groups(hierarchy.group) {
			q, err := hierarchy.read(dir)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			seen = true
			tightest = tighter(tightest, q)
		}
	}
	if !seen {
		return quota{}, errs[len(errs)-1]
	}
	return tightest, nil
}

// parseGroups returns the control groups in /proc/self/cgroup: that of the controller cpu of version 1, and
// that of version 2. "" means none.
func parseGroups(text string) (v1, v2 string) {
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) < 3 {
			continue
		}
		switch {
		case f[0] == "0" && f[1] == "":
			v2 = f[2]
		case hasOption(f[1], "cpu"):
			v1 = f[2]
		}
	}
	return v1, v2
}

// hasOption reports whether a list with commas has an option. Every list has "".
func hasOption(options, option string) bool {
	return option == "" || strings.Contains(","+options+",", ","+option+",")
}

// mount is where a hierarchy of control groups is mounted. dir is without the slash in front. root is the
// group that is seen there.
type mount struct{ dir, root string }

// findMount finds a mount in /proc/self/mountinfo (proc_pid_mountinfo(5)).
func findMount(text, kind, option string) mount {
	for line := range strings.Lines(text) {
		before, after, _ := strings.Cut(line, " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if len(f) >= 5 && len(g) >= 3 && g[0] == kind && hasOption(g[2], option) {
			return mount{dir: strings.TrimPrefix(f[4], "/"), root: f[3]}
		}
	}
	return mount{}
}

// groups returns the directories of a group and of those above it.
func (m mount) groups(group string) []string {
	dir := path.Join(m.dir, strings.TrimPrefix(group, strings.TrimSuffix(m.root, "/")))
	dirs := []string{dir}
	for strings.HasPrefix(dir, m.dir+"/") {
		dir = path.Dir(dir)
		dirs = append(dirs, dir)
	}
	return dirs
}

// quota2 reads the limit of a group in version 2. The topmost group has none.
func (h *host) quota2(dir string) (quota, error) {
	text, err := h.groupText(dir, "cpu.max")
	if text == "" || err != nil {
		return quota{}, err
	}
	f := strings.Fields(text)
	if len(f) != 2 || f[0] == "max" {
		return quota{}, nil
	}
	n, err := numbers(f)
	if err != nil {
		return quota{}, fmt.Errorf("/%s/cpu.max: %w", dir, err)
	}
	return h.throttling(dir, n[0], n[1], "throttled_usec", time.Microsecond)
}

// quota1 reads the limit of a group in version 1.
func (h *host) quota1(dir string) (quota, error) {
	text, err := h.groupText(dir, "cpu.cfs_quota_us")
	if text == "" || err != nil {
		return quota{}, err
	}
	limit, err := strconv.ParseInt(text, 10, 64)
	if err != nil || limit <= 0 {
		return quota{}, err
	}
	text, err = h.text(dir + "/cpu.cfs_period_us")
	if err != nil {
		return quota{}, err
	}
	period, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return quota{}, err
	}
	return h.throttling(dir, uint64(limit), period, "throttled_time", time.Nanosecond)
}

// groupText reads a file of a group. A group may lack the file, which has no limit then.
func (h *host) groupText(dir, name string) (string, error) {
	if _, err := fs.Stat(h.root, dir); err != nil {
		return "", fmt.Errorf("control group /%s: %w", dir, cause(err))
	}
	text, err := h.text(dir + "/" + name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return text, err
}

// throttling returns a limit in microseconds, with what the group's cpu.stat says of it.
func (h *host) throttling(dir string, limit, period uint64, duration string, unit time.Duration) (quota, error) {
	if limit == 0 || period == 0 {
		return quota{}, fmt.Errorf("control group /%s: %d µs in %d µs", dir, limit, period)
	}
	q := quota{limit: time.Duration(limit) * time.Microsecond, period: time.Duration(period) * time.Microsecond}
	text, err := h.text(dir + "/cpu.stat")
	if err != nil {
		return q, err
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		n, err := strconv.ParseUint(f[1], 10, 64)
		if err != nil {
			return q, fmt.Errorf("/%s/cpu.stat: %w", dir, err)
		}
		switch f[0] {
		case "nr_periods":
			q.periods = n
		case "nr_throttled":
			q.throttled = n
		case duration:
			q.throttledFor = time.Duration(n) * unit
		}
	}
	return q, nil
}

// throttledProblem is the share of periods, one in so many, above which throttling is a problem.
const throttledProblem = 100

// quota judges the limit of CPU time. A group that has used it stands still until the period ends.
func (h *host) quota() Finding {
	if err := cmp.Or(h.before.quotaErr, h.after.quotaErr); err != nil {
		return unknown(err)
	}
	return judgeQuota(h.before.quota, h.after.quota)
}

// judgeQuota judges a limit, and how often it was met before and during the sample.
func judgeQuota(before, after quota) Finding {
	if after.limit == 0 {
		return Finding{Found: "no limit of CPU time"}
	}
	recent := since(after.throttled, before.throttled)
	f := Finding{
		Verdict: Note,
		Found: fmt.Sprintf("a limit of %.2f CPUs: %v per %v; stopped in %d of %d periods so far, for %v, and in %d during the sample",
			after.cpus(), after.limit, after.period, after.throttled, after.periods, round(after.throttledFor), recent),
		Figures: map[string]int64{
			"limit_ns": int64(after.limit), "period_ns": int64(after.period), "periods": int64(after.periods),
			"throttled": int64(after.throttled), "throttled_ns": int64(after.throttledFor), "throttled_sample": int64(recent),
		},
		Remedy: fmt.Sprintf("raise the limit, or set GOMAXPROCS no higher than it: a process that has used it stands still, up to %v", after.period),
	}
	if recent > 0 || after.throttled*throttledProblem > after.periods {
		f.Verdict = Problem
	}
	return f
}

// Steal time from which on a share is worth a note, and a problem.
const (
	stealNote    = 10_000 // ppm
	stealProblem = 50_000
)

// steal judges how much time the hypervisor gave to other machines.
func (h *host) steal() Finding {
	if err := cmp.Or(h.before.cpuErr, h.after.cpuErr); err != nil {
		return unknown(err)
	}
	return judgeSteal(h.after.cpu, h.after.cpu.sub(h.before.cpu), h.sample)
}

// judgeSteal judges steal time since boot and during the sample. A tick is 10 ms, so that the figure of
// the sample is coarse: one tick says nothing.
func judgeSteal(boot, sample cpuTimes, length time.Duration) Finding {
	f := Finding{
		Found: fmt.Sprintf("%.1f %% of the CPUs' time since boot, %.1f %% in a sample of %v went to other machines",
			float64(boot.stealPPM())/1e4, float64(sample.stealPPM())/1e4, length.Round(time.Millisecond)),
		Figures: map[string]int64{"boot_ppm": boot.stealPPM(), "sample_ppm": sample.stealPPM(), "sample_ns": int64(length)},
	}
	switch {
	case sample.steal > 1 && sample.stealPPM() >= stealProblem || boot.stealPPM() >= stealProblem:
		f.Verdict = Problem
	case sample.steal > 1 && sample.stealPPM() >= stealNote || boot.stealPPM() >= stealNote:
		f.Verdict = Note
	default:
		return f
	}
	f.Remedy = "a machine with CPUs of its own, or fewer CPUs in use than it is sold with"
	return f
}
