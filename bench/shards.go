package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"time"

	"systole/engine"
	"systole/engine/clock"
)

// A backlog is read by one loop, and by several at once. The kernel collects the backlog while the process of
// the engine is stopped, and the population is stopped while it is read, so that reading has all CPUs.
const (
	backlogPeers  = enginePeers
	backlogPeriod = 100 * time.Millisecond
	backlogTime   = 3 * time.Second         // for which the backlog grows
	backlogRead   = 1500 * time.Millisecond // more than reading takes
	backlogBuffer = 256 << 20               // bytes, of each socket
)

// runShards is the benchmark shards.
func runShards(ctx context.Context, o options) (*table, error) {
	t := &table{
		name: "shards",
		about: fmt.Sprintf("How fast one and more shards, each on a CPU of its own, read a backlog of %v of heartbeats from %d peers at %v, which the kernel "+
			"has collected while the process of the engine was stopped. The population is stopped meanwhile. 'Gain' is against one shard. CPU time is that of the "+
			"process per heartbeat; the fastest of %d measurements.", backlogTime, backlogPeers, backlogPeriod, o.repeat),
		columns: []string{"heartbeats_per_s", "gain", "cpu_ns", "user_ns", "dropped"},
	}
	one := 0.0
	for shards := 1; shards <= runtime.NumCPU(); shards *= 2 {
		var best backlogCounts
		for range o.repeat {
			b, err := readBacklog(ctx, shards)
			if err != nil {
				return nil, err
			}
			if b.rate() > best.rate() {
				best = b
			}
		}
		if shards == 1 {
			one = best.rate()
		}
		name := fmt.Sprintf("%d shards", shards)
		if shards == 1 {
			name = "1 shard"
		}
		t.add(name, best.figures(one)...)
	}
	return t, nil
}

// backlogCounts are one measurement.
type backlogCounts struct {
	node nodeCounts
	took time.Duration // see pairing.backlog
}

// rate returns heartbeats per second.
func (b *backlogCounts) rate() float64 {
	if b.took <= 0 {
		return 0
	}
	return float64(b.node.Received) / b.took.Seconds()
}

// figures returns a row. one is the rate of one shard.
func (b *backlogCounts) figures(one float64) []float64 {
	n := float64(b.node.Received)
	return []float64{b.rate(), b.rate() / one, float64(b.node.CPU) / n, float64(b.node.User) / n, float64(b.node.Dropped)}
}

// readBacklog measures the reading of a backlog once.
func readBacklog(ctx context.Context, shards int) (b backlogCounts, err error) {
	p := pairing{
		peers: backlogPeers, period: time.Minute, peersPeriod: backlogPeriod, procs: shards, pinned: true, detector: "fixed",
		shards: shards, recvBuffer: backlogBuffer,
	}
	b.node, _, err = p.run(ctx, 0, func(ctx context.Context) error {
		b.took, err = p.backlog(ctx)
		return err
	})
	return b, err
}

// backlog lets a backlog grow and has it read. It returns how long that took: from the continuation of
// the process of the engine to the reading of the last heartbeat.
func (p *pairing) backlog(ctx context.Context) (took time.Duration, err error) {
	node, population := p.node.cmd.Process, p.population.cmd.Process
	err = errors.Join(node.Signal(syscall.SIGSTOP), sleep(ctx, backlogTime), population.Signal(syscall.SIGSTOP))
	began := clock.Now()
	err = errors.Join(err, node.Signal(syscall.SIGCONT), sleep(ctx, backlogRead))
	var last clock.Instant
	err = errors.Join(err, p.node.ask(ctx, "readAt", &last), population.Signal(syscall.SIGCONT))
	if err == nil && last <= began {
		err = errors.New("no heartbeat was read after the stop")
	}
	return last.Sub(began), err
}

// readAt returns when the last heartbeat of any peer was read.
func readAt(peers []engine.PeerStats) (last clock.Instant) {
	for i := range peers {
		last = max(last, peers[i].Last.Arrival.Add(peers[i].Last.Read))
	}
	return last
}
