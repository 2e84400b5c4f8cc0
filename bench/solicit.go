package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"systole/engine"
	"systole/engine/enginetest/netmodel"
)

const (
	solicitPeriod = 10 * time.Millisecond
	solicitRounds = 5 // crashes of an end

	solicitBareTimes = 10 // the simulated time of engines
)

// solicitLosses are of a hundred datagrams, each way.
var solicitLosses = []int{1, 5}

// solicitEngines are the detectors of engines, which ask; solicitBare name those of the set
// "solicit", which do not. times is for how many times the simulated time one is run with the
// first loss: the mistakes of a margin of a period are as rare as those of fixed × 4 without
// asking, which is what it is held against.
var (
	solicitEngines = []struct {
		name, detector string
		times          int
	}{
		{"engine, chen with a margin of a period", "chen", solicitBareTimes}, {"engine, its default", "default", 1}, {"engine, fixed × 4", "fixed", 1},
	}
	solicitBare = []string{"bare, fixed × 4", "bare, fixed × 2", "bare, chen with a margin of a period"}
)

// runSolicit is the benchmark solicit.
func runSolicit(ctx context.Context, o options) (*table, error) {
	t := &table{
		name: "solicit",
		about: fmt.Sprintf("Two ends watch each other at %v while datagrams are lost at random, each way. Engines ask a silent peer to answer at once "+
			"before its deadline; bare detectors judge heartbeats of the same schedule without asking, all three the same ones. Detection is per "+
			"peer, from the crash to the suspicion, and silence from the send of the last heartbeat that came: for engines as published, for bare detectors "+
			"the deadline itself. Simulated (hop %v and an exponential %v): a hub with %d peers for %v of peer time, and %d times as much for bare detectors "+
			"and, with a loss of %d %%, for the engine with a margin of a period. "+
			"Sockets: %d peers per end between two hosts on this machine (kernel stamps, random drop by nft, SCHED_FIFO), for %v and %d crashes "+
			"of an end (SIGSTOP, which no port reports); there 'of loss' leaves out the mistakes before which "+
			"no heartbeat was lost, and those made about many peers within 20 ms: the machine was busy and made them.",
			solicitPeriod, solicitLink.Delay.Base, solicitLink.Delay.Spread, hubPeers, o.simulatedTime(), solicitBareTimes, solicitLosses[0],
			groupSize(o.sessions)*groupSize(o.sessions), o.duration, solicitRounds),
		columns: []string{"detect_ms_mean", "detect_ms_p99", "silence_ms_mean", "silence_ms_p99", "crashes", "mistakes", "of_loss", "of_loss_per_peer_hour", "peer_hours",
			"heartbeats_per_period", "calls_per_heartbeat"},
	}
	for _, loss := range solicitLosses {
		if err := o.addSimulated(ctx, t, loss); err != nil {
			return nil, err
		}
	}
	return t, o.addSolicited(ctx, t, solicitLosses[0])
}

// simulatedTime is the simulated peer time of each case.
func (o options) simulatedTime() time.Duration { return 5 * time.Duration(o.sessions) * o.duration }

// solicitLink is the simulated one, a quiet local network, but for its loss.
var solicitLink = netmodel.Link{Delay: hopDelay(100*time.Microsecond, 50*time.Microsecond)}

// hopDelay is the least delay of a hop and an exponential excess of mean jitter.
func hopDelay(least, jitter time.Duration) netmodel.Distribution {
	return netmodel.Distribution{Kind: netmodel.Exponential, Base: least, Spread: jitter}
}

// hubPeers are the peers of the simulated hub, and simulatedRound is for how long they live.
const (
	hubPeers       = 10
	simulatedRound = time.Minute
)

// addSimulated measures all cases in virtual time with one loss.
func (o options) addSimulated(ctx context.Context, t *table, loss int) error {
	link := solicitLink
	link.Loss = float64(loss) / 100
	for _, c := range solicitEngines {
		w, err := newWorldSim(1, hubPeers, link, func() engine.Config {
			return engine.Config{Period: solicitPeriod, Detector: groupDetectors[c.detector](solicitPeriod)}
		})
		if err != nil {
			return err
		}
		until := o.simulatedTime()
		if loss == solicitLosses[0] {
			until *= time.Duration(c.times)
		}
		for w.counted.Watched < until {
			if err := errors.Join(ctx.Err(), w.round(min(simulatedRound, o.simulatedTime()/(2*hubPeers)))); err != nil {
				return err
			}
		}
		addSolicit(t, fmt.Sprintf("simulated, loss %d %%, %s", loss, c.name), &w.counted, &w.found, 0)
	}
	b := bareSim{period: solicitPeriod, detectors: judgeSets["solicit"](solicitPeriod), link: link, random: rand.New(rand.NewPCG(1, 1))}
	counted, f := b.run(5000, 1000, solicitBareTimes*o.simulatedTime())
	for i, name := range solicitBare {
		addSolicit(t, fmt.Sprintf("simulated, loss %d %%, %s", loss, name), &counted, &f, i)
	}
	return nil
}

// groupSize is how many engines at each end make so many peers.
func groupSize(peers int) int { return max(int(math.Sqrt(float64(peers))), 1) }

// addSolicited measures all cases on sockets with one loss.
func (o options) addSolicited(ctx context.Context, t *table, loss int) error {
	n := groupSize(o.sessions)
	for _, c := range solicitEngines {
		r := trial{
			kind: "group", judges: 1, loss: loss, duration: o.duration, rounds: solicitRounds,
			args: []string{"-count", strconv.Itoa(n), "-period", solicitPeriod.String(), "-detector", c.detector},
		}
		out, err := r.run(ctx)
		if err != nil {
			return err
		}
		addSolicit(t, fmt.Sprintf("sockets, loss %d %%, %s", loss, c.name), &out.tally, &out.findings, 0)
	}
	r := trial{
		kind: "exchange", judges: len(solicitBare), loss: loss, duration: o.duration, rounds: solicitRounds,
		args: []string{"-count", strconv.Itoa(n * n), "-period", solicitPeriod.String(), "-judges", "solicit"},
	}
	out, err := r.run(ctx)
	if err != nil {
		return err
	}
	for i, name := range solicitBare {
		addSolicit(t, fmt.Sprintf("sockets, loss %d %%, %s", loss, name), &out.tally, &out.findings, i)
	}
	return nil
}

// addSolicit adds the row of detector i.
func addSolicit(t *table, name string, c *tally, f *findings, i int) {
	mean, p99 := milliseconds(f.Crash[i])
	silence, silence99 := milliseconds(f.Silence[i])
	calls := none
	if c.Calls > 0 {
		calls = float64(c.Calls) / float64(c.Sent)
	}
	t.add(name, mean, p99, silence, silence99, float64(len(f.Crash[i])), float64(c.Mistakes[i]), float64(c.OfLoss[i]), c.perHour(c.OfLoss[i]), c.Watched.Hours(),
		float64(c.Sent)*float64(solicitPeriod)/float64(c.Watched), calls)
}
