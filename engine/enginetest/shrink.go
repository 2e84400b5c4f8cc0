package enginetest

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// Found is a seed whose scenario violated a rule.
type Found struct {
	Seed      uint64
	Violation Violation // the first in RandomScenario(Seed)
	// Scenario violates the same rule: it is what Shrink left of the seed's own. It is nil, and so
	// is what follows, in all but the first few that a Search finds.
	Scenario *Scenario
	First    Violation // of the rule, in Scenario
	Trace    []Seen    // the last of what is seen in Scenario up to First
}

// String returns what is needed to see it again: the scenario as JSON, and the trace; without
// a scenario, the command that finds it.
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

// Search runs the random scenarios of n seeds from first on, several at a time, and returns
// the seeds whose scenarios violated a rule, in order. The first three it shrinks, which takes
// hundreds of runs each; a Search of a later seed alone shrinks that. It also sums up the figures.
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
				r := RandomScenario(seed).run(1)
				mu.Lock()
				total.add(&r.Figures)
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

// add sums figures.
func (f *Figures) add(g *Figures) {
	f.Steps += g.Steps
	f.Sent += g.Sent
	f.Accepted += g.Accepted
	f.Detected += g.Detected
	f.Worst = max(f.Worst, g.Worst)
	f.Mistakes += g.Mistakes
}

// shrink fills in the scenario and the trace.
func (f *Found) shrink() {
	f.Scenario, f.First = Shrink(RandomScenario(f.Seed), f.Violation.Rule), f.Violation
	r := f.Scenario.run(traceLength)
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

// traceLength is how much of what was seen before a violation is worth reading.
const traceLength = 40

// shrinkRuns bounds how often Shrink runs a scenario.
const shrinkRuns = 600

// Shrink takes off the scenario whatever it can while the rule is still violated: what comes
// after the violation, faults, nodes, links, then settings. It ends when nothing that is left can
// go by itself, or after 600 runs. The chance of a world is drawn as things happen, so each step
// is a world of its own. A scenario that is not valid, or violates no such rule, it returns as it is.
func Shrink(s *Scenario, rule Rule) *Scenario {
	runs := 0
	violates := func(c *Scenario) (time.Duration, bool) {
		if runs >= shrinkRuns || c.Validate() != nil {
			return 0, false
		}
		runs++
		for _, v := range c.run(1).Violations {
			if v.Rule == rule {
				return v.At, true
			}
		}
		return 0, false
	}
	for changed := true; changed && runs < shrinkRuns; {
		changed = false
		if at, ok := violates(s); ok && at+time.Millisecond < s.Duration {
			if c := s.clone(); c.truncate(at) {
				if _, ok := violates(c); ok {
					s, changed = c, true
				}
			}
		}
		for i := 0; i < s.parts(); {
			c := s.clone()
			if c.drop(i) {
				if _, ok := violates(c); ok {
					s, changed = c, true
					continue // the next part has moved to i, or a setting has gone
				}
			}
			i++
		}
	}
	return s
}

// truncate ends the scenario a little after at, and reports whether that shortens it. Faults that
// lie behind go, and nodes that start behind, which others may watch, start at the very end.
func (s *Scenario) truncate(at time.Duration) bool {
	end := (at + 2*time.Millisecond).Truncate(time.Millisecond)
	if end >= s.Duration || s.Calm > 0 {
		return false
	}
	s.Duration = end
	s.Faults = slices.DeleteFunc(s.Faults, func(f Fault) bool { return f.At >= end })
	for i := range s.Nodes {
		s.Nodes[i].Start = min(s.Nodes[i].Start, end-1)
	}
	return true
}

// clone returns a copy that shares nothing.
func (s *Scenario) clone() *Scenario {
	c := *s
	c.Nodes, c.Links, c.Faults = slices.Clone(s.Nodes), slices.Clone(s.Links), slices.Clone(s.Faults)
	for i := range c.Nodes {
		c.Nodes[i].Watch = slices.Clone(c.Nodes[i].Watch)
	}
	return &c
}

// parts is how many things drop can take off.
func (s *Scenario) parts() int {
	n := len(s.Faults) + len(s.Links) + linkParts + 1
	for i := range s.Nodes {
		n += 1 + nodeParts + len(s.Nodes[i].Watch)
	}
	return n
}

// drop takes part i off, and reports whether there was something to take.
func (s *Scenario) drop(i int) bool {
	if i < len(s.Faults) {
		s.Faults = slices.Delete(s.Faults, i, i+1)
		return true
	}
	if i -= len(s.Faults); i < len(s.Nodes) {
		s.dropNode(s.Nodes[i].Name)
		return true
	}
	if i -= len(s.Nodes); i < len(s.Links) {
		s.Links = slices.Delete(s.Links, i, i+1)
		return true
	}
	if i -= len(s.Links); i < linkParts {
		return s.Link.drop(i)
	}
	if i -= linkParts; i == 0 {
		return clearOf(&s.Keyed)
	}
	i--
	for k := range s.Nodes {
		n := &s.Nodes[k]
		if i < nodeParts {
			return n.drop(i)
		}
		if i -= nodeParts; i < len(n.Watch) {
			n.Watch = slices.Delete(n.Watch, i, i+1)
			return true
		}
		i -= len(n.Watch)
	}
	return false
}

// dropNode takes a node off, and all that names it.
func (s *Scenario) dropNode(name string) {
	nodes := s.named(func(string, string, ...any) {})
	is := func(entry string) bool { return nodes.target(entry).node == name }
	s.Faults = slices.DeleteFunc(s.Faults, func(f Fault) bool {
		return f.Host == name || is(f.To) || slices.Contains(f.Hosts, name)
	})
	s.Links = slices.DeleteFunc(s.Links, func(l Between) bool { return l.From == name || l.To == name })
	for i := range s.Nodes {
		s.Nodes[i].Watch = slices.DeleteFunc(s.Nodes[i].Watch, is)
	}
	s.Nodes = slices.DeleteFunc(s.Nodes, func(n Node) bool { return n.Name == name }) // nodes points into it
}

const (
	linkParts = 7
	nodeParts = 18
)

// clearOf sets *v to zero and reports whether it was not.
func clearOf[T comparable](v *T) bool {
	var zero T
	was := *v
	*v = zero
	return was != zero
}

// drop takes part i of a link off.
func (l *Link) drop(i int) bool {
	switch i {
	case 0:
		return clearOf(&l.Loss)
	case 1:
		return clearOf(&l.Burst)
	case 2:
		return clearOf(&l.Duplicate)
	case 3:
		return clearOf(&l.Reorder)
	case 4:
		return clearOf(&l.Truncate)
	case 5:
		return clearOf(&l.Queue)
	}
	was := l.Delay
	l.Delay = Distribution{Base: was.Base}
	return was != l.Delay
}

// drop takes setting i of a node off.
func (n *Node) drop(i int) bool {
	switch i {
	case 0:
		return clearOf(&n.Latency)
	case 1:
		return clearOf(&n.Drift)
	case 2:
		return clearOf(&n.Uptime)
	case 3:
		return clearOf(&n.NoStamps)
	case 4:
		return clearOf(&n.Receive)
	case 5:
		return clearOf(&n.Accept)
	case 6:
		return clearOf(&n.MinReceivePeriod)
	case 7:
		return clearOf(&n.ConnectTimeout)
	case 8:
		return clearOf(&n.Final)
	case 9:
		return clearOf(&n.Start)
	case 10:
		return clearOf(&n.Forget)
	case 11:
		within, every := clearOf(&n.DetectWithin), clearOf(&n.MistakeEvery)
		return within || every
	case 12:
		return clearOf(&n.ReadTime)
	case 13:
		return clearOf(&n.Paths)
	case 14:
		return clearOf(&n.Bound)
	case 15:
		return clearOf(&n.AdmitMax)
	case 16:
		return n.watchByAddress()
	}
	return clearOf(&n.Detector)
}

// watchByAddress turns one watch by name into one by address.
func (n *Node) watchByAddress() bool {
	for i, entry := range n.Watch {
		if name, ok := strings.CutPrefix(entry, "name:"); ok && !slices.Contains(n.Watch, name) {
			n.Watch[i] = name
			return true
		}
	}
	return false
}
