package enginetest

import (
	"os"
	"strconv"
	"testing"
	"time"
)

func TestSeeds(t *testing.T) {
	n := 200
	if v, err := strconv.Atoi(os.Getenv("SEEDS")); err == nil {
		n = v
	}
	start := time.Now()
	rules := map[Rule]int{}
	var f Figures
	for seed := range n {
		s := RandomScenario(uint64(seed))
		if err := s.Validate(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		r := s.run(200)
		f.Steps += r.Steps
		f.Detected += r.Detected
		f.Mistakes += r.Mistakes
		f.Sent += r.Sent
		f.Worst = max(f.Worst, r.Worst)
		seen := map[Rule]bool{}
		for _, v := range r.Violations {
			if !seen[v.Rule] {
				seen[v.Rule] = true
				rules[v.Rule]++
				if rules[v.Rule] < 5 {
					t.Errorf("seed %d: %v", seed, v)
				}
			}
		}
	}
	t.Logf("%d seeds in %v: %v %+v", n, time.Since(start), rules, f)
}
