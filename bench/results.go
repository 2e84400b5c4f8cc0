package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine is the kind of machine that figures belong to. It has no host's name, and of
// the kernel's release only the version.
type machine struct{ cpu, kernel string }

// thisMachine asks the kernel.
func thisMachine() (machine, error) {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return machine{}, err
	}
	m := machine{cpu: runtime.GOARCH}
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			m.cpu = strings.TrimSpace(value)
			break
		}
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return machine{}, err
	}
	version, _, _ := bytes.Cut(bytes.TrimRight(u.Release[:], "\x00"), []byte("-"))
	m.kernel = string(version)
	return m, nil
}

// page is the file name for the machine.
func (m machine) page() string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, fmt.Sprintf("%s %d cpus", m.cpu, runtime.NumCPU()))
	return strings.Join(strings.FieldsFunc(name, func(r rune) bool { return r == '-' }), "-") + ".md"
}

// keep writes t into the machine's page below dir, in place of what it held of the same
// benchmark.
func keep(dir string, m machine, t *table) error {
	path := filepath.Join(dir, m.page())
	old, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	heading := fmt.Sprintf("# %s, %d CPUs\n\nWritten by `go run ./bench`; each section says how to repeat it.\n", m.cpu, runtime.NumCPU())
	return os.WriteFile(path, []byte(heading+replaced(string(old), t, m)), 0o644)
}

// replaced returns the sections of a page with t's in its place, or at the end.
func replaced(page string, t *table, m machine) string {
	section := fmt.Sprintf("\n## %s\n\n%s\n\nLinux %s, %s: `%s`\n\n%s\n```json\n%s```\n",
		t.name, t.about, m.kernel, runtime.Version(), t.command, t.markdown(), t.lines())
	var b strings.Builder
	done := false
	for i, s := range strings.Split(page, "\n## ") {
		switch name, _, _ := strings.Cut(s, "\n"); {
		case i == 0: // the heading
		case name == t.name:
			b.WriteString(section)
			done = true
		default:
			b.WriteString("\n## " + s)
		}
	}
	if !done {
		b.WriteString(section)
	}
	return b.String()
}
