package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine is a kind of machine, to which figures belong. It includes neither the host's name nor
// the build of its kernel.
type machine struct {
	cpu    string // model
	cpus   int
	kernel string // version
}

// thisMachine describes the machine by what the kernel reports.
func thisMachine() (machine, error) {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return machine{}, fmt.Errorf("find the model of the CPU: %w", err)
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return machine{}, fmt.Errorf("find the kernel's version: %w", err)
	}
	return machine{cpu: cpuModel(string(info)), cpus: runtime.NumCPU(), kernel: kernelVersion(u.Release[:])}, nil
}

// cpuModel returns the model in the text of /proc/cpuinfo, or the architecture if there is none,
// as on most arm64 machines.
func cpuModel(info string) string {
	for line := range strings.Lines(info) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// kernelVersion returns the version in a release as uname(2) reports it: 6.1.0 of 6.1.0-18-amd64.
func kernelVersion(release []byte) string {
	release, _, _ = bytes.Cut(release, []byte{0})
	version, _, _ := bytes.Cut(release, []byte("-"))
	return string(version)
}

// page returns the file name of the machine's page: lower-case letters and digits, with single
// hyphens between.
func (m machine) page() string {
	words := strings.FieldsFunc(strings.ToLower(fmt.Sprintf("%s %d cpus", m.cpu, m.cpus)), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	return strings.Join(words, "-") + ".md"
}

// keep writes t into the machine's page in dir, in place of the page's section of the same
// benchmark.
func keep(dir string, m machine, t *table) error {
	path := filepath.Join(dir, m.page())
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keep the results of %s: %w", t.name, err)
	}
	err = os.MkdirAll(dir, 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(heading(m)+replaced(string(old), t, m)), 0o644)
	}
	if err != nil {
		return fmt.Errorf("keep the results of %s: %w", t.name, err)
	}
	return nil
}

// heading returns the beginning of a page.
func heading(m machine) string {
	return fmt.Sprintf("# %s, %d CPUs\n\nWritten by `go run ./bench`; each section says how to repeat it.\n", m.cpu, m.cpus)
}

// section returns t as a section of a page.
func section(t *table, m machine) string {
	return fmt.Sprintf("\n## %s\n\n%s\n\nLinux %s, %s: `%s`\n\n%s\n```json\n%s```\n",
		t.name, t.about, m.kernel, runtime.Version(), t.command, t.markdown(), t.lines())
}

// replaced returns the sections of a page, in their order, with the section of t in the place of
// the older one or at the end.
func replaced(page string, t *table, m machine) string {
	var b strings.Builder
	done := false
	for i, s := range strings.Split(page, "\n## ") {
		switch name, _, _ := strings.Cut(s, "\n"); {
		case i == 0: // the heading
		case name == t.name:
			b.WriteString(section(t, m))
			done = true
		default:
			b.WriteString("\n## " + s)
		}
	}
	if !done {
		b.WriteString(section(t, m))
	}
	return b.String()
}
