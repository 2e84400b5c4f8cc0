package enginetest

import (
	"time"

	"systole/engine"
	"systole/engine/detect"
)

// Scenario is a world and what is done to it, as a file holds it: see ParseScenario.
type Scenario struct {
	Seed     uint64        // of all chance
	Duration time.Duration // how long the world runs; at most 1000 h
	// Calm is how much of Duration, at its end, passes without faults and on links that take
	// a millisecond and lose nothing, so that the Healed rule can be checked. Faults that end
	// later than its beginning are not what it is for. 0: the world ends as it is.
	Calm   time.Duration
	Link   Link // between all nodes that Links does not name
	Nodes  []Node
	Links  []Between
	Faults []Fault
}

// Node is a host with an engine.
type Node struct {
	Name  string
	ID    uint64        // 0: one of the world's choice, new at every start
	Start time.Duration // when it is switched on; before Scenario.Duration
	// Watch names the nodes that it watches from its start on.
	Watch []string
	// Detector is as detect.Parse reads it. Empty: the engine's own.
	Detector         string
	Period           time.Duration // 0: the engine's own default, and so below
	MinReceivePeriod time.Duration
	ConnectTimeout   time.Duration
	DetectWithin     time.Duration // what is promised; not with a Detector
	MistakeEvery     time.Duration
	Resurrect        bool
	Accept           bool          // strangers become peers
	Forget           time.Duration // of strangers that failed or left

	Receive, Send int           // datagrams that the buffers hold, at most 1,000,000; 0: 4096
	Uptime        time.Duration // of the machine at its start, at most 10 years of 365 days; 0: an hour
	Drift         float64       // of its clocks, ppm, within ±500
	Latency       Distribution  // how late the process runs after it is woken
	NoStamps      bool          // its kernel stamps no arrivals
	ReadTime      time.Duration // that its process takes for each datagram; at most 1 ms
}

// Between is the way from one node to another.
type Between struct {
	From, To string
	Link     Link
}

// config returns the node's engine configuration.
func (n *Node) config() (engine.Config, error) {
	var d detect.Detector
	var err error
	if n.Detector != "" {
		d, err = detect.Parse(n.Detector)
	}
	window := 0
	if n.DetectWithin != 0 {
		window = lookBack // see checkPromised
	}
	return engine.Config{
		Window: window,
		ID:     n.ID, Period: n.Period, MinReceivePeriod: n.MinReceivePeriod, ConnectTimeout: n.ConnectTimeout,
		Detector: d, Resurrect: n.Resurrect, Promise: detect.Promise{DetectWithin: n.DetectWithin, MistakeEvery: n.MistakeEvery},
		Accept: engine.Accept{Anyone: n.Accept, Forget: n.Forget},
	}, err
}
