package enginetest

import (
	"fmt"
	"slices"
	"time"
)

// networks adds to a scenario, now and then, what networks do to addresses and names: several
// paths, names that move, reused addresses, middleboxes, refused sends, clocks that went back,
// and forgers.
func (d dice) networks(s *Scenario, period time.Duration) {
	if d.chance(0.05) {
		d.forgersOnly(s, period)
		return
	}
	s.Keyed = d.chance(0.15)
	last := s.Duration - s.Calm // no fault of these lasts longer
	if s.Calm > 0 {
		last -= 30 * period
	}
	switch {
	case d.chance(0.2):
		d.paths(s)
	case d.chance(0.2):
		d.byName(s, period, last)
	}
	for i := range s.Nodes {
		if n := &s.Nodes[i]; n.Accept && d.chance(0.3) {
			n.AdmitMax = 1 + d.IntN(4)
		}
	}
	if d.chance(0.4) {
		for range 1 + d.IntN(3) {
			s.Faults = append(s.Faults, d.ofNetwork(s, period, last))
		}
	}
	s.oneRebinds()
	if d.chance(0.1) {
		s.Faults = append(s.Faults, d.clockBack(s, period, last)...)
	}
	if d.chance(0.15) {
		s.Faults = append(s.Faults, d.forgery(s, last))
	}
}

// oneRebinds leaves one host alone that a NAT shows anew: of two that do not know each other's new
// address, neither can tell the other.
func (s *Scenario) oneRebinds() {
	host := ""
	s.Faults = slices.DeleteFunc(s.Faults, func(f Fault) bool {
		if f.Kind == Rebind && host == "" {
			host = f.Host
		}
		return f.Kind == Rebind && f.Host != host
	})
}

// at returns an instant at which a fault begins.
func (d dice) at(period, last time.Duration) time.Duration {
	return min(d.within(min(20*period, last/2), last), last-time.Millisecond)
}

// paths gives all nodes two to four addresses, and has some of the watches go over others than the
// first, both ways alike.
func (d dice) paths(s *Scenario) {
	paths, bound := 2+d.IntN(3), d.chance(0.3)
	for i := range s.Nodes {
		s.Nodes[i].Paths, s.Nodes[i].Bound = paths, bound
	}
	path := fmt.Sprint("/", 1+d.IntN(paths-1))
	both := d.chance(0.5)
	for i := range s.Nodes {
		n := &s.Nodes[i]
		for k, w := range slices.Clone(n.Watch) {
			if both {
				n.Watch = append(n.Watch, w+path)
			} else if !s.unwatches(n.Name, w) {
				n.Watch[k] = w + path
			}
		}
	}
}

// unwatches reports whether a fault ends a watch.
func (s *Scenario) unwatches(node, entry string) bool {
	return slices.ContainsFunc(s.Faults, func(f Fault) bool { return f.Kind == Unwatch && f.Host == node && f.To == entry })
}

// byName has nodes watch by name, and names point elsewhere or fail.
func (d dice) byName(s *Scenario, period, last time.Duration) {
	for i := range s.Nodes {
		n := &s.Nodes[i]
		for k, w := range n.Watch {
			if d.chance(0.5) && !s.unwatches(n.Name, w) {
				n.Watch[k] = "name:" + w
			}
		}
	}
	if s.Calm > 0 {
		s.Duration += 15*time.Second - min(s.Calm, 15*time.Second)
		s.Calm = max(s.Calm, 15*time.Second) // names are looked up every few seconds
	}
	f := Fault{Kind: pick(d, MoveName, BreakName), At: d.at(period, last), For: d.within(period, 30*period), Host: d.name(s)}
	if f.Kind == MoveName {
		f.To = s.another(f.Host, d.name(s))
		if d.chance(0.5) {
			f.For = 0
		}
	}
	s.Faults = append(s.Faults, f)
}

// ofNetwork returns something that a network does to a node.
func (d dice) ofNetwork(s *Scenario, period, last time.Duration) Fault {
	f := Fault{
		Kind: pick(d, Refuse, Refuse, RefuseSends, RefuseSends, TakeAddress, Rebind, Cut, SlowPlay), At: d.at(period, last),
		For: d.within(period, 30*period), Host: d.name(s),
	}
	f.To = s.another(f.Host, d.name(s))
	if n := s.Nodes[0].paths(); n > 1 && d.chance(0.7) {
		f.To += fmt.Sprint("/", d.IntN(n))
	}
	switch f.Kind {
	case RefuseSends:
		f.Errno = pick(d, "EPERM", "EACCES", "EHOSTUNREACH", "ENETUNREACH", "EMSGSIZE", "EINVAL", "ENOBUFS")
		if d.chance(0.3) {
			f.To = ""
		}
	case Rebind:
		f.To, f.For = "", 0
	}
	return f
}

// clockBack has a machine go down, and come back with a wall clock that went back; now and then
// to a third node that never met it before.
func (d dice) clockBack(s *Scenario, period, last time.Duration) []Fault {
	at, host := d.at(period, last), d.name(s)
	if third := &s.Nodes[d.IntN(len(s.Nodes))]; third.Name != host && len(s.Nodes) > 2 && d.chance(0.5) {
		third.Start = at
	}
	by := pick(d, -time.Second, -time.Minute, -time.Hour) - time.Microsecond // so that no two incarnations begin at one instant
	return []Fault{
		{Kind: StepWall, At: at, Host: host, By: by},
		{Kind: Crash, At: at, For: d.within(period, 30*period), Host: host},
	}
}

// forgery returns what a forger does.
func (d dice) forgery(s *Scenario, last time.Duration) Fault {
	f := Fault{Kind: pick(d, Forge, Replay), At: d.within(last/10, last/2), For: last / 2, Count: 1 + d.IntN(200)}
	if s.Keyed && d.chance(0.3) {
		f.Kind = Garble
	}
	if d.chance(0.5) {
		f.Host = d.name(s)
	}
	return f
}

// forgersOnly leaves nothing in the nodes' way but forgers.
func (d dice) forgersOnly(s *Scenario, period time.Duration) {
	base := d.within(20*time.Microsecond, period/4)
	s.Link, s.Links, s.Faults, s.Calm = Link{Delay: Distribution{Kind: Uniform, Base: base, Spread: base / 2}}, nil, nil, 0
	for i := range s.Nodes {
		n := &s.Nodes[i]
		n.Start, n.Receive, n.Latency = 0, 0, Distribution{}
	}
	s.Keyed = d.chance(0.2)
	for range 1 + d.IntN(3) {
		s.Faults = append(s.Faults, d.forgery(s, s.Duration))
	}
}
