package main

import (
	"net/netip"
	"os"
	"time"

	"systole/bpf"
	"systole/engine"
	"systole/engine/detect/published"
)

// pathEndOptions are the options of an end of a path: an engine with one peer, which is the other end.
type pathEndOptions struct {
	Local, Remote netip.AddrPort
	ID, RemoteID  uint64
	Period        time.Duration // of heartbeats
	scheduling
	Tier bpf.Tier // of stamps
}

// config returns the configuration of the engine. No silence is long enough for its detector to ask the
// peer for heartbeats off the schedule.
func (o *pathEndOptions) config() engine.Config {
	cfg := engine.Config{
		Detector: published.Fixed(1000, 0),
		ID:       o.ID, Listen: []netip.AddrPort{o.Local}, Period: o.Period, ConnectTimeout: time.Minute, Window: pathEndWindow,
		Sched: engine.Sched{Nice: o.Nice, FIFO: o.FIFO, Procs: 1},
	}
	if o.Tier == bpf.Kernel {
		cfg.StampSends = 1
	}
	if o.Pinned {
		cfg.Sched.CPUs = []int{o.CPU}
	}
	return cfg
}

// pathEndWindow is how many heartbeats an end keeps.
const pathEndWindow = 4096

// runPathEnd is the subcommand path-end.
func runPathEnd(options string) error {
	var o pathEndOptions
	if err := decodeOptions(options, &o); err != nil {
		return err
	}
	cfg := o.config()
	source, err := openTier(o.Tier, 1, labDevice, false)
	if err != nil {
		return err
	}
	e, err := openOn(source, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = e.Close() }() // the process ends
	p, err := e.AddPeer(engine.PeerConfig{Addr: o.Remote, ID: o.RemoteID})
	if err != nil {
		return err
	}
	return commands{
		"await": func(string) (any, error) { return becomes(p, engine.Alive), nil },
		"samples": func(string) (any, error) {
			samples := make([]engine.Sample, pathEndWindow)
			n, _ := p.Samples(samples)
			return pathEndSamples{e.Grid(), samples[:n]}, nil
		},
	}.serve(os.Stdin, os.Stdout)
}

// pathEndSamples are the answer of an end to "samples".
type pathEndSamples struct {
	Grid    time.Duration // of the engine
	Samples []engine.Sample
}

// becomes waits until p is in a state, and reports whether it is.
func becomes(p engine.Peer, s engine.State) bool {
	const timeout, step = 30 * time.Second, 20 * time.Millisecond
	for range timeout / step {
		if p.State() == s {
			return true
		}
		time.Sleep(step)
	}
	return false
}
