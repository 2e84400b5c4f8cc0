package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"systole/engine"
	"systole/engine/enginetest/netmodel"
)

const (
	solicitPeriod = 10 * time.Millisecond
	solicitRounds = 5 // crashes of an end

	solicitBareTimes = 10 // simulated time of bare detectors, in that of engines
)

// solicitLosses are in per cent of the datagrams, each way.
var solicitLosses = []int{1, 5}

var (
	// solicitEngines are the detectors of engines, which solicit. times multiplies the simulated time
	// of one with the first loss: with a margin of one period, mistakes are as rare as those of a bare
	// fixed × 4, which it is compared with.
	solicitEngines = []struct {
		name, detectors string
		times           int
	}{
		{"engine, chen with a margin of a period", "chen", solicitBareTimes}, {"engine, its default", "default", 1}, {"engine, fixed × 4", "fixed", 1},
	}
	// solicitBare are the names of the detectors in the set "solicit".
	solicitBare = []string{"bare, fixed × 4", "bare, fixed × 2", "bare, chen with a margin of a period"}
)

// runSolicit is the benchmark solicit.
func runSolicit(ctx context.Context, o options) (*table, error) {
	engines := groupSize(o.sessions)
	t := &table{
		name: "solicit",
		about: fmt.Sprintf("Two ends watch each other at %v while datagrams are lost at random, each way. An engine solicits a silent peer, so that it answers at once, "+
			"before its deadline. Bare detectors judge heartbeats of the same schedule and do not solicit; all three judge the same heartbeats. Detection is "+
			"per peer from the crash to the suspicion, silence from the send of the last heartbeat that arrived. The suspicion is the event of an engine, and the "+
			"deadline of a bare detector. Simulated (hops of %v and an exponential %v): a hub with %d peers for %v of peer time; %d times as much for bare detectors "+
			"and, with a loss of %d %%, for the engine with a margin of a period. "+
			"Sockets: %d peers per end between two hosts on this machine (kernel stamps, random drop by nft, SCHED_FIFO), for %v and %d crashes "+
			"of an end (SIGSTOP, which no port reports). There 'of loss' does not count mistakes without a lost heartbeat before them, "+
			"nor mistakes about many peers within 20 ms: these are due to other processes on the machine.",
			solicitPeriod, solicitLink.Delay.Base, solicitLink.Delay.Spread, hubPeers, o.simulatedTime(), solicitBareTimes, solicitLosses[0],
			engines*engines, o.duration, solicitRounds),
		columns: []string{"detect_ms_mean", "detect_ms_p99", "silence_ms_mean", "silence_ms_p99", "crashes", "mistakes", "of_loss", "of_loss_per_peer_hour", "peer_hours",
			"heartbeats_per_period", "calls_per_heartbeat"},
	}
	for _, loss := range solicitLosses {
		if err := o.simulateSolicit(ctx, t, loss); err != nil {
			return nil, err
		}
	}
	return t, o.trySolicit(ctx, t, solicitLosses[0])
}

// simulatedTime is the simulated peer time of each case.
func (o options) simulatedTime() time.Duration { return 5 * time.Duration(o.sessions) * o.duration }

// solicitLink is the simulated link, without its loss: a quiet local network.
var solicitLink = netmodel.Link{Delay: hopDelay(100*time.Microsecond, 50*time.Microsecond)}

// hopDelay is a least delay with an exponential excess of this mean.
func hopDelay(least, excess time.Duration) netmodel.Distribution {
	return netmodel.Distribution{Kind: "exponential", Base: least, Spread: excess}
}

const (
	hubPeers       = 10          // peers of the simulated hub
	simulatedRound = time.Minute // between two crashes of a peer
)

// simulateSolicit adds the rows of simulations with one loss.
func (o options) simulateSolicit(ctx context.Context, t *table, loss int) error {
	link := solicitLink
	link.Loss = float64(loss) / 100
	for _, c := range solicitEngines {
		w, err := newWorldSim(1, hubPeers, link, func() engine.Config {
			return engine.Config{Period: solicitPeriod, Detector: groupDetectors[c.detectors](solicitPeriod)}
		})
		if err != nil {
			return err
		}
		least := o.simulatedTime()
		if loss == solicitLosses[0] {
			least *= time.Duration(c.times)
		}
		for w.counted.Watched < least {
			if err := errors.Join(ctx.Err(), w.round(min(simulatedRound, o.simulatedTime()/(2*hubPeers)))); err != nil {
				return err
			}
		}
		t.add(fmt.Sprintf("simulated, loss %d %%, %s", loss, c.name), solicitFigures(&w.counted, &w.found, 0)...)
	}
	b := bareSim{period: solicitPeriod, detectors: detectorSets["solicit"](solicitPeriod), link: link, random: rand.New(rand.NewPCG(1, 1))}
	counted, found := b.run(5000, 1000, solicitBareTimes*o.simulatedTime())
	for i, name := range solicitBare {
		t.add(fmt.Sprintf("simulated, loss %d %%, %s", loss, name), solicitFigures(&counted, &found, i)...)
	}
	return nil
}

// groupSize returns how many engines at each end have about so many peers.
func groupSize(peers int) int { return max(int(math.Sqrt(float64(peers))), 1) }

// trySolicit adds the rows of trials on sockets with one loss.
func (o options) trySolicit(ctx context.Context, t *table, loss int) error {
	n := groupSize(o.sessions)
	for _, c := range solicitEngines {
		r := trial{
			subcommand: "group", loss: loss, duration: o.duration, rounds: solicitRounds,
			end: endOptions{Count: n, Period: solicitPeriod, Detectors: c.detectors},
		}
		out, err := r.run(ctx)
		if err != nil {
			return err
		}
		t.add(fmt.Sprintf("sockets, loss %d %%, %s", loss, c.name), solicitFigures(&out.tally, &out.detections, 0)...)
	}
	r := trial{
		subcommand: "exchange", loss: loss, duration: o.duration, rounds: solicitRounds,
		end: endOptions{Count: n * n, Period: solicitPeriod, Detectors: "solicit"},
	}
	out, err := r.run(ctx)
	if err != nil {
		return err
	}
	for i, name := range solicitBare {
		t.add(fmt.Sprintf("sockets, loss %d %%, %s", loss, name), solicitFigures(&out.tally, &out.detections, i)...)
	}
	return nil
}

// solicitFigures returns the row of a detector.
func solicitFigures(t *tally, d *detections, detector int) []float64 {
	crash, crash99 := meanAndP99(d.Crash[detector])
	silence, silence99 := meanAndP99(d.Silence[detector])
	calls := none
	if t.Calls > 0 {
		calls = float64(t.Calls) / float64(t.Sent)
	}
	return []float64{
		crash, crash99, silence, silence99, float64(len(d.Crash[detector])),
		float64(t.Mistakes[detector]), float64(t.OfLoss[detector]), t.perHour(t.OfLoss[detector]), t.Watched.Hours(),
		float64(t.Sent) * float64(solicitPeriod) / float64(t.Watched), calls,
	}
}
