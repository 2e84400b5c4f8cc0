package enginetest

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxDuration bounds a scenario.
const maxDuration = 1000 * time.Hour

// Validate reports every fault of the scenario at once, joined.
func (s *Scenario) Validate() error {
	var list []error
	bad := func(field, format string, args ...any) {
		list = append(list, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	if s.Duration <= 0 || s.Duration > maxDuration {
		bad("duration", "%v is not within 0 to %v", s.Duration, maxDuration)
	}
	if s.Calm < 0 || s.Calm > s.Duration {
		bad("calm", "%v is not within 0 to duration", s.Calm)
	}
	s.Link.validate(bad, "link")
	names := make(map[string]bool)
	ids := make(map[uint64]bool)
	for i, n := range s.Nodes {
		if n.Name == "" || names[n.Name] {
			bad(fmt.Sprintf("nodes[%d].name", i), "%q is empty or taken", n.Name)
		}
		if n.ID != 0 && ids[n.ID] {
			bad(fmt.Sprintf("nodes[%d].id", i), "%d is taken", n.ID)
		}
		names[n.Name], ids[n.ID] = true, true
	}
	known := func(field, name string) {
		if !names[name] {
			bad(field, "there is no node %q", name)
		}
	}
	for i := range s.Nodes {
		s.Nodes[i].validate(bad, known, fmt.Sprintf("nodes[%d]", i))
	}
	for i, l := range s.Links {
		at := fmt.Sprintf("links[%d]", i)
		known(at+".from", l.From)
		known(at+".to", l.To)
		l.Link.validate(bad, at+".link")
	}
	for i := range s.Faults {
		at := fmt.Sprintf("faults[%d]", i)
		s.Faults[i].validate(bad, known, at)
		if s.Faults[i].At > s.Duration {
			bad(at+".at", "%v is after the end: duration is %v", s.Faults[i].At, s.Duration)
		}
	}
	return errors.Join(list...)
}

// validate reports the faults of n.
func (n *Node) validate(bad faults, known func(field, name string), at string) {
	for i, w := range n.Watch {
		known(at+".watch", w)
		if w == n.Name || slices.Contains(n.Watch[:i], w) {
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
	n.Latency.validate(bad, at+".latency")
	if n.Receive < 0 || n.Send < 0 || n.Uptime < 0 || n.Start < 0 {
		bad(at, "receive, send, uptime and start must not be negative")
	}
	if n.ReadTime < 0 || n.ReadTime > time.Millisecond {
		bad(at+".read_time", "%v is not within 0 to 1 ms", n.ReadTime)
	}
	if !(n.Drift >= -500 && n.Drift <= 500) {
		bad(at+".drift", "%v ppm is not within ±500", n.Drift)
	}
}

// validate reports the faults of f.
func (f *Fault) validate(bad faults, known func(field, name string), at string) {
	if f.At < 0 || f.For < 0 || f.Room < 0 {
		bad(at, "at, for and room must not be negative")
	}
	if !(f.PPM >= -500 && f.PPM <= 500) {
		bad(at+".ppm", "%v is not within ±500", f.PPM)
	}
	if f.Count < 0 || f.Count > 100_000 {
		bad(at+".count", "%d is not within 0 to 100,000", f.Count)
	}
	f.Link.validate(bad, at+".link")
	switch f.Kind {
	case Partition:
		for _, h := range f.Hosts {
			known(at+".hosts", h)
		}
		return
	case Change:
		if f.Host == "" && f.To == "" {
			return
		}
		known(at+".to", f.To)
	case Cut, Unwatch:
		known(at+".to", f.To)
	case Kill, Crash, Restart, Leave, Stop, Pause, PauseKeep, HoldSends, FillRoom, Flood, Unplug, NoRoute, StepWall, Drift:
	default:
		bad(at+".kind", "%q is none of kill, crash, restart, leave, unwatch, stop, pause, pause-keep, hold-sends, fill, flood, unplug, "+
			"no-route, step-wall, drift, cut, partition, link", f.Kind)
	}
	known(at+".host", f.Host)
	switch f.Kind {
	case Stop, Pause, PauseKeep, HoldSends:
		if f.For == 0 {
			bad(at+".for", "%s needs a time", f.Kind)
		}
	case Flood:
		if f.Count == 0 {
			bad(at+".count", "%s needs one", f.Kind)
		}
	}
}
