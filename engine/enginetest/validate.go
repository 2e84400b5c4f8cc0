package enginetest

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// validate reports the faults of s.
func (s *Scenario) validate(bad faults) {
	if s.Duration <= 0 || s.Duration > maxDuration {
		bad("duration", "%s is not above 0, up to %s", plain(s.Duration), plain(maxDuration))
	}
	if s.Calm < 0 || s.Duration > 0 && s.Calm > s.Duration {
		bad("calm", "%s is not within 0 to duration", plain(s.Calm))
	}
	validLink(bad, "link", s.Link)
	nodes := s.named(bad)
	for i := range s.Nodes {
		at := fmt.Sprintf("nodes[%d]", i)
		s.Nodes[i].validate(bad, nodes, at)
		s.inTime(bad, at+".start", s.Nodes[i].Start)
	}
	s.validateLinks(bad, nodes)
	for i := range s.Faults {
		at := fmt.Sprintf("faults[%d]", i)
		s.Faults[i].validate(bad, nodes, at)
		if s.Faults[i].Kind == kindGarble && !s.Keyed {
			bad(at+".kind", "garble needs nodes that are keyed: without keys, who reads datagrams can write them")
		}
		s.inTime(bad, at+".at", s.Faults[i].At)
	}
}

// inTime reports an instant at which the world does not run.
func (s *Scenario) inTime(bad faults, name string, at time.Duration) {
	within(bad, name, at, 0, maxDuration)
	if s.Duration > 0 && at >= s.Duration && at <= maxDuration {
		bad(name, "%s is at the end or after it: duration is %s", plain(at), plain(s.Duration))
	}
}

// named returns the nodes by name, and reports those that cannot be told apart.
func (s *Scenario) named(bad faults) names {
	nodes, ids := make(names), make(map[uint64]bool)
	for i := range s.Nodes {
		n := &s.Nodes[i]
		newName(bad, fmt.Sprintf("nodes[%d].name", i), n.Name, nodes[n.Name] != nil)
		if n.ID != 0 && ids[n.ID] {
			bad(fmt.Sprintf("nodes[%d].id", i), "%d is taken", n.ID)
		}
		nodes[n.Name], ids[n.ID] = n, true
	}
	return nodes
}

// names has the nodes by name.
type names map[string]*Node

// known reports a name that no node has.
func (n names) known(bad faults, field, name string) {
	if n[name] == nil {
		bad(field, "there is no node %q", name)
	}
}

// way reports whatever is no way from one node to another.
func (n names) way(bad faults, at, fromField, from, to string) {
	n.known(bad, at+fromField, from)
	n.known(bad, at+".to", to)
	another(bad, at+".to", from, to)
}

// wayOn reports whatever is no way from one node to another, on every path or one.
func (n names) wayOn(bad faults, at, from, to string) {
	t := n.target(to)
	if t.byName {
		bad(at+".to", "%q is no node, nor a path to one", to)
		return
	}
	n.way(bad, at, ".host", from, t.node)
	if of := n[t.node]; of != nil && t.at() >= of.paths() {
		bad(at+".to", "%q has %d paths, from 0 on", t.node, of.paths())
	}
}

// watch reports an entry that a node cannot watch.
func (n names) watch(bad faults, at string, node *Node, entry string) {
	t := n.target(entry)
	n.known(bad, at, t.node)
	other := n[t.node]
	switch {
	case t.node == node.Name || other == nil:
	case t.byName && strings.ContainsAny(t.node, ":[]%/"):
		bad(at, "%q has a sign that no name may have", t.node)
	case t.at() >= other.paths():
		bad(at, "%q has %d paths, from 0 on", t.node, other.paths())
	case t.at()%2 == 1 && node.paths() < 2:
		bad(at, "%q has no IPv6 address to watch %q from: it needs 2 paths", node.Name, entry)
	}
}

// another reports a way that leads back to where it comes from.
func another(bad faults, field, from, to string) {
	if from == to && to != "" {
		bad(field, "%q is the node itself", to)
	}
}

// newName reports a name that a node cannot take.
func newName(bad faults, field, name string, taken bool) {
	if name == "" || taken {
		bad(field, "%q is empty or taken", name)
	}
}

// part reports n of all nodes unless they can be parted from the others.
func part(bad faults, field string, n, all int) {
	if n == 0 || n == all {
		bad(field, "want some of the nodes, and not all of them")
	}
}

// validateLinks reports the faults of links.
func (s *Scenario) validateLinks(bad faults, nodes names) {
	ways := make(map[[2]string]bool)
	for i, l := range s.Links {
		at, way := fmt.Sprintf("links[%d]", i), [2]string{l.From, l.To}
		nodes.way(bad, at, ".from", l.From, l.To)
		if ways[way] {
			bad(at, "the way from %q to %q is there twice", l.From, l.To)
		}
		ways[way] = true
		validLink(bad, at+".link", l.Link)
	}
}

// validate reports the faults of n.
func (n *Node) validate(bad faults, nodes names, at string) {
	for i, w := range n.Watch {
		nodes.watch(bad, at+".watch", n, w)
		if nodes.target(w).node == n.Name || slices.Contains(n.Watch[:i], w) {
			bad(at+".watch", "%q is the node itself, or there twice", w)
		}
	}
	cfg, err := n.config()
	if err != nil {
		bad(at+".detector", "%v", err)
	}
	if err := cfg.Validate(); err != nil {
		bad(at, "%v", err)
	}
	n.Machine.validate(bad, at+".")
	if n.Carries != 0 && (n.Carries < leastBody || n.Carries > maxBody) {
		bad(at+".carries", "%d is not 0, or %d to %d", n.Carries, leastBody, maxBody)
	}
}

// validate reports the faults of f.
func (f *Fault) validate(bad faults, nodes names, at string) {
	within(bad, at+".for", f.For, 0, maxDuration)
	within(bad, at+".by", f.By, -maxClock, maxClock)
	drift(bad, at+".ppm", f.PPM)
	count(bad, at+".room", f.Room, maxRoom)
	count(bad, at+".count", f.Count, maxFlood)
	validLink(bad, at+".link", f.Link)
	takes, ok := takesOf(f.Kind)
	if !ok {
		bad(at+".kind", "%q is none of %s", f.Kind, strings.Join(kindNames(), ", "))
		return
	}
	useless(bad, at, reflect.ValueOf(f).Elem(), f.Kind, append([]string{"kind", "at"}, takes...))
	f.validateHosts(bad, nodes, at, takes)
	switch f.Kind {
	case kindStop, kindPause, kindPauseKeep, kindHoldSends, kindSlowPlay:
		if f.For == 0 {
			bad(at+".for", "%s needs a time", f.Kind)
		}
	case kindForge, kindReplay, kindGarble:
		if f.For == 0 {
			bad(at+".for", "%s needs a time", f.Kind)
		}
		if f.Count == 0 {
			bad(at+".count", "%s needs one", f.Kind)
		}
	case kindFlood:
		if f.Count == 0 {
			bad(at+".count", "%s needs one", f.Kind)
		}
	case kindRefuseSends:
		if errnos[f.Errno] == 0 {
			bad(at+".errno", "%q is none of %s", f.Errno, strings.Join(slices.Sorted(maps.Keys(errnos)), ", "))
		}
	}
}

// validateHosts reports what f cannot be done to. Its kind takes the fields.
func (f *Fault) validateHosts(bad faults, nodes names, at string, takes []string) {
	switch {
	case f.Kind == kindPartition:
		for i, h := range f.Hosts {
			nodes.known(bad, at+".hosts", h)
			if slices.Contains(f.Hosts[:i], h) {
				bad(at+".hosts", "%q is there twice", h)
			}
		}
		part(bad, at+".hosts", len(f.Hosts), len(nodes))
	case f.Kind == kindChange && f.Host == "" && f.To == "":
	case (f.Kind == kindForge || f.Kind == kindReplay || f.Kind == kindGarble) && f.Host == "":
	case f.Kind == kindRefuseSends && f.To == "":
		nodes.known(bad, at+".host", f.Host)
	case f.Kind == kindCut || f.Kind == kindRefuse || f.Kind == kindRefuseSends || f.Kind == kindSlowPlay || f.Kind == kindTakeAddress:
		nodes.wayOn(bad, at, f.Host, f.To)
	case f.Kind == kindUnwatch:
		t := nodes.target(f.To)
		nodes.way(bad, at, ".host", f.Host, t.node)
		if n := nodes[f.Host]; n != nil && nodes[t.node] != nil && f.Host != t.node && !slices.Contains(n.Watch, f.To) {
			bad(at+".to", "%q does not watch %q", f.Host, f.To)
		}
	case slices.Contains(takes, "to"):
		nodes.way(bad, at, ".host", f.Host, f.To)
	default:
		nodes.known(bad, at+".host", f.Host)
	}
}
