package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"systole/engine/replay"
)

// recording writes a recording of 2000 heartbeats at 10 ms, of which the last eight of every
// hundred are lost.
func recording(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintln(&b, replay.Header)
	for s := range 2000 {
		if s%100 >= 92 {
			continue
		}
		at := s * 10_000_000
		fmt.Fprintf(&b, "%d,%d,%d,%d\n", s, s*10_000_000, at+7_000_000_000, at+7_000_100_000)
	}
	path := filepath.Join(t.TempDir(), "trace.csv")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReplay(t *testing.T) {
	path := recording(t)
	out, complaint, code := run1("replay", path, "-o", "json", "--detector", "fixed:3", "--detector", "fixed:20", "--detector", "margin:1h", "--warmup", "100")
	if code != exitAlive {
		t.Fatalf("exit status %d: %s", code, complaint)
	}
	var rows []replayed
	for line := range strings.Lines(out) {
		var r replayed
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("not JSON: %s", line)
		}
		rows = append(rows, r)
	}
	if len(rows) != 3 || rows[0].Mistakes != 18 || rows[0].TDMean < 29 || rows[1].Mistakes != 0 || rows[1].PA != 1 {
		t.Fatalf("rows %+v", rows)
	}
	if rows[0].Promised != nil || rows[2].Promised == nil || *rows[2].Promised != 1 {
		t.Errorf("promises %v, %v", rows[0].Promised, rows[2].Promised)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "replay", "-", "-o", "json", "-d", "fixed:3", "--warmup", "100")
	cmd.Stdin = strings.NewReader(string(text))
	piped, err := cmd.Output()
	if first, _, _ := strings.Cut(out, "\n"); err != nil || strings.TrimSpace(string(piped)) != first {
		t.Errorf("from the standard input: %s, %v; from a file: %s", piped, err, first)
	}
	for _, sweep := range shipped {
		out, complaint, code := run1("replay", path, "--sweep", sweep)
		if lines := strings.Count(out, "\n"); code != exitAlive || lines != 1+len(sweeps[sweep]) {
			t.Errorf("--sweep %s: exit status %d, %d lines, %s", sweep, code, lines, complaint)
		}
	}
	for name, args := range map[string][]string{
		"no file":          {"/nonexistent"},
		"a bad detector":   {path, "-d", "tea-leaves"},
		"a bad parameter":  {path, "-d", "fixed:many"},
		"no unit":          {path, "-d", "chen:40"},
		"out of range":     {path, "-d", "oz:1.5"},
		"a bad sweep":      {path, "--sweep", "tea-leaves"},
		"bad stamps":       {path, "--stamps", "postage"},
		"a bad format":     {path, "-o", "xml"},
		"negative warm-up": {path, "--warmup", "-1"},
		"two files":        {path, path},
		"something else":   {binary},
	} {
		if _, complaint, code := run1(append([]string{"replay"}, args...)...); code != exitUsage || complaint == "" {
			t.Errorf("%s: exit status %d, %q", name, code, complaint)
		}
	}
}

// What was recorded can be replayed, and holds what the peer sent: at our period, on its grid
// of 4 ms.
func TestRecord(t *testing.T) {
	s := serve(t, anyPort)
	path := filepath.Join(t.TempDir(), "trace.csv")
	_, complaint, code := run1("record", s.addr, "-f", path, "--interval", "10ms", "--wait", "2s", "--quiet")
	if code != exitAlive {
		t.Fatalf("exit status %d: %s", code, complaint)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	trace, err := replay.ReadCSV(file)
	if err != nil {
		t.Fatal(err)
	}
	if period := trace.Period(); len(trace) < 100 || period < 9*time.Millisecond || period > 13*time.Millisecond {
		t.Errorf("%d heartbeats recorded, period %v", len(trace), trace.Period())
	}
	for i, b := range trace {
		if i > 0 && b.Sequence <= trace[i-1].Sequence || b.App < b.NIC {
			t.Fatalf("heartbeat %d: %+v after %+v", i, b, trace[max(i-1, 0)])
		}
	}
	if out, complaint, code := run1("replay", path); code != exitAlive || strings.Count(out, "\n") != 1+len(shipped) {
		t.Errorf("replay: exit status %d, %s%s", code, out, complaint)
	}
	for name, args := range map[string][]string{
		"no file named": {s.addr}, "a file that is there": {s.addr, "-f", path}, "two targets": {s.addr, s.addr, "-f", path + "2"},
	} {
		if _, complaint, code := run1(append([]string{"record"}, args...)...); code != exitUsage || complaint == "" {
			t.Errorf("%s: exit status %d, %q", name, code, complaint)
		}
	}
}
