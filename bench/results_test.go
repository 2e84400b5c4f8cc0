package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var testMachine = machine{cpu: "A CPU", cpus: 2, kernel: "6.1.0"}

func TestSection(t *testing.T) {
	want := `
## floor

About.

Linux 6.1.0, ` + runtime.Version() + ": `run floor`" + `

| case | cost ns | lost |
|---|---:|---:|
| one | 1834 | - |
| two | 0.0183 | 3 |
| a third × 3 | - | -0.5 |

` + "```json" + `
{"bench":"floor","case":"one","cost_ns":1834.25}
{"bench":"floor","case":"two","cost_ns":0.01834,"lost":3}
{"bench":"floor","case":"a third × 3","lost":-0.5}
` + "```\n"
	if got := section(sample("floor"), testMachine); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// A page keeps other benchmarks' sections, in their order, and one section of each.
func TestReplaced(t *testing.T) {
	page := "# A CPU\n"
	for _, name := range []string{"floor", "bird", "floor"} {
		page = "# A CPU\n" + replaced(page, sample(name), testMachine)
	}
	changed := sample("bird")
	changed.about = "Measured again."
	page = "# A CPU\n" + replaced(page, changed, testMachine)
	if n := strings.Count(page, "\n## floor\n"); n != 1 {
		t.Errorf("%d sections of floor in\n%s", n, page)
	}
	if strings.Count(page, "About.") != 1 || strings.Count(page, "Measured again.") != 1 {
		t.Errorf("bird was not replaced in\n%s", page)
	}
	if strings.Index(page, "## floor") > strings.Index(page, "## bird") {
		t.Error("the order changed")
	}
}

// However often and in whatever order benchmarks are kept, the page is the heading and the newest
// section of each, in the order in which they first came.
func TestReplacedIsLatest(t *testing.T) {
	names := []string{"floor", "floor2", "qos", "qos-failed"}
	rapid.Check(t, func(t *rapid.T) {
		var order []string
		newest := map[string]string{}
		page := ""
		for i := range rapid.IntRange(1, 12).Draw(t, "runs") {
			s := sample(rapid.SampledFrom(names).Draw(t, "name"))
			s.about = fmt.Sprintf("Run %d, not ## floor.", i)
			page = heading(testMachine) + replaced(page, s, testMachine)
			if newest[s.name] == "" {
				order = append(order, s.name)
			}
			newest[s.name] = section(s, testMachine)
		}
		want := heading(testMachine)
		for _, name := range order {
			want += newest[name]
		}
		if page != want {
			t.Fatalf("got\n%s\nwant\n%s", page, want)
		}
	})
}

func TestKeep(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	for _, name := range []string{"floor", "bird", "floor"} {
		if err := keep(dir, testMachine, sample(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := keep(dir, machine{cpu: "Another", cpus: 1}, sample("floor")); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "a-cpu-2-cpus.md"))
	want := "# A CPU, 2 CPUs\n\nWritten by `go run ./bench`; each section says how to repeat it.\n" +
		section(sample("floor"), testMachine) + section(sample("bird"), testMachine)
	if err != nil || string(got) != want {
		t.Errorf("%v, the page is\n%s\nwant\n%s", err, got, want)
	}
	if pages, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(pages) != 2 {
		t.Errorf("pages %q, %v", pages, err)
	}
}

// What cannot be kept is an error that names the benchmark and the file.
func TestKeepFails(t *testing.T) {
	dir := t.TempDir()
	page := filepath.Join(dir, testMachine.page())
	if err := os.Mkdir(page, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for dir, path := range map[string]string{dir: page, file: file} {
		err := keep(dir, testMachine, sample("floor"))
		if err == nil || !strings.Contains(err.Error(), "keep the results of floor: ") || !strings.Contains(err.Error(), path) {
			t.Errorf("in %s: %v", dir, err)
		}
	}
}

// publish prints the table and its lines, and keeps them where -results says.
func TestPublish(t *testing.T) {
	dir := t.TempDir()
	s := sample("floor")
	for _, results := range []string{"", dir} {
		var out strings.Builder
		if err := publish(s, options{results: results}, &out); err != nil || out.String() != s.text()+"\n"+s.lines()+"\n" {
			t.Errorf("printed %q, %v", out.String(), err)
		}
	}
	m, err := thisMachine()
	if err != nil || m.cpu == "" || m.cpus < 1 || !strings.Contains(m.kernel, ".") {
		t.Fatalf("machine %+v, %v", m, err)
	}
	got, err := os.ReadFile(filepath.Join(dir, m.page()))
	if err != nil || string(got) != heading(m)+section(s, m) {
		t.Errorf("%v, the page is\n%s", err, got)
	}
}

func TestPageName(t *testing.T) {
	for m, want := range map[machine]string{
		{cpu: "AMD EPYC (tm) 7", cpus: 2}:                                "amd-epyc-tm-7-2-cpus.md",
		{cpu: "Intel(R) Xeon(R) Processor @ 2.80GHz", cpus: 16}:          "intel-r-xeon-r-processor-2-80ghz-16-cpus.md",
		{cpu: "/../é", cpus: 1, kernel: "does not distinguish machines"}: "1-cpus.md",
	} {
		if got := m.page(); got != want {
			t.Errorf("%+v: %s, want %s", m, got, want)
		}
	}
}

func TestCPUModel(t *testing.T) {
	for info, want := range map[string]string{
		"processor\t: 0\nmodel\t\t: 1\nmodel name\t: A CPU @ 2: x\nprocessor\t: 1\nmodel name\t: B\n": "A CPU @ 2: x",
		"processor : 0\nBogoMIPS : 50.00\n": runtime.GOARCH, "": runtime.GOARCH, "model name": runtime.GOARCH,
	} {
		if got := cpuModel(info); got != want {
			t.Errorf("%q: %q, want %q", info, got, want)
		}
	}
}

func TestKernelVersion(t *testing.T) {
	for release, want := range map[string]string{"6.1.0-18-amd64\x00\x00x": "6.1.0", "6.18.44\x00": "6.18.44", "5.10-rc1": "5.10", "": ""} {
		if got := kernelVersion([]byte(release)); got != want {
			t.Errorf("%q: %q, want %q", release, got, want)
		}
	}
}
