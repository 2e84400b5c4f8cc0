package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"systole/engine/enginetest"
	"systole/engine/enginetest/search"
)

// story runs a scenario and returns its lines without what depends on figures.
func story(t *testing.T, file string) []jsonSeen {
	t.Helper()
	out, complaint, code := run1("sim", "testdata/"+file, "-o", "json")
	if code != exitAlive {
		t.Fatalf("%s: exit status %d: %s%s", file, code, out, complaint)
	}
	var lines []jsonSeen
	for line := range strings.Lines(out) {
		var s jsonSeen
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%s: not JSON: %s", file, line)
		}
		lines = append(lines, s)
	}
	if last := lines[len(lines)-1]; last.Type != "summary" {
		t.Fatalf("%s: ends with %+v", file, last)
	}
	return lines
}

// told returns the transitions that host tells about peer, from the instant at on, in ns.
func told(lines []jsonSeen, host, peer string, at int64) string {
	var out []string
	for _, l := range lines {
		if l.Host == host && l.Peer == peer && l.Type == "event" && l.AtNS >= at {
			out = append(out, l.To+" "+l.Cause)
		}
	}
	return strings.Join(out, ", ")
}

func TestSimScenarios(t *testing.T) {
	const second = 1_000_000_000
	crash, partition, stalls := story(t, "crash.json"), story(t, "partition.json"), story(t, "stalls.json")
	for _, test := range []struct {
		lines      []jsonSeen
		host, peer string
		from       int64
		want       string
	}{
		{crash, "watcher", "server", 2 * second, "suspect port-unreachable, failed port-unreachable, alive restarted, suspect silence, failed silence"},
		{crash, "watcher", "spare", second, "left goodbye"},
		{partition, "b", "a", second, "suspect silence, alive reachable-again"},
		{partition, "a", "b", second, "one-way deaf, alive reachable-again"},
		{stalls, "peer", "stalled", second, "suspect silence, failed silence, alive reachable-again, suspect silence, " +
			"failed silence, alive reachable-again, suspect silence, failed silence, alive reachable-again"},
	} {
		if got := told(test.lines, test.host, test.peer, test.from); got != test.want {
			t.Errorf("%s about %s: %s, want %s", test.host, test.peer, got, test.want)
		}
	}
	for _, l := range stalls {
		if l.Host == "stalled" && (l.To == "suspect" || l.To == "failed") {
			t.Errorf("the stalled node accuses its peer: %+v", l)
		}
	}
}

func TestSim(t *testing.T) {
	file := "testdata/crash.json"
	text, _, code := run1("sim", file)
	if again, _, _ := run1("sim", file); code != exitAlive || text != again || !strings.Contains(text, "machine off") {
		t.Errorf("exit status %d, then another story:\n%s\n%s", code, text, again)
	}
	if other, _, _ := run1("sim", file, "--seed", "2"); other == text {
		t.Error("another seed tells the same")
	}
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cmd := exec.Command(binary, "sim", "-")
	cmd.Stdin = in
	if piped, err := cmd.Output(); err != nil || string(piped) != text {
		t.Errorf("from the standard input: %v, %s", err, piped)
	}
	if out, complaint, code := run1("sim", "--seeds", "20", "-o", "json"); code != exitAlive || !strings.Contains(out, `"type":"summary"`) {
		t.Errorf("seeds: exit status %d, %s%s", code, out, complaint)
	}
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, []byte(`{"duration": 5, "nodes": [{"name": "a", "watch": ["b"], "colour": "red"}],
		"link": {"loss": 2}, "faults": [{"kind": "flood", "at": "1s", "host": "a"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, complaint, code := run1("sim", bad)
	for _, field := range []string{"duration", "nodes[0].colour"} {
		if code != exitUsage || !strings.Contains(complaint, field) {
			t.Errorf("exit status %d, nothing about %s: %s", code, field, complaint)
		}
	}
	for name, args := range map[string][]string{
		"nothing": {}, "no file": {"/nonexistent"}, "both": {file, "--seeds", "3"}, "a bad format": {file, "-o", "xml"},
		"something else": {binary}, "two files": {file, file},
	} {
		if _, complaint, code := run1(append([]string{"sim"}, args...)...); code != exitUsage || complaint == "" {
			t.Errorf("%s: exit status %d, %q", name, code, complaint)
		}
	}
}

// What is wrong with a scenario is said with where it comes from and where in it.
func TestSimSaysWhere(t *testing.T) {
	for text, want := range map[string]string{
		`[]`:                 "systole: standard input: scenario: want an object in braces\n",
		`{"duration":"1s",}`: "systole: standard input: scenario: line 1, column 18: invalid character '}' looking for beginning of object key string\n",
		`{}`:                 "systole: standard input: duration: 0 is not above 0, up to 1000h\n",
	} {
		cmd := exec.Command(binary, "sim", "-")
		cmd.Stdin = strings.NewReader(text)
		out, _ := cmd.CombinedOutput()
		if got := string(out); !strings.HasPrefix(got, want) {
			t.Errorf("%s: want %q, got %q", text, want, got)
		}
	}
}

// A seed that was not shrunk has no scenario to show, as one of JSON Lines either.
func TestSimSeedWithoutAScenario(t *testing.T) {
	f := &search.Found{Seed: 45, Violation: enginetest.Violation{At: 3, Host: "n1", Rule: enginetest.Told, Detail: "x"}}
	line, err := json.Marshal(foundOf(f))
	want := `{"v":1,"type":"violation","at_ns":3,"host":"n1","rule":"told","detail":"x","seed":45}`
	if err != nil || string(line) != want {
		t.Errorf("%s, %v", line, err)
	}
}
