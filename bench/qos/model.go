// Package qos measures the quality of service of failure detectors on traces that it makes
// itself: models of links and hosts, each with a seed, as streams of any length.
//
// The models are of the kinds that measurements of real networks name; figures on them
// tell detectors apart on equal terms and are no forecast for a particular network. For
// that, record one and replay it.
package qos

import (
	"fmt"
	"time"
)

// Model is a link with a sender at one end and a reader at the other. Everything in it
// that happens now and then does so at random instants (a Poisson process).
type Model struct {
	Name   string
	Period time.Duration // η

	// The path is a queue: nothing overtakes. A heartbeat's delay is Base, what the route
	// adds, and lognormal jitter; the spikes are what something else in the queue takes.
	Base   time.Duration
	Jitter Length
	Spikes Events
	Drift  Drift
	Steps  Events // to a route that is this much longer than the shortest
	Loss   Loss

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
	Length Length
}

// Drift is a slow swing of the path's delay, as the load of a day makes it.
type Drift struct {
	Swing time.Duration // from the least to the greatest
	Every time.Duration // 0: none
}

// Loss is the model of Gilbert and Elliott: a link that is good or bad, changes with each
// heartbeat by chance, and loses a share of them in either state. Hasslinger and Hohlfeld
// (MMB 2008) found it to fit backbone traces.
type Loss struct {
	Into  float64 // probability, per heartbeat, that a good link turns bad
	OutOf float64 // that a bad one turns good: 1 over the mean length of a burst
	Good  float64 // share lost while good: independent losses
	Bad   float64 // share lost while bad; 0 means all
}

// kind is a family of distributions.
type kind uint8

const (
	lognormal kind = iota + 1
	exponential
	uniform
	pareto
)

// Length is a distribution of times. The zero value is always 0.
type Length struct {
	kind  kind
	a, b  float64 // ns, or a number without a unit
	limit float64 // ns
}

// Lognormal has this median, and sigma as the deviation of its logarithm.
func Lognormal(median time.Duration, sigma float64) Length {
	return Length{kind: lognormal, a: float64(median), b: sigma}
}

// Exponential has this mean.
func Exponential(mean time.Duration) Length { return Length{kind: exponential, a: float64(mean)} }

// Uniform lies between least and most.
func Uniform(least, most time.Duration) Length {
	return Length{kind: uniform, a: float64(least), b: float64(most)}
}

// Pareto is at least least, has this shape, the exponent of its tail, and is cut at most.
func Pareto(least time.Duration, shape float64, most time.Duration) Length {
	return Length{kind: pareto, a: float64(least), b: 1 / shape, limit: float64(most)}
}

// collector stalls a sender as the short collections of a managed heap do: 5 to 50 ms.
var collector = Lognormal(15*time.Millisecond, 0.6)

// reader stalls in every model, as goroutines and threads of busy programs do.
var reader = Events{5 * time.Minute, Exponential(120 * time.Millisecond)}

// Models are the links that promises are kept on. All have a heartbeat per 100 ms, and a
// reader that stalls.
var Models = []Model{
	{ // one switch between, hosts that do little
		Name: "lan", Period: 100 * time.Millisecond,
		Base: 100 * time.Microsecond, Jitter: Lognormal(20*time.Microsecond, 0.8),
		Loss: Loss{Good: 6e-6},
		Stalls: []Events{
			{2 * time.Minute, Lognormal(5*time.Millisecond, 0.5)},
			{2 * time.Hour, Uniform(50*time.Millisecond, 400*time.Millisecond)},
		},
		ClockRate: 5, Reads: reader,
	},
	{ // continents between: bursts of losses, queues, a day's load, changes of route
		Name: "wan", Period: 100 * time.Millisecond,
		Base: 140 * time.Millisecond, Jitter: Lognormal(2*time.Millisecond, 0.7),
		Spikes: Events{2 * time.Minute, Pareto(20*time.Millisecond, 1.6, time.Second)},
		Drift:  Drift{10 * time.Millisecond, 24 * time.Hour},
		Steps:  Events{12 * time.Hour, Uniform(0, 30*time.Millisecond)},
		Loss:   Loss{Into: 5e-4, OutOf: 0.4, Good: 1e-3},
		Stalls: []Events{
			{2 * time.Minute, Lognormal(5*time.Millisecond, 0.5)},
		},
		ClockRate: 20, Reads: reader,
	},
	{ // virtual machines with neighbours
		Name: "cloud", Period: 100 * time.Millisecond,
		Base: 300 * time.Microsecond, Jitter: Lognormal(100*time.Microsecond, 1),
		Spikes: Events{time.Minute, Pareto(2*time.Millisecond, 1.5, 200*time.Millisecond)},
		Loss:   Loss{Into: 2e-5, OutOf: 0.3},
		Stalls: []Events{
			{time.Minute, Lognormal(10*time.Millisecond, 0.6)},
			{time.Hour, Uniform(100*time.Millisecond, 800*time.Millisecond)},
		},
		ClockRate: 10, Reads: reader,
	},
	{ // a sender with a managed heap: often a short collection, seldom a long one
		Name: "gc", Period: 100 * time.Millisecond,
		Base: 150 * time.Microsecond, Jitter: Lognormal(30*time.Microsecond, 0.8),
		Loss: Loss{Good: 1e-5},
		Stalls: []Events{
			{10 * time.Second, collector},
			{20 * time.Minute, Lognormal(150*time.Millisecond, 0.7)},
		},
		ClockRate: 5, Reads: reader,
	},
	{ // a sender starved of its processor, now and then as a whole virtual machine
		Name: "stall", Period: 100 * time.Millisecond,
		Base: 100 * time.Microsecond, Jitter: Lognormal(30*time.Microsecond, 0.8),
		Loss: Loss{Good: 6e-6},
		Stalls: []Events{
			{30 * time.Second, Lognormal(20*time.Millisecond, 1)},
			{20 * time.Minute, Uniform(100*time.Millisecond, 800*time.Millisecond)},
			{48 * time.Hour, Uniform(time.Second, 10*time.Second)},
		},
		Burst: true, ClockRate: 5, Reads: reader,
	},
	{ // a radio link
		Name: "lossy", Period: 100 * time.Millisecond,
		Base: 20 * time.Millisecond, Jitter: Lognormal(3*time.Millisecond, 0.8),
		Spikes: Events{time.Minute, Pareto(20*time.Millisecond, 1.5, 500*time.Millisecond)},
		Loss:   Loss{Into: 1e-4, OutOf: 0.2, Good: 0.05},
		Stalls: []Events{
			{2 * time.Minute, Lognormal(5*time.Millisecond, 0.5)},
		},
		ClockRate: 10, Reads: reader,
	},
}

// Reading is a link whose sender never stalls: what its reader finds late is the reader's
// own doing.
var Reading = Model{
	Name: "reading", Period: 100 * time.Millisecond,
	Base: 100 * time.Microsecond, Jitter: Lognormal(20*time.Microsecond, 0.8),
	Loss: Loss{Good: 6e-6}, ClockRate: 5, Reads: reader,
}

// Find returns the model of that name.
func Find(name string) (*Model, error) {
	for i := range Models {
		if Models[i].Name == name {
			return &Models[i], nil
		}
	}
	return nil, fmt.Errorf("qos: there is no model %q", name)
}
