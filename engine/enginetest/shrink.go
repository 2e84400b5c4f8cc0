package enginetest

import (
	"slices"
	"strings"
	"time"

	"systole/engine/enginetest/netmodel"
)

// shrinkRuns bounds how often shrink runs a scenario.
const shrinkRuns = 600

// shrink removes parts of the scenario as long as the rule is still violated: what comes after the
// violation, faults, nodes, links, then settings. It ends when no part that is left can be removed by
// itself, or after 600 runs. A world draws its random numbers as events happen, so each step is a world
// of its own. shrink returns a scenario as it is if that is not valid, or does not violate the rule.
func shrink(s *Scenario, rule string) *Scenario {
	runs := 0
	violates := func(c *Scenario) (time.Duration, bool) {
		if runs >= shrinkRuns || reported(c.validate) != nil {
			return 0, false
		}
		runs++
		for _, v := range c.Run().Violations {
			if v.Rule == rule {
				return v.At, true
			}
		}
		return 0, false
	}
	for changed := true; changed && runs < shrinkRuns; {
		changed = false
		if at, ok := violates(s); ok && at+time.Millisecond < s.Duration {
			if c := clone(s); truncate(c, at) {
				if _, ok := violates(c); ok {
					s, changed = c, true
				}
			}
		}
		for i := 0; i < parts(s); {
			c := clone(s)
			if drop(c, i) {
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
func truncate(s *Scenario, at time.Duration) bool {
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

// clone returns a copy that shares nothing that shrinking changes.
func clone(s *Scenario) *Scenario {
	c := *s
	c.Nodes, c.Links, c.Faults = slices.Clone(s.Nodes), slices.Clone(s.Links), slices.Clone(s.Faults)
	for i := range c.Nodes {
		c.Nodes[i].Watch = slices.Clone(c.Nodes[i].Watch)
	}
	return &c
}

// parts is how many things drop can take off.
func parts(s *Scenario) int {
	n := len(s.Faults) + len(s.Links) + linkParts + 1
	for i := range s.Nodes {
		n += 1 + nodeParts + len(s.Nodes[i].Watch)
	}
	return n
}

// drop takes part i off, and reports whether there was something to take.
func drop(s *Scenario, i int) bool {
	if i < len(s.Faults) {
		s.Faults = slices.Delete(s.Faults, i, i+1)
		return true
	}
	if i -= len(s.Faults); i < len(s.Nodes) {
		dropNode(s, s.Nodes[i].Name)
		return true
	}
	if i -= len(s.Nodes); i < len(s.Links) {
		s.Links = slices.Delete(s.Links, i, i+1)
		return true
	}
	if i -= len(s.Links); i < linkParts {
		return dropOfLink(&s.Link, i)
	}
	if i -= linkParts; i == 0 {
		return clearOf(&s.Keyed)
	}
	i--
	for k := range s.Nodes {
		n := &s.Nodes[k]
		if i < nodeParts {
			return dropOfNode(n, i)
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
func dropNode(s *Scenario, name string) {
	is := func(entry string) bool { return nodeOf(entry) == name }
	s.Faults = slices.DeleteFunc(s.Faults, func(f Fault) bool {
		return f.Host == name || is(f.To) || slices.Contains(f.Hosts, name)
	})
	s.Links = slices.DeleteFunc(s.Links, func(l Between) bool { return l.From == name || l.To == name })
	for i := range s.Nodes {
		s.Nodes[i].Watch = slices.DeleteFunc(s.Nodes[i].Watch, is)
	}
	s.Nodes = slices.DeleteFunc(s.Nodes, func(n Node) bool { return n.Name == name })
}

// nodeOf returns the node of an entry of Watch, or of a fault's To: "b", "b/1" and "name:b" are of b.
func nodeOf(entry string) string {
	if name, ok := strings.CutPrefix(entry, "name:"); ok {
		return name
	}
	if i := strings.LastIndexByte(entry, '/'); i >= 0 {
		return entry[:i]
	}
	return entry
}

const (
	linkParts = 7
	nodeParts = 21
)

// clearOf sets *v to zero and reports whether it was not.
func clearOf[T comparable](v *T) bool {
	var zero T
	was := *v
	*v = zero
	return was != zero
}

// dropOfLink takes part i of a link off.
func dropOfLink(l *netmodel.Link, i int) bool {
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
	l.Delay = netmodel.Distribution{Base: was.Base}
	return was != l.Delay
}

// dropOfNode takes setting i of a node off.
func dropOfNode(n *Node, i int) bool {
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
		return watchByAddress(n)
	case 17:
		return clearOf(&n.Takes)
	case 18:
		return clearOf(&n.Carries)
	case 19:
		return clearOf(&n.StampSends)
	}
	return clearOf(&n.Detector)
}

// watchByAddress turns one watch by name into one by address.
func watchByAddress(n *Node) bool {
	for i, entry := range n.Watch {
		if name, ok := strings.CutPrefix(entry, "name:"); ok && !slices.Contains(n.Watch, name) {
			n.Watch[i] = name
			return true
		}
	}
	return false
}
