package enginetest

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// Found is a seed whose scenario violated a rule.
type Found struct {
	Seed      uint64
	Violation Violation // the first in the seed's scenario
	// Scenario violates the same rule: it is what is left of the seed's scenario after all was removed that
	// the violation does not need. Scenario, First and Trace are set for the first three that a call of
	// Search finds, and nil for the others.
	Scenario *Scenario
	First    Violation // of the rule, in Scenario
	Trace    []Seen    // the last events of Scenario up to First
}

// String returns what reproduces the violation: the scenario as JSON, and the trace; without a
// scenario, the command that finds it.
func (f *Found) String() string {
	if f.Scenario == nil {
		return fmt.Sprintf("seed %d: %v\nto see it: systole sim --seed %d --seeds 1\n", f.Seed, f.Violation, f.Seed)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %v\nthe least scenario found that shows it:\n%s", f.Seed, f.Violation, f.Scenario.JSON())
	for _, s := range f.Trace {
		fmt.Fprintln(&b, s)
	}
	fmt.Fprintf(&b, "%v\n", f.First)
	return b.String()
}

// Search runs the random scenarios of n seeds from first on, several at a time. It returns the seeds
// whose scenarios violated a rule, in order, and the sum of all figures. It shrinks the scenarios of the
// first three, which takes hundreds of runs each; Search of a later seed alone shrinks that one.
//
// A scenario has two to five nodes, about a hundred periods, and up to 15 faults. A seed has the same
// scenario as long as this package stays as it is.
func Search(first, n uint64) ([]*Found, Figures) {
	var (
		mu    sync.Mutex
		total Figures
		found []*Found
		group sync.WaitGroup
	)
	next := first
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for {
				mu.Lock()
				seed := next
				next++
				mu.Unlock()
				if seed >= first+n {
					return
				}
				r := randomScenario(seed).Run()
				mu.Lock()
				add(&total, &r.Figures)
				if len(r.Violations) > 0 {
					found = append(found, &Found{Seed: seed, Violation: r.Violations[0]})
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	slices.SortFunc(found, func(a, b *Found) int { return int(int64(a.Seed - b.Seed)) })
	for _, f := range found[:min(shrunk, len(found))] {
		f.shrink()
	}
	return found, total
}

// shrunk is how many seeds are shrunk.
const shrunk = 3

// add adds f to total.
func add(total, f *Figures) {
	total.Steps += f.Steps
	total.Sent += f.Sent
	total.Accepted += f.Accepted
	total.Delivered += f.Delivered
	total.Detected += f.Detected
	total.Worst = max(total.Worst, f.Worst)
	total.Mistakes += f.Mistakes
}

// shrink sets Scenario, First and Trace.
func (f *Found) shrink() {
	f.Scenario, f.First = shrink(randomScenario(f.Seed), f.Violation.Rule), f.Violation
	r := f.Scenario.Run()
	for _, v := range r.Violations {
		if v.Rule == f.Violation.Rule {
			f.First = v
			break
		}
	}
	for _, s := range r.Events {
		if s.At <= f.First.At {
			f.Trace = append(f.Trace, s)
		}
	}
	f.Trace = f.Trace[max(0, len(f.Trace)-traceLength):]
}

// traceLength is how many events before a violation are shown.
const traceLength = 40
