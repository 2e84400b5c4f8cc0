package enginetest

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// seeds is how many random worlds a run of the tests looks at. SYSTOLE_SEEDS asks for another
// number, from SYSTOLE_FIRST_SEED on.
const seeds = 2000

func seedsWanted(t *testing.T) (first, n uint64) {
	n = seeds
	if raceEnabled {
		n = seeds / 20 // a world is one goroutine; only Search has more
	}
	for name, v := range map[string]*uint64{"SYSTOLE_SEEDS": &n, "SYSTOLE_FIRST_SEED": &first} {
		text := os.Getenv(name)
		if text == "" {
			continue
		}
		var err error
		if *v, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return first, n
}

// In thousands of random worlds every rule holds. A seed that violates one prints the least
// scenario found that does, as a file for systole sim, and what was seen in it.
func TestSeeds(t *testing.T) {
	first, n := seedsWanted(t)
	start := time.Now()
	found, sum := Search(first, n)
	for _, f := range found {
		t.Errorf("%v", f)
	}
	if uint64(sum.Detected) < n/2 || sum.Sent < 100*n || sum.Mistakes == 0 {
		t.Errorf("hardly anything happened: %+v", sum)
	}
	t.Logf("%d seeds in %v: %+v", n, time.Since(start).Round(time.Millisecond), sum)
}

// One seed replays everything, whatever else runs.
func TestSeedsReplay(t *testing.T) {
	for seed := range uint64(20) {
		s := randomScenario(seed)
		a, b := s.Run(), s.Run()
		if len(a.Events) != len(b.Events) || a.Figures != b.Figures {
			t.Fatalf("seed %d: %d events and %+v, then %d and %+v", seed, len(a.Events), a.Figures, len(b.Events), b.Figures)
		}
		for i := range a.Events {
			if x, y := a.Events[i].String(), b.Events[i].String(); x != y {
				t.Fatalf("seed %d: event %d was %s, then %s", seed, i, x, y)
			}
		}
		c, err := ParseScenario(s.JSON())
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, s.JSON())
		}
		if r := c.Run(); r.Figures != a.Figures || !bytes.Equal(c.JSON(), s.JSON()) {
			t.Fatalf("seed %d: written and read, it has %+v, not %+v", seed, r.Figures, a.Figures)
		}
	}
}

// Every seed stands for a scenario that is valid, so that what is found can be written and read.
func TestSeedsAreValid(t *testing.T) {
	for seed := range uint64(20_000) {
		if err := reported(randomScenario(seed).validate); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// Random scenarios have all that networks do, and what they have can be written down and read.
func TestSeedsHaveNetworks(t *testing.T) {
	kinds := make(map[string]int)
	for seed := range uint64(5000) {
		s := randomScenario(seed)
		if err := reported(s.validate); err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, s.JSON())
		}
		for _, f := range s.Faults {
			kinds[f.Kind]++
		}
		if seed >= 100 {
			continue
		}
		r := s.Run()
		c, err := ParseScenario(s.JSON())
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if again := c.Run(); again.Figures != r.Figures {
			t.Errorf("seed %d: %+v, then %+v", seed, r.Figures, again.Figures)
		}
	}
	for _, k := range []string{
		kindRefuse, kindRefuseSends, kindSlowPlay, kindTakeAddress, kindRebind, kindMoveName, kindBreakName,
		kindForge, kindReplay, kindGarble,
	} {
		if kinds[k] < 25 {
			t.Errorf("%d faults %s in 5000 seeds", kinds[k], k)
		}
	}
}

// A scenario that ends earlier is valid still: what would have come later is gone, so that
// shrinking it is not refused.
func TestTruncatedScenariosAreValid(t *testing.T) {
	for seed := range uint64(2000) {
		s := randomScenario(seed)
		s.Calm = 0
		at := s.Duration / 3
		if !truncate(s, at) {
			t.Fatalf("seed %d: not shortened", seed)
		}
		if err := reported(s.validate); err != nil || s.Duration <= at || s.Duration > at+2*time.Millisecond {
			t.Fatalf("seed %d: cut at %v, ends at %v: %v", seed, at, s.Duration, err)
		}
	}
}

// A seed that was not shrunk says how it is, and prints nothing that was not made less.
func TestFoundWithoutAScenario(t *testing.T) {
	f := &Found{Seed: 45, Violation: Violation{Host: "n1", Rule: ruleOwnStall, Detail: "it stood still"}}
	want := "seed 45:     0.000000 n1: rule \"own-stall\": it stood still\nto see it: systole sim --seed 45 --seeds 1\n"
	if got := f.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The rig can fail: an engine that is built with a deliberately wrong rule is caught, its
// scenario shrunk, and what is printed is a scenario that can be read and still shows it.
func TestCanary(t *testing.T) {
	cmd := exec.Command("go", "test", "-tags", "systole_canary", "-run", "^TestSeeds$", "-count=1", ".")
	cmd.Env = append(os.Environ(), "SYSTOLE_SEEDS=30", "SYSTOLE_FIRST_SEED=0")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("an engine that ignores its own pauses passed:\n%s", out)
	}
	_, text, found := strings.Cut(string(out), "the least scenario found that shows it:\n")
	if !found || !strings.Contains(text, ruleOwnStall) {
		t.Fatalf("it failed, but not for its canary:\n%s", out)
	}
	file, trace, _ := strings.Cut(text, "\n        }\n")
	s, err := ParseScenario([]byte(file + "}"))
	if err != nil || len(s.Nodes) > 3 || len(s.Faults) != 1 {
		t.Errorf("the least scenario is not: %v\n%s", err, file)
	}
	if !strings.Contains(trace, "local-pause") {
		t.Errorf("the trace does not show the pause:\n%s", trace)
	}
	if r := s.Run(); len(r.Violations) != 0 {
		t.Errorf("an engine without the wrong rule fails as well: %v", r.Violations)
	}
}
