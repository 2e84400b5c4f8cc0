package enginetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"systole/engine/enginetest/netmodel"
)

// dice draws the parts of a random scenario.
type dice struct{ *rand.Rand }

// chance is true with probability p.
func (d dice) chance(p float64) bool { return d.Float64() < p }

// within returns a duration from lo to hi, whole milliseconds or more if hi is.
func (d dice) within(lo, hi time.Duration) time.Duration {
	unit := time.Microsecond
	if lo >= 10*time.Millisecond {
		unit = time.Millisecond
	}
	return lo + time.Duration(d.Int64N(int64((hi-lo)/unit)+1))*unit
}

// pick returns one of list.
func pick[T any](d dice, list ...T) T { return list[d.IntN(len(list))] }

// percent returns up to most, in steps of a thousandth.
func (d dice) percent(most float64) float64 { return float64(d.IntN(int(most*1000)+1)) / 1000 }

// randomScenario returns the scenario of a seed: two to five nodes, about a hundred periods, and up
// to 15 faults. A seed has the same scenario as long as this package stays as it is.
func randomScenario(seed uint64) *Scenario {
	d := dice{rand.New(rand.NewPCG(seed, 2))}
	period := pick[time.Duration](d, 5, 10, 20, 50, 100) * time.Millisecond
	s := &Scenario{
		Seed: seed, Link: d.link(period),
		Duration: max(d.within(60*period, 160*period), time.Second),
	}
	nodes := 2 + d.IntN(4)
	for i := range nodes {
		s.Nodes = append(s.Nodes, d.node(i, period))
	}
	d.topology(s)
	for range d.IntN(3) {
		l := Between{From: d.name(s), To: d.name(s), Link: d.link(period)}
		l.To = otherThan(s, l.From, l.To)
		if !slices.ContainsFunc(s.Links, func(o Between) bool { return o.From == l.From && o.To == l.To }) {
			s.Links = append(s.Links, l)
		}
	}
	for range d.IntN(9) {
		s.Faults = append(s.Faults, d.fault(s, period))
	}
	if d.chance(0.25) {
		s.Calm = max(40*period, 2*time.Second)
		for i := range s.Nodes { // failing takes four deadlines, and coming back a probe
			s.Calm = max(s.Calm, 8*s.Nodes[i].DetectWithin)
		}
		s.Duration += 30*period + s.Calm // no fault lasts longer
	}
	d.networks(s, period)
	dice{rand.New(rand.NewPCG(seed, 3))}.extras(s)
	return s
}

// extras gives some nodes a network device that takes heartbeats, messages to say, and transmit stamps.
func (d dice) extras(s *Scenario) {
	takes, carries, stamps := d.chance(0.3), d.chance(0.3), d.chance(0.2)
	for i := range s.Nodes {
		if takes && d.chance(0.5) {
			s.Nodes[i].Takes = 1 + d.IntN(8)
		}
		if carries && d.chance(0.7) {
			s.Nodes[i].Carries = 16 + d.IntN(200)
		}
		if stamps {
			s.Nodes[i].StampSends = 1 + d.IntN(4)
		}
	}
}

// name returns the name of some node.
func (d dice) name(s *Scenario) string { return s.Nodes[d.IntN(len(s.Nodes))].Name }

// otherThan returns name or, if name is not, the name of the node after that one.
func otherThan(s *Scenario, not, name string) string {
	if name != not {
		return name
	}
	i := slices.IndexFunc(s.Nodes, func(n Node) bool { return n.Name == name })
	return s.Nodes[(i+1)%len(s.Nodes)].Name
}

// watches reports whether a node watches another from its start on.
func watches(s *Scenario, node, other string) bool {
	return slices.ContainsFunc(s.Nodes, func(n Node) bool {
		return n.Name == node && slices.Contains(n.Watch, other)
	})
}

// node returns node number i.
func (d dice) node(i int, period time.Duration) Node {
	n := Node{
		Name: fmt.Sprintf("n%d", i), Period: period, ConnectTimeout: pick[time.Duration](d, 0, 300, 1000) * time.Millisecond,
		Detector: pick(d, "", "", "chen", "chen", "fixed", "fixed:2", "fixed:5", "2w", "oz", "bertier", "phi", "phi-exp", "margin:1h", "margin:1m"),
		Final:    d.chance(0.3),
		Machine:  Machine{Uptime: pick(d, 0, time.Second, 100*time.Hour)},
	}
	if n.Detector == "" && d.chance(0.7) {
		n.DetectWithin, n.MistakeEvery = pick[time.Duration](d, 10, 10, 20)*period, time.Minute
		if d.chance(0.5) {
			n.Period = 0
		}
	}
	if d.chance(0.7) {
		n.ID = uint64(i) + 1
	}
	if d.chance(0.2) {
		n.Start = d.within(0, 50*period)
	}
	if d.chance(0.15) {
		n.Period *= pick[time.Duration](d, 2, 4)
	}
	if d.chance(0.1) {
		n.MinReceivePeriod = 3 * period
	}
	if d.chance(0.5) {
		n.Drift = float64(d.IntN(1001) - 500)
	}
	if d.chance(0.3) {
		spread := d.within(10*time.Microsecond, 300*time.Microsecond)
		n.Latency = netmodel.Distribution{Kind: "exponential", Spread: spread, Most: 3 * time.Millisecond}
	}
	if d.chance(0.1) {
		n.Receive = 1 + d.IntN(20)
	}
	n.NoStamps = d.chance(0.15)
	if d.chance(0.3) {
		n.ReadTime = d.within(time.Microsecond, 8*time.Microsecond)
	}
	return n
}

// topology says who watches whom.
func (d dice) topology(s *Scenario) {
	shape := d.IntN(4)
	for i := range s.Nodes {
		n := &s.Nodes[i]
		next := s.Nodes[(i+1)%len(s.Nodes)].Name
		last := s.Nodes[(i+len(s.Nodes)-1)%len(s.Nodes)].Name
		switch {
		case shape == 0: // a ring: everybody watches both neighbours
			n.Watch = []string{next}
			if last != next {
				n.Watch = append(n.Watch, last)
			}
		case shape == 1 && i == 0: // a star: the hub takes strangers
			n.Accept, n.Forget = true, d.within(50*time.Millisecond, time.Second)
		case shape == 1:
			n.Watch = []string{s.Nodes[0].Name}
		default:
			for _, other := range s.Nodes {
				if other.Name != n.Name {
					n.Watch = append(n.Watch, other.Name)
				}
			}
			if d.chance(0.2) {
				n.Accept, n.Forget = true, d.within(50*time.Millisecond, time.Second)
			}
		}
	}
}

var delayKinds = []string{
	"constant", "uniform", "lognormal", "exponential", "pareto",
}

// link returns a link that carries most heartbeats of a period before the next ones.
func (d dice) link(period time.Duration) netmodel.Link {
	base := d.within(20*time.Microsecond, period/4)
	l := netmodel.Link{Delay: netmodel.Distribution{
		Kind: pick(d, delayKinds...), Base: base, Spread: d.within(0, base), Most: base + d.within(period, 4*period),
	}}
	switch l.Delay.Kind {
	case "constant":
		l.Delay.Spread, l.Delay.Most = 0, 0
	case "uniform":
		l.Delay.Most = 0
	case "pareto":
		l.Delay.Share = d.percent(0.05)
	}
	if d.chance(0.4) {
		l.Loss = d.percent(0.2)
	}
	if d.chance(0.2) {
		l.Burst = netmodel.Burst{Enter: d.percent(0.05), Leave: 0.1 + d.percent(0.5)}
	}
	if d.chance(0.2) {
		l.Duplicate = d.percent(0.2)
	}
	if d.chance(0.2) {
		l.Reorder, l.ReorderBy = d.percent(0.3), d.within(0, 3*period)
	}
	if d.chance(0.05) {
		l.Truncate = d.percent(0.1)
	}
	if d.chance(0.1) {
		l.Queue = netmodel.Queue{Rate: pick(d, 1e5, 1e6), Depth: d.within(period, 5*period), Load: d.percent(1.5)}
	}
	return l
}

// someWatch returns a node and one that it watches; the node is the one with the name if that
// watches any.
func someWatch(s *Scenario, node string) (watcher, watched string) {
	for _, n := range s.Nodes {
		if len(n.Watch) > 0 && (watcher == "" || n.Name == node) {
			watcher, watched = n.Name, n.Watch[0]
		}
	}
	return watcher, watched
}

// faultKinds are the faults of processes, machines and links. One that is there twice is drawn twice as
// often.
var faultKinds = []string{
	kindKill, kindKill, kindCrash, kindCrash, kindRestart, kindLeave,
	kindUnwatch, kindStop, kindStop, kindPause, kindPauseKeep,
	kindHoldSends, kindFillRoom, kindFlood, kindUnplug, kindNoRoute,
	kindStepWall, kindDrift, kindCut, kindCut, kindPartition, kindChange,
}

// fault returns a fault of faultKinds in s.
func (d dice) fault(s *Scenario, period time.Duration) Fault {
	f := Fault{
		Kind: pick(d, faultKinds...),
		At:   min(d.within(20*period, s.Duration), s.Duration-time.Millisecond), For: d.within(period, 30*period), Host: d.name(s),
	}
	switch f.Kind {
	case kindKill, kindCrash, kindLeave:
		if d.chance(0.5) {
			f.For = 0
		}
	case kindRestart, kindStepWall, kindDrift:
		f.For = 0
	case kindFillRoom:
		f.Room = d.IntN(4)
	case kindFlood:
		f.Count, f.For = 500*(1+d.IntN(10)), d.within(time.Millisecond, 2*period)
	case kindCut:
		f.To = otherThan(s, f.Host, d.name(s))
	case kindUnwatch:
		f.To = otherThan(s, f.Host, d.name(s))
		if !watches(s, f.Host, f.To) {
			f.Host, f.To = someWatch(s, f.To)
		}
	case kindPartition:
		f.Hosts, f.Host = []string{f.Host}, ""
	case kindChange:
		f.To, f.Link = otherThan(s, f.Host, d.name(s)), d.link(period)
		if d.chance(0.3) {
			f.Host, f.To = "", ""
		}
	}
	switch f.Kind {
	case kindStepWall:
		f.By = pick(d, -time.Hour, -time.Second, -10*time.Millisecond, 10*time.Millisecond, time.Second, time.Hour)
	case kindDrift:
		f.PPM = float64(d.IntN(1001) - 500)
	}
	return f
}
