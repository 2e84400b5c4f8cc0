package enginetest

import (
	"fmt"
	"strings"
	"time"

	"systole/engine"
	"systole/engine/detect"
	"systole/engine/detect/published"
	"systole/engine/enginetest/netmodel"
	"systole/wire"
)

// Scenario is a world and what is done to it, as a file holds it: see ParseScenario.
type Scenario struct {
	Seed     uint64        // of all chance
	Duration time.Duration // how long the world runs; at most 1000 h
	// Calm is how much of Duration, at its end, passes without faults and on links that take
	// a millisecond and lose nothing, so that the Healed rule can be checked. Faults that end
	// later than its beginning are not what it is for. Hosts have their first addresses again, and
	// names that moved stay so. 0: the world ends as it is.
	Calm   time.Duration
	Keyed  bool          // all nodes have a key in common
	Link   netmodel.Link // between all nodes that Links does not name
	Nodes  []Node
	Links  []Between
	Faults []Fault
}

// Node is a host with an engine.
type Node struct {
	Name  string
	ID    uint64        // 0: one of the world's choice, new at every start
	Start time.Duration // when it is switched on; before Scenario.Duration
	// Watch names the nodes that it watches from its start on: "b", or "b/1" at the address that b
	// has on path 1, or "name:b" wherever the name of b points to.
	Watch []string
	// Detector is as published.Parse reads it. Empty: the engine's own.
	Detector         string
	Period           time.Duration // 0: the engine's own default, and so below
	MinReceivePeriod time.Duration
	ConnectTimeout   time.Duration
	DetectWithin     time.Duration // what is promised; not with a Detector
	MistakeEvery     time.Duration
	Final            bool          // what failed is alive again in a new incarnation only
	Accept           bool          // strangers become peers
	AdmitMax         int           // so many at once; 0: the engine's own default
	Forget           time.Duration // of strangers that failed or left

	Machine
	Carries    int // bytes of a message that it says with each heartbeat: 0, or 16 to 1000
	StampSends int // one heartbeat in so many is stamped when it leaves the host; 0: none
}

// sharedKeys is what the nodes of a scenario that is Keyed have in common.
var sharedKeys = func() *wire.KeyRing {
	keys, err := wire.ParseKeyRing(strings.NewReader("1 send " + strings.Repeat("5a", len(wire.Key{}))))
	if err != nil {
		panic(fmt.Sprintf("enginetest: %v", err))
	}
	return keys
}()

// Between is the way from one node to another.
type Between struct {
	From, To string
	Link     netmodel.Link
}

// isFinal reports whether what failed is alive again in a new incarnation only.
func isFinal(cfg *engine.Config) bool { return cfg.Final }

// config returns the node's engine configuration.
func (n *Node) config() (engine.Config, error) {
	var d detect.Detector
	var err error
	if n.Detector != "" {
		d, err = published.Parse(n.Detector)
	}
	window := 0
	if n.DetectWithin != 0 {
		window = lookBack // see checkPromised
	}
	return engine.Config{
		Window: window, StampSends: n.StampSends,
		ID: n.ID, Period: n.Period, MinReceivePeriod: n.MinReceivePeriod, ConnectTimeout: n.ConnectTimeout,
		Detector: d, Final: n.Final, Promise: detect.Promise{DetectWithin: n.DetectWithin, MistakeEvery: n.MistakeEvery},
		Accept: engine.Accept{Anyone: n.Accept, Max: n.AdmitMax, Forget: n.Forget},
	}, err
}
