package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"systole/engine/enginetest"
)

// simulate runs a scenario and returns its lines.
func simulate(t *testing.T, file string) []jsonSeen {
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

// transitions returns the transitions of peer at host from the instant at on, in ns.
func transitions(lines []jsonSeen, host, peer string, at int64) string {
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
	crash, partition, stalls := simulate(t, "crash.json"), simulate(t, "partition.json"), simulate(t, "stalls.json")
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
		if got := transitions(test.lines, test.host, test.peer, test.from); got != test.want {
			t.Errorf("%s about %s: %s, want %s", test.host, test.peer, got, test.want)
		}
	}
	for _, l := range stalls {
		if l.Host == "stalled" && (l.To == "suspect" || l.To == "failed") {
			t.Errorf("transition of the peer of a stalled node: %+v", l)
		}
	}
}

func TestSim(t *testing.T) {
	file := "testdata/crash.json"
	text, _, code := run1("sim", file)
	if again, _, _ := run1("sim", file); code != exitAlive || text != again || !strings.Contains(text, "machine off") {
		t.Errorf("exit status %d, or two runs differ:\n%s\n%s", code, text, again)
	}
	if other, _, _ := run1("sim", file, "--seed", "2"); other == text {
		t.Error("another seed has the same result")
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
	if out, complaint, code := run1("sim", "--seeds", "20", "-o", "json"); code != exitAlive || !strings.Contains(out, `"worlds":20,"violated":0}`) {
		t.Errorf("seeds: exit status %d, %s%s", code, out, complaint)
	}
	if out, _, _ := run1("sim", "--seeds", "3"); !strings.HasSuffix(out, "\nall rules held in all of 3 worlds\n") {
		t.Errorf("seeds: %s", out)
	}
	if !strings.HasSuffix(text, "\nall rules held\n") {
		t.Errorf("one world: %s", text)
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

// The error of a faulty scenario has the file and the place in it.
func TestSimFaults(t *testing.T) {
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

// A seed that was not shrunk has no scenario in JSON.
func TestSimSeedWithoutAScenario(t *testing.T) {
	f := &enginetest.Found{Seed: 45, Violation: enginetest.Violation{At: 3, Host: "n1", Rule: "told", Detail: "x"}}
	line, err := json.Marshal(foundOf(f))
	want := `{"v":1,"type":"violation","at_ns":3,"host":"n1","rule":"told","detail":"x","seed":45}`
	if err != nil || string(line) != want {
		t.Errorf("%s, %v", line, err)
	}
}

// The last line of text says in how many worlds all rules held.
func TestSimVerdict(t *testing.T) {
	for want, n := range map[string][2]uint64{
		"all rules held": {1, 0}, "all rules held in all of 7 worlds": {7, 0}, "a rule was violated": {1, 1},
		"a rule was violated in 2 of 7 worlds; all rules held in the others": {7, 2},
	} {
		if got := verdict(n[0], n[1]); got != want {
			t.Errorf("%v: %q, want %q", n, got, want)
		}
	}
}
