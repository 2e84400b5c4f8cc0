package main

import (
	"context"
	"fmt"

	"systole/bench/internal/qos"
)

// The length of a run of the seed's loop, and the bounds of its delay. Times are in seconds.
const (
	loopSeconds = 20_000
	loopFloor   = 1e-3
	loopCap     = 30.0
	loopPath    = 1e-4 // mean delay of a heartbeat
	loopSender  = 0.1  // period of heartbeats, where it is not the loop's delay
	loopSeeds   = 4
)

// loopCase is one pair of gains.
type loopCase struct {
	increase, decrease float64
	perHeartbeat       bool
	first              float64
	coupled            bool
}

var loopCases = []loopCase{
	{2, 0.5, false, 3, false}, {2, 0.9, false, 3, false}, {2, 0.99, false, 3, false}, {2, 0.999, false, 3, false}, {2, 0.9, true, 3, false},
	{2, 0.5, false, 3, true}, {2, 0.5, false, 0.05, true}, {2, 0.9, false, 3, true}, {2, 0.99, false, 3, true},
	{2, 0.9, true, 3, true}, {1.25, 0.9, true, 3, true},
}

// name returns the name of a case.
func (c *loopCase) name() string {
	s := fmt.Sprintf("× %v, × %v", c.increase, c.decrease)
	if c.perHeartbeat {
		s += " per heartbeat"
	}
	s += fmt.Sprintf(", from %v s", c.first)
	if c.coupled {
		return "coupled " + s
	}
	return "apart " + s
}

// loop returns the loop of a case.
func (c *loopCase) loop() *qos.SeedLoop {
	l := &qos.SeedLoop{
		Increase: c.increase, Decrease: c.decrease, PerHeartbeat: c.perHeartbeat, First: c.first, Floor: loopFloor, Cap: loopCap, Path: loopPath,
	}
	if !c.coupled {
		l.Sender = loopSender
	}
	return l
}

// runSeedLoop is the benchmark seedloop.
func runSeedLoop(ctx context.Context, _ options) (*table, error) {
	t := &table{
		name: "seedloop",
		about: fmt.Sprintf("The seed's loop between two peers that both live, on a path of %v s, with a delay from %v s to %v s: the second half of %d s. "+
			"Coupled, as in the seed, the delay is also the sender's period; apart, heartbeats are sent every %v s. empty is the share of polls that found no heartbeat, each a "+
			"false tempFail. theory is ln(1/dec)/(ln inc + ln(1/dec)), which holds where the delay settles between its bounds and falls once per poll. "+
			"at_cap and at_floor are shares of polls. delay_ms is the geometric mean of the delay; shortest_ms and longest_ms are its extremes with %d seeds: coupled, the delay "+
			"does not depend on the network, and wanders.", loopPath, loopFloor, loopCap, loopSeconds, loopSender, loopSeeds),
		columns: []string{"theory", "empty", "delay_ms", "shortest_ms", "longest_ms", "sent_per_s", "at_cap", "at_floor"},
	}
	for i := range loopCases {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c := &loopCases[i]
		t.add(c.name(), loopFigures(c.loop(), loopSeconds)...)
	}
	return t, nil
}

// loopFigures returns a row of seedloop. But for the extremes, the figures are those of the first seed.
func loopFigures(l *qos.SeedLoop, seconds float64) []float64 {
	s := l.Run(1, seconds)
	shortest, longest := s.Delay, s.Delay
	for seed := uint64(2); seed <= loopSeeds; seed++ {
		other := l.Run(seed, seconds)
		shortest, longest = min(shortest, other.Delay), max(longest, other.Delay)
	}
	return []float64{l.Share(), s.Empty, 1000 * s.Delay, 1000 * shortest, 1000 * longest, s.Sent, s.Capped, s.Floor}
}
