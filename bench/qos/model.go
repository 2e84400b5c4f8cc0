// Package qos measures the quality of service of failure detectors on traces that it makes
// itself: models of links and hosts, each with a seed, as streams of any length.
//
// A source makes arrivals and nothing else: no datagrams, no engines, no answers. So months of
// heartbeats take seconds, which the rare mistakes of a promise need. Engines in virtual time are in
// package enginetest. Delays and losses of both are drawn by package netmodel.
//
// The models are of the kinds that measurements of real networks name; figures on them
// tell detectors apart on equal terms and are no forecast for a particular network. For
// that, record one and replay it.
package qos

import (
	"fmt"
	"time"

	"systole/engine/enginetest/netmodel"
)

// Model is a link with a sender at one end and a reader at the other. Everything in it
// that happens now and then does so at random instants (a Poisson process).
type Model struct {
	Name   string
	Period time.Duration // η

	// The path is a queue: nothing overtakes. A heartbeat's delay is Link.Delay and what the route
	// and the load add; the spikes are what something else in the queue takes. Of Link only Delay,
	// Loss and Burst are used.
	Link   netmodel.Link
	Spikes Events
	Drift  Drift
	Steps  Events // to a route that is this much longer than the shortest

	// Stalls of the sender: what was due then is late.
	Stalls []Events
	// Burst makes up for every heartbeat that was due in a stall, as schedulers with a
	// fixed rate do. Without it one is made up for and the others are skipped and have no
	// sequence, as with Go's tickers.
	Burst bool
	// ClockRate is by how much the sender's clock is too fast, in millionths.
	ClockRate float64

	// Reads are stalls of the reader: the kernel's stamp tells nothing of them.
	Reads Events
}

// Events happen every so often, and each is of a random length.
type Events struct {
	Every  time.Duration // mean time between two; 0: never
	Length netmodel.Distribution
}

// Drift is a slow swing of the path's delay, as the load of a day makes it.
type Drift struct {
	Swing time.Duration // from the least to the greatest
	Every time.Duration // 0: none
}

// lognormal has this median, and sigma as the deviation of its logarithm. Its tail is cut at an hour.
func lognormal(median time.Duration, sigma float64) netmodel.Distribution {
	return netmodel.Distribution{Kind: netmodel.LogNormal, Spread: median, Shape: sigma, Most: time.Hour}
}

// jitter is a delay of base and a lognormal excess.
func jitter(base, median time.Duration, sigma float64) netmodel.Distribution {
	d := lognormal(median, sigma)
	d.Base = base
	return d
}

// uniform lies between least and most.
func uniform(least, most time.Duration) netmodel.Distribution {
	return netmodel.Distribution{Kind: netmodel.Uniform, Base: least, Spread: most - least}
}

// pareto is at least least, has this shape, the exponent of its tail, and is cut at most.
func pareto(least time.Duration, shape float64, most time.Duration) netmodel.Distribution {
	return netmodel.Distribution{Kind: netmodel.Pareto, Spread: least, Shape: shape, Most: most}
}

// collector stalls a sender as the short collections of a managed heap do: 5 to 50 ms.
var collector = lognormal(15*time.Millisecond, 0.6)

// reader stalls in every model, as goroutines and threads of busy programs do.
var reader = Events{5 * time.Minute, netmodel.Distribution{Kind: netmodel.Exponential, Spread: 120 * time.Millisecond}}

// Models are the links that promises are kept on. All have a heartbeat per 100 ms, and a
// reader that stalls.
var Models = []Model{
	{ // one switch between, hosts that do little
		Name: "lan", Period: 100 * time.Millisecond,
		Link: netmodel.Link{Delay: jitter(100*time.Microsecond, 20*time.Microsecond, 0.8), Loss: 6e-6},
		Stalls: []Events{
			{2 * time.Minute, lognormal(5*time.Millisecond, 0.5)},
			{2 * time.Hour, uniform(50*time.Millisecond, 400*time.Millisecond)},
		},
		ClockRate: 5, Reads: reader,
	},
	{ // continents between: bursts of losses, queues, a day's load, changes of route
		Name: "wan", Period: 100 * time.Millisecond,
		Link: netmodel.Link{
			Delay: jitter(140*time.Millisecond, 2*time.Millisecond, 0.7),
			Loss:  1e-3, Burst: netmodel.Burst{Enter: 5e-4, Leave: 0.4},
		},
		Spikes: Events{2 * time.Minute, pareto(20*time.Millisecond, 1.6, time.Second)},
		Drift:  Drift{10 * time.Millisecond, 24 * time.Hour},
		Steps:  Events{12 * time.Hour, uniform(0, 30*time.Millisecond)},
		Stalls: []Events{
			{2 * time.Minute, lognormal(5*time.Millisecond, 0.5)},
		},
		ClockRate: 20, Reads: reader,
	},
	{ // virtual machines with neighbours
		Name: "cloud", Period: 100 * time.Millisecond,
		Link: netmodel.Link{
			Delay: jitter(300*time.Microsecond, 100*time.Microsecond, 1),
			Burst: netmodel.Burst{Enter: 2e-5, Leave: 0.3},
		},
		Spikes: Events{time.Minute, pareto(2*time.Millisecond, 1.5, 200*time.Millisecond)},
		Stalls: []Events{
			{time.Minute, lognormal(10*time.Millisecond, 0.6)},
			{time.Hour, uniform(100*time.Millisecond, 800*time.Millisecond)},
		},
		ClockRate: 10, Reads: reader,
	},
	{ // a sender with a managed heap: often a short collection, seldom a long one
		Name: "gc", Period: 100 * time.Millisecond,
		Link: netmodel.Link{Delay: jitter(150*time.Microsecond, 30*time.Microsecond, 0.8), Loss: 1e-5},
		Stalls: []Events{
			{10 * time.Second, collector},
			{20 * time.Minute, lognormal(150*time.Millisecond, 0.7)},
		},
		ClockRate: 5, Reads: reader,
	},
	{ // a sender starved of its processor, now and then as a whole virtual machine
		Name: "stall", Period: 100 * time.Millisecond,
		Link: netmodel.Link{Delay: jitter(100*time.Microsecond, 30*time.Microsecond, 0.8), Loss: 6e-6},
		Stalls: []Events{
			{30 * time.Second, lognormal(20*time.Millisecond, 1)},
			{20 * time.Minute, uniform(100*time.Millisecond, 800*time.Millisecond)},
			{48 * time.Hour, uniform(time.Second, 10*time.Second)},
		},
		Burst: true, ClockRate: 5, Reads: reader,
	},
	{ // a radio link
		Name: "lossy", Period: 100 * time.Millisecond,
		Link: netmodel.Link{
			Delay: jitter(20*time.Millisecond, 3*time.Millisecond, 0.8),
			Loss:  0.05, Burst: netmodel.Burst{Enter: 1e-4, Leave: 0.2},
		},
		Spikes: Events{time.Minute, pareto(20*time.Millisecond, 1.5, 500*time.Millisecond)},
		Stalls: []Events{
			{2 * time.Minute, lognormal(5*time.Millisecond, 0.5)},
		},
		ClockRate: 10, Reads: reader,
	},
}

// Reading is a link whose sender never stalls: what its reader finds late is the reader's
// own doing.
var Reading = Model{
	Name: "reading", Period: 100 * time.Millisecond,
	Link:      netmodel.Link{Delay: jitter(100*time.Microsecond, 20*time.Microsecond, 0.8), Loss: 6e-6},
	ClockRate: 5, Reads: reader,
}

// Find returns the model with that name, among Models and Reading.
func Find(name string) (*Model, error) {
	if name == Reading.Name {
		return &Reading, nil
	}
	for i := range Models {
		if Models[i].Name == name {
			return &Models[i], nil
		}
	}
	return nil, fmt.Errorf("qos: there is no model %q", name)
}
