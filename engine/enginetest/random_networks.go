package enginetest

import (
	"fmt"
	"slices"
	"time"

	"systole/engine/enginetest/netmodel"
)

// networks adds to some scenarios what networks do to addresses and names: several paths, names
// that move, reused addresses, middleboxes, refused sends, clocks that went back, and forgers.
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
	oneRebinds(s)
	if d.chance(0.1) {
		s.Faults = append(s.Faults, d.clockBack(s, period, last)...)
	}
	if d.chance(0.15) {
		s.Faults = append(s.Faults, d.forgery(s, last))
	}
}

// oneRebinds keeps the Rebind faults of one host: of two hosts that do not know each other's new
// address, neither can tell the other.
func oneRebinds(s *Scenario) {
	host := ""
	s.Faults = slices.DeleteFunc(s.Faults, func(f Fault) bool {
		if f.Kind == kindRebind && host == "" {
			host = f.Host
		}
		return f.Kind == kindRebind && f.Host != host
	})
}

// at returns an instant at which a fault begins.
func (d dice) at(period, last time.Duration) time.Duration {
	return min(d.within(min(20*period, last/2), last), last-time.Millisecond)
}

// paths gives all nodes two to four addresses, and has some of the watches use one of the others, at
// both ends alike.
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
			} else if !unwatches(s, n.Name, w) {
				n.Watch[k] = w + path
			}
		}
	}
}

// unwatches reports whether a fault ends a watch.
func unwatches(s *Scenario, node, entry string) bool {
	return slices.ContainsFunc(s.Faults, func(f Fault) bool {
		return f.Kind == kindUnwatch && f.Host == node && f.To == entry
	})
}

// byName has nodes watch by name, and names point elsewhere or fail.
func (d dice) byName(s *Scenario, period, last time.Duration) {
	for i := range s.Nodes {
		n := &s.Nodes[i]
		for k, w := range n.Watch {
			if d.chance(0.5) && !unwatches(s, n.Name, w) {
				n.Watch[k] = "name:" + w
			}
		}
	}
	if s.Calm > 0 {
		s.Duration += 15*time.Second - min(s.Calm, 15*time.Second)
		s.Calm = max(s.Calm, 15*time.Second) // names are looked up every few seconds
	}
	f := Fault{
		Kind: pick(d, kindMoveName, kindBreakName),
		At:   d.at(period, last), For: d.within(period, 30*period), Host: d.name(s),
	}
	if f.Kind == kindMoveName {
		f.To = otherThan(s, f.Host, d.name(s))
		if d.chance(0.5) {
			f.For = 0
		}
	}
	s.Faults = append(s.Faults, f)
}

// networkKinds are the faults of addresses and middleboxes.
var networkKinds = []string{
	kindRefuse, kindRefuse, kindRefuseSends, kindRefuseSends, kindTakeAddress,
	kindRebind, kindCut, kindSlowPlay,
}

// ofNetwork returns a fault of networkKinds in s.
func (d dice) ofNetwork(s *Scenario, period, last time.Duration) Fault {
	f := Fault{
		Kind: pick(d, networkKinds...), At: d.at(period, last),
		For: d.within(period, 30*period), Host: d.name(s),
	}
	f.To = otherThan(s, f.Host, d.name(s))
	if n := s.Nodes[0].Paths; n > 1 && d.chance(0.7) {
		f.To += fmt.Sprint("/", d.IntN(n))
	}
	switch f.Kind {
	case kindRefuseSends:
		f.Errno = pick(d, "EPERM", "EACCES", "EHOSTUNREACH", "ENETUNREACH", "EMSGSIZE", "EINVAL", "ENOBUFS")
		if d.chance(0.3) {
			f.To = ""
		}
	case kindRebind:
		f.To, f.For = "", 0
	}
	return f
}

// clockBack switches a machine off and on again, with a wall clock that went back; in some scenarios a
// third node starts meanwhile, which never heard of the machine.
func (d dice) clockBack(s *Scenario, period, last time.Duration) []Fault {
	at, host := d.at(period, last), d.name(s)
	if third := &s.Nodes[d.IntN(len(s.Nodes))]; third.Name != host && len(s.Nodes) > 2 && d.chance(0.5) {
		third.Start = at
	}
	by := pick(d, -time.Second, -time.Minute, -time.Hour) - time.Microsecond // so that no two incarnations begin at one instant
	return []Fault{
		{Kind: kindStepWall, At: at, Host: host, By: by},
		{Kind: kindCrash, At: at, For: d.within(period, 30*period), Host: host},
	}
}

// forgery returns a fault of a forger.
func (d dice) forgery(s *Scenario, last time.Duration) Fault {
	f := Fault{
		Kind: pick(d, kindForge, kindReplay), At: d.within(last/10, last/2), For: last / 2, Count: 1 + d.IntN(200),
	}
	if s.Keyed && d.chance(0.3) {
		f.Kind = kindGarble
	}
	if d.chance(0.5) {
		f.Host = d.name(s)
	}
	return f
}

// forgersOnly leaves nothing in the nodes' way but forgers.
func (d dice) forgersOnly(s *Scenario, period time.Duration) {
	base := d.within(20*time.Microsecond, period/4)
	s.Link = netmodel.Link{Delay: netmodel.Distribution{Kind: "uniform", Base: base, Spread: base / 2}}
	s.Links, s.Faults, s.Calm = nil, nil, 0
	for i := range s.Nodes {
		n := &s.Nodes[i]
		n.Start, n.Receive, n.Latency = 0, 0, netmodel.Distribution{}
	}
	s.Keyed = d.chance(0.2)
	for range 1 + d.IntN(3) {
		s.Faults = append(s.Faults, d.forgery(s, s.Duration))
	}
}
