package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// phaseCase is one way to watch each other.
type phaseCase struct {
	name    string
	two     bool
	periods time.Duration // the period in those of a single phase
}

var phaseCases = []phaseCase{
	{"single phase", false, 1},
	{"two phases, same period", true, 1},
	{"two phases, same packets", true, 2},
}

const (
	phasePeriod = 10 * time.Millisecond
	phaseRounds = 5 // crashes of an end
)

// phaseLinks are round trips; phaseLosses are of a hundred datagrams, each way.
var (
	phaseLinks  = []time.Duration{200 * time.Microsecond, 20 * time.Millisecond}
	phaseLosses = []int{0, 1, 5}
)

// phaseJudges name the detectors of the set "phases".
var phaseJudges = []string{"fixed × 3", "chen"}

// runPhases is the benchmark phases.
func runPhases(ctx context.Context, o options) (*table, error) {
	t := &table{
		name: "phases",
		about: fmt.Sprintf("Two nodes watch each other every %v: in a single phase each sends heartbeats and judges by those that come; in two "+
			"phases each sends requests, answered at once, and judges by the answers, at the same period or at the same packets. Both "+
			"by the same detectors over the same arrivals, as granted three periods: fixed × 3 and Chen with a margin of two. Detection is "+
			"from a crash at a random instant to the deadline, per peer. Simulated for %v of peer time, and between two "+
			"hosts on this machine (kernel stamps, random drop by nft, the longer round trip added where datagrams arrive, "+
			"SCHED_FIFO) by %d pairs for %v and %d crashes of an end. "+
			"The seed's claim is that two phases are slower, because they wait for a round trip and answers can be lost. "+
			"At the same period they are not slower: a crash is seen by the answers that do not come as soon as by "+
			"the heartbeats, since what the round trip adds before the deadline it also adds before the crash. They take twice the packets, and the losses "+
			"of both ways count, which makes mistakes that need k losses 2^k as many. At the same packets they have half as many "+
			"periods, and everything takes twice as long.", phasePeriod, o.simulatedTime(), o.sessions, o.duration, phaseRounds),
		columns: []string{"detect_ms_mean", "detect_ms_p99", "crashes", "mistakes", "of_loss", "of_loss_per_peer_hour", "peer_hours", "packets_per_s_pair"},
	}
	for _, world := range []string{"simulated", "sockets"} {
		for _, trip := range phaseLinks {
			for _, loss := range phaseLosses {
				for _, c := range phaseCases {
					if err := o.addPhase(ctx, t, world, c, trip, loss); err != nil {
						return nil, err
					}
				}
			}
		}
	}
	return t, nil
}

// addPhase measures a case in one world and adds a row per detector.
func (o options) addPhase(ctx context.Context, t *table, world string, c phaseCase, trip time.Duration, loss int) error {
	var counted tally
	var f findings
	if world == "simulated" {
		period := c.periods * phasePeriod
		b := bareSim{
			period: period, two: c.two, detectors: judgeSets["phases"](period), random: rand.New(rand.NewPCG(1, 1)),
			link: simLink{delay: trip * 9 / 20, jitter: trip / 20, loss: float64(loss) / 100},
		}
		counted, f = b.run(500, 1000, o.simulatedTime())
	} else {
		// The wires of the lab take a few hundredths of a millisecond themselves.
		r := trial{
			kind: "exchange", judges: len(phaseJudges), loss: loss, duration: o.duration, rounds: phaseRounds,
			args: []string{"-count", strconv.Itoa(o.sessions), "-period", (c.periods * phasePeriod).String(), "-delay", addedDelay(trip).String(),
				"-two=" + strconv.FormatBool(c.two), "-judges", "phases"},
		}
		out, err := r.run(ctx)
		if err != nil {
			return err
		}
		counted, f = out.tally, out.findings
	}
	for i, judge := range phaseJudges {
		mean, p99 := milliseconds(f.Crash[i])
		t.add(fmt.Sprintf("%s, round trip %v, loss %d %%, %s, %s", world, trip, loss, judge, c.name), mean, p99, float64(len(f.Crash[i])),
			float64(counted.Mistakes[i]), float64(counted.OfLoss[i]), counted.perHour(counted.OfLoss[i]), counted.Watched.Hours(), 2*float64(counted.Sent)/counted.Watched.Seconds())
	}
	return nil
}

// addedDelay is what is added to a wire for a round trip: nothing to a short one, which the
// wire and the two wake-ups take.
func addedDelay(trip time.Duration) time.Duration {
	if trip < time.Millisecond {
		return 0
	}
	return trip / 2
}
