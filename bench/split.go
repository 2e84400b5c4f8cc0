package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"systole/bpf"
	"systole/engine/clock"
)

// The benchmark split injects delays of a known cause and a known length, and compares them with the
// parts of the delay that the receiving engine tells. The truth comes from stamps of packet sockets, from
// the schedule of the sends, from a trace of the receiver's system calls, and from the instants of the
// injections. It is never what an engine tells.

const (
	splitPeriod     = 10 * time.Millisecond  // of the sender's heartbeats
	splitEcho       = 100 * time.Millisecond // of the receiver's: each of its turns is a reading
	splitInjections = 100
	splitEvery      = 12 * splitPeriod // from one injection to the next, at least
	splitLeast      = time.Millisecond // a delay below this is not injected
)

// splitCase is one cause.
type splitCase struct {
	name   string
	part   delayPart // the part in which the delay belongs
	inject func(*splitLab, context.Context) (span, error)
	truth  func(*way, *splitIdle, span) time.Duration
	shaped func(*splitLab) error // before the injections; nil: nothing
	first  bool                  // only the first heartbeat after an injection is delayed by it
}

var splitCases = []splitCase{
	{"bursts of others at the router's 20 Mbit/s", partNetwork, (*splitLab).burst, (*way).routed, (*splitLab).shapeRouter, false},
	{"receiver stopped for 40 ms", partRead, (*splitLab).stopReceiver, (*way).unread, nil, false},
	{"receiver's CPU taken for 20 ms", partRead, (*splitLab).starveReceiver, (*way).unread, nil, false},
	{"sender stopped, 8 ms late", partLate, (*splitLab).stopSender, (*way).late, nil, true},
	{"bursts of others in the sender's 20 Mbit/s queue", partSendWait, (*splitLab).burst, (*way).queued, (*splitLab).shapeSender, false},
}

// runSplit is the benchmark split.
func runSplit(ctx context.Context, o options) (*table, error) {
	t := &table{
		name: "split",
		about: fmt.Sprintf("Does each cause of a delay land in its own part? A sender, a router and a receiver on this machine, heartbeats every %v, %d injections of each cause. "+
			"The truth comes from packet sockets at the devices, from the schedule of the sends, from a trace of the receiver's system calls and from the instants of the injections. Of heartbeats that were delayed by %v or more: "+
			"right is the share of the injected delay in the right part, elsewhere what other parts have, above their medians without injections and above a step of the grid for the wait at the socket, relative to the injected delay. "+
			"The error is that of the right part; within is the share of heartbeats with an error below 50 µs or 5 %%. "+
			"named_right are the injections whose cause package engine/split names.", splitPeriod, splitInjections, splitLeast),
		columns: []string{
			"injections", "heartbeats", "delay_ms_p50", "right", "elsewhere", "error_us_p50", "error_us_p95", "error_percent_p50", "error_percent_p95", "within", "named_right",
		},
	}
	tiers := t.tiers(bpf.Kernel, bpf.Stamps)
	for i := range splitCases {
		for _, tier := range tiers {
			c := &splitCases[i]
			r, err := c.run(ctx, tier, splitInjections)
			if err != nil {
				return nil, fmt.Errorf("%s, tier %v: %w", c.name, tier, err)
			}
			t.add(c.name+", tier "+string(tier), r.figures()...)
		}
	}
	return t, nil
}

// run measures a number of injections with one tier.
func (c *splitCase) run(ctx context.Context, tier bpf.Tier, injections int) (r splitResult, err error) {
	l, err := newSplitLab(ctx, tier)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	if c.shaped != nil {
		if err := c.shaped(l); err != nil {
			return r, err
		}
	}
	if err := sleep(ctx, time.Second); err != nil { // for the least delay and the least round trip
		return r, err
	}
	began := clock.Now()
	var injected []span
	for i := range injections {
		s, err := c.inject(l, ctx)
		if err != nil {
			return r, err
		}
		injected = append(injected, s)
		if err := sleep(ctx, splitEvery+splitPeriod*time.Duration(i)/time.Duration(injections)); err != nil {
			return r, err
		}
	}
	ways, grid, err := l.ways(ctx, began)
	if err != nil {
		return r, err
	}
	r.judge(c, ways, injected, grid)
	return r, nil
}
