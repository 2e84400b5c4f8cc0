// Package qos measures the quality of service of failure detectors on traces that it generates from
// models of links and hosts.
//
// A source generates only arrivals: no datagrams, no engines, no answers. So months of heartbeats take
// seconds, as the rare mistakes of a promise require. Package enginetest simulates engines. Package
// netmodel draws the delays and losses of both.
//
// The models have the faults that measurements of real networks describe. Figures on them compare
// detectors on equal terms; they forecast no particular network. For a forecast, record a network and
// replay the recording.
package qos

import (
	"fmt"
	"time"

	"systole/engine/enginetest/netmodel"
)

// Model is a link with a sender at one end and a reader at the other.
type Model struct {
	Name   string
	Period time.Duration // η

	// The path is a queue, so no heartbeat overtakes another. The delay of a heartbeat is the sum of
	// Link.Delay, Drift and the last of Steps. Spikes are other traffic in the queue. Only Delay, Loss
	// and Burst of Link count.
	Link   netmodel.Link
	Spikes Events
	Drift  Drift
	Steps  Events // changes of route; Length is the delay that the new route adds to the shortest

	// Stalls of the sender delay what is due meanwhile.
	Stalls []Events
	// Burst: the sender sends every heartbeat that was due in a stall, as schedulers with a fixed rate
	// do. Without Burst it sends one and skips the others, which get no sequence, as Go's tickers do.
	Burst bool
	// ClockRate is how much faster the sender's clock is than the reader's, in millionths.
	ClockRate float64

	// Reads are stalls of the reader. Kernel stamps do not show them.
	Reads Events
}

// Events are events at random instants (a Poisson process), each of a random length.
type Events struct {
	Every  time.Duration // mean time between two; 0: never
	Length netmodel.Distribution
}

// Drift is a slow swing of the path's delay, as the load of a network has every day.
type Drift struct {
	Swing time.Duration // from the least to the greatest delay
	Every time.Duration // duration of one swing there and back; 0: none
}

// lognormal has this median, and the deviation sigma of its logarithm. Its tail is cut at an hour.
func lognormal(median time.Duration, sigma float64) netmodel.Distribution {
	return netmodel.Distribution{Kind: "lognormal", Spread: median, Shape: sigma, Most: time.Hour}
}

// jitter is a delay of base and a lognormal excess.
func jitter(base, median time.Duration, sigma float64) netmodel.Distribution {
	d := lognormal(median, sigma)
	d.Base = base
	return d
}

// uniform lies between least and most.
func uniform(least, most time.Duration) netmodel.Distribution {
	return netmodel.Distribution{Kind: "uniform", Base: least, Spread: most - least}
}

// pareto lies between least and most. shape is the exponent of its tail.
func pareto(least time.Duration, shape float64, most time.Duration) netmodel.Distribution {
	return netmodel.Distribution{Kind: "pareto", Spread: least, Shape: shape, Most: most}
}

// collector is the length of a short garbage collection: 5 to 50 ms.
var collector = lognormal(15*time.Millisecond, 0.6)

// reader is how the reader of every model stalls, as goroutines and threads of busy programs do.
var reader = Events{5 * time.Minute, netmodel.Distribution{Kind: "exponential", Spread: 120 * time.Millisecond}}

// Models are the links that promises are measured on. Each has one heartbeat per 100 ms and a reader
// that stalls.
var Models = []Model{
	{ // one switch, and hosts with little load
		Name: "lan", Period: 100 * time.Millisecond,
		Link: netmodel.Link{Delay: jitter(100*time.Microsecond, 20*time.Microsecond, 0.8), Loss: 6e-6},
		Stalls: []Events{
			{2 * time.Minute, lognormal(5*time.Millisecond, 0.5)},
			{2 * time.Hour, uniform(50*time.Millisecond, 400*time.Millisecond)},
		},
		ClockRate: 5, Reads: reader,
	},
	{ // between continents: bursts of losses, queues, the load of a day, changes of route
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
	{ // virtual machines that share their hosts
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
	{ // a sender with garbage collection: often short, seldom long
		Name: "gc", Period: 100 * time.Millisecond,
		Link: netmodel.Link{Delay: jitter(150*time.Microsecond, 30*time.Microsecond, 0.8), Loss: 1e-5},
		Stalls: []Events{
			{10 * time.Second, collector},
			{20 * time.Minute, lognormal(150*time.Millisecond, 0.7)},
		},
		ClockRate: 5, Reads: reader,
	},
	{ // a sender without a free processor, seldom because its virtual machine is stopped
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

// Reading is a link whose sender never stalls: only its reader makes heartbeats late.
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
