package main

import (
	"context"
	"errors"
	"time"

	"systole/engine"
	"systole/engine/enginetest/netlab"
)

// pairing is a node and its population, each on a host of its own.
type pairing struct {
	peers       int
	period      time.Duration // of the node's heartbeats
	peersPeriod time.Duration // of each peer's; 0: the same
	class       engine.SchedClass
	priority    int
	spin, procs int
	pinned      bool          // the node to the first CPU, the population to the last
	detector    string        // of the node, as detect.Parse reads it; empty: the engine's default
	warm        time.Duration // from the start to the counting, a second at least

	lab              *netlab.Lab
	node, population *child
}

// nodeOptions returns the options of the node.
func (p *pairing) nodeOptions() nodeOptions {
	o := nodeOptions{
		local: hostAddr(p.lab.A), peers: hostAddr(p.lab.B), count: p.peers, period: p.period,
		scheduling: scheduling{p.class, p.priority, -1}, procs: p.procs, spin: p.spin, detector: p.detector,
	}
	if p.pinned {
		o.cpu = 0
	}
	return o
}

// populationOptions returns the options of the population.
func (p *pairing) populationOptions() populationOptions {
	o := populationOptions{
		local: hostAddr(p.lab.B), target: hostAddr(p.lab.A), count: p.peers, period: p.peersPeriod,
		scheduling: scheduling{p.class, p.priority, -1},
	}
	if o.period == 0 {
		o.period = p.period
	}
	if p.pinned {
		o.cpu = lastCPU()
	}
	return o
}

// start starts both children and returns when all peers are alive.
func (p *pairing) start(ctx context.Context) (err error) {
	population, node := p.populationOptions(), p.nodeOptions()
	if p.population, err = startChild(ctx, p.lab.B, append([]string{"population"}, population.args()...)...); err != nil {
		return err
	}
	p.node, err = startChild(ctx, p.lab.A, append([]string{"node"}, node.args()...)...)
	return err
}

// stop kills both children.
func (p *pairing) stop() {
	for _, c := range []*child{p.node, p.population} {
		if c != nil {
			c.kill()
		}
	}
}

// run starts a pairing in a lab of its own, beside busy loops, and counts while meanwhile runs.
func (p *pairing) run(ctx context.Context, busy int, meanwhile func(context.Context) error) (n nodeCounts, q populationCounts, err error) {
	if p.lab, err = netlab.New(); err != nil {
		return n, q, err
	}
	defer func() { err = errors.Join(err, p.lab.Close()) }()
	defer p.stop()
	if err := p.start(ctx); err != nil {
		return n, q, err
	}
	stop, err := startBusy(busy)
	if err != nil {
		return n, q, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if err := sleep(ctx, max(p.warm, time.Second)); err != nil {
		return n, q, err
	}
	var void any
	if err := errors.Join(p.population.ask(ctx, "begin", &void), p.node.ask(ctx, "begin", &void)); err != nil {
		return n, q, err
	}
	if err := meanwhile(ctx); err != nil {
		return n, q, err
	}
	return n, q, errors.Join(p.node.ask(ctx, "end", &n), p.population.ask(ctx, "end", &q))
}

// runFor is run that counts for d.
func (p *pairing) runFor(ctx context.Context, d time.Duration, busy int) (nodeCounts, populationCounts, error) {
	return p.run(ctx, busy, func(ctx context.Context) error { return sleep(ctx, d) })
}
