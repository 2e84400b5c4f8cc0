package main

import (
	"cmp"
	"context"
	"errors"
	"time"

	"systole/bpf"
	"systole/engine/enginetest/netlab"
)

// pairing is a node and its population, each on a host of its own.
type pairing struct {
	peers       int
	period      time.Duration // of the node's heartbeats
	peersPeriod time.Duration // of each peer's; 0: the same
	nice        int
	fifo        int
	spin, procs int
	shards      int           // of the node; 0: one
	recvBuffer  int           // of the node's sockets, in bytes; 0: the engine's choice
	pinned      bool          // the node to the first CPU, the population to the last
	detector    string        // of the node, as published.Parse reads it; empty: the engine's default
	warm        time.Duration // from the start to the counting, a second at least
	tier        bpf.Tier      // of the node's stamps
	stampSends  int           // engine.Config.StampSends of the node

	punctual bool   // the population has a real-time priority
	receiver string // reader, in place of node
	xdp      bool   // of the reader

	lab              *netlab.Lab
	node, population *child
}

// nodeOptions returns the options of the node.
func (p *pairing) nodeOptions() nodeOptions {
	return nodeOptions{
		Local: hostAddr(p.lab.A), Peers: hostAddr(p.lab.B), Count: p.peers, Period: p.period,
		scheduling: scheduling{p.nice, p.fifo, p.pinned, 0}, Procs: p.procs, Spin: p.spin, Detector: p.detector,
		Shards: p.shards, RecvBuffer: p.recvBuffer, Tier: p.tier, StampSends: p.stampSends,
	}
}

// populationOptions returns the options of the population.
func (p *pairing) populationOptions() populationOptions {
	o := populationOptions{
		Local: hostAddr(p.lab.B), Target: hostAddr(p.lab.A), FirstID: firstPeerID, Count: p.peers, Period: cmp.Or(p.peersPeriod, p.period),
		scheduling: scheduling{p.nice, p.fifo, p.pinned, lastCPU()}, ForReader: p.receiver == "reader",
	}
	if p.punctual {
		o.Nice, o.FIFO = 0, endPriority
	}
	return o
}

// readerOptions returns the options of the reader that takes the place of the node.
func (p *pairing) readerOptions() readerOptions {
	o := p.nodeOptions()
	return readerOptions{o.Local, o.Count, p.peersPeriod, readerStep, o.scheduling, p.xdp}
}

// start starts both children and returns when all peers are alive. The population is first, because a
// node is ready only when its peers are alive.
func (p *pairing) start(ctx context.Context) (err error) {
	if p.population, err = startChild(ctx, p.lab.B, "population", p.populationOptions()); err != nil {
		return err
	}
	if p.receiver == "reader" {
		p.node, err = startChild(ctx, p.lab.A, p.receiver, p.readerOptions())
	} else {
		p.node, err = startChild(ctx, p.lab.A, "node", p.nodeOptions())
	}
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

// run starts the pairing in a lab of its own, beside busy loops, and counts while meanwhile runs. The
// busy loops start last: the pairing should learn beside them, but it need not start beside them.
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
