package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"systole/engine/enginetest/netmodel"
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
	phaseRounds = 3 // crashes of an end
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
		about: fmt.Sprintf("Two nodes watch each other every %v. In a single phase each sends heartbeats and judges by those that come; in two "+
			"phases each sends requests, which are answered at once, and judges by the answers. Both by the same detectors, which grant three "+
			"periods: fixed × 3, and Chen with a margin of two. Detection is from a crash at a random instant to the deadline, mistakes are per node that watches "+
			"a peer. Simulated for %v of peer time each; and between two hosts on this machine (kernel stamps, random drop by nft, the longer round trip added "+
			"where datagrams arrive, SCHED_FIFO) by %d pairs for %v and %d crashes of an end, where 'of loss' leaves out what a busy machine made (see solicit). "+
			"The seed's claim is that two phases are slower, because they wait for a round trip, and because answers can be lost. What comes out: at the same period "+
			"they are not slower, since a crash takes away the very next answer as it takes away the next heartbeat, and what the round trip adds to the deadline it "+
			"also gives the peer to crash in; but they take twice the packets, and lose on either way, which makes the mistakes that take two "+
			"losses in a row four times as many. At the same packets they have twice the period: detection takes twice as long, with twice the mistakes still. "+
			"So the claim holds for a given traffic, by a factor of two and not by a round trip; and the second reason weighs more than the first.",
			phasePeriod, 10*o.simulatedTime(), o.sessions, o.duration, phaseRounds),
		columns: []string{"packets_per_s_pair", "peer_hours", "crashes"},
	}
	for _, judge := range []string{"fixed", "chen"} {
		for _, figure := range []string{"detect_ms_mean", "detect_ms_p99", "mistakes", "of_loss_per_peer_hour"} {
			t.columns = append(t.columns, judge+"_"+figure)
		}
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

// addPhase measures a case in one world and adds its row.
func (o options) addPhase(ctx context.Context, t *table, world string, c phaseCase, trip time.Duration, loss int) error {
	var counted tally
	var f findings
	if world == "simulated" {
		period := c.periods * phasePeriod
		b := bareSim{
			period: period, two: c.two, detectors: judgeSets["phases"](period), random: rand.New(rand.NewPCG(1, 1)),
			link: netmodel.Link{Delay: hopDelay(trip*9/20, trip/20), Loss: float64(loss) / 100},
		}
		counted, f = b.run(500, 1000, 10*o.simulatedTime())
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
	figures := []float64{2 * float64(counted.Sent) / counted.Watched.Seconds(), counted.Watched.Hours(), float64(len(f.Crash[0]))}
	for i := range phaseJudges {
		mean, p99 := milliseconds(f.Crash[i])
		figures = append(figures, mean, p99, float64(counted.Mistakes[i]), counted.perHour(counted.OfLoss[i]))
	}
	t.add(fmt.Sprintf("%s, round trip %v, loss %d %%, %s", world, trip, loss, c.name), figures...)
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
