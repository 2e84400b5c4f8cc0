package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"systole/engine/enginetest/netmodel"
)

// phaseCase is one way to watch each other.
type phaseCase struct {
	name      string
	twoPhases bool
	periods   time.Duration // the period, in phasePeriod
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

var (
	phaseLinks     = []time.Duration{200 * time.Microsecond, 20 * time.Millisecond} // round trips
	phaseLosses    = []int{0, 1, 5}                                                 // in per cent, each way
	phaseDetectors = []string{"fixed", "chen"}                                      // of the set "phases"
)

// runPhases is the benchmark phases.
func runPhases(ctx context.Context, o options) (*table, error) {
	t := &table{
		name: "phases",
		about: fmt.Sprintf("Two nodes watch each other every %v. In a single phase each sends heartbeats and judges by those that arrive. In two "+
			"phases each sends requests, which the other answers at once, and judges by the answers. The detectors are the same and grant three "+
			"periods: fixed × 3, and Chen with a margin of two. Detection is from a crash at a random instant to the deadline; mistakes are those of one node about "+
			"its peer. Simulated for %v of peer time each; and between two hosts on this machine (kernel stamps, random drop by nft, the longer round trip added "+
			"to arrivals, SCHED_FIFO) by %d pairs for %v and %d crashes of an end, where 'of loss' does not count what is due to a busy machine (see solicit). "+
			"The seed claims that two phases are slower, because they wait for a round trip and because answers can be lost. The result: at the same period "+
			"they are not slower. A crash prevents the next answer just as it prevents the next heartbeat, and the round trip that the deadline includes "+
			"is also time in which the peer can crash. But they take twice the packets, and lose on either way: a mistake takes two "+
			"losses in a row, so there are four times as many. At the same packets they have twice the period: detection takes twice as long, with twice the mistakes still. "+
			"So the claim holds for a given traffic, by a factor of two and not by a round trip, and the second reason weighs more than the first.",
			phasePeriod, 10*o.simulatedTime(), o.sessions, o.duration, phaseRounds),
		columns: []string{"packets_per_s_pair", "peer_hours", "crashes"},
	}
	for _, detector := range phaseDetectors {
		for _, figure := range []string{"detect_ms_mean", "detect_ms_p99", "mistakes", "of_loss_per_peer_hour"} {
			t.columns = append(t.columns, detector+"_"+figure)
		}
	}
	for _, world := range []string{"simulated", "sockets"} {
		for _, trip := range phaseLinks {
			for _, loss := range phaseLosses {
				for i := range phaseCases {
					c := &phaseCases[i]
					out, err := o.measurePhases(ctx, world, c, trip, loss)
					if err != nil {
						return nil, err
					}
					t.add(fmt.Sprintf("%s, round trip %v, loss %d %%, %s", world, trip, loss, c.name), phaseFigures(&out)...)
				}
			}
		}
	}
	return t, nil
}

// measurePhases measures a case, in a simulation or on sockets.
func (o options) measurePhases(ctx context.Context, world string, c *phaseCase, trip time.Duration, loss int) (outcome, error) {
	period := c.periods * phasePeriod
	if world == "simulated" {
		b := bareSim{
			period: period, twoPhases: c.twoPhases, detectors: detectorSets["phases"](period), random: rand.New(rand.NewPCG(1, 1)),
			link: netmodel.Link{Delay: hopDelay(trip*9/20, trip/20), Loss: float64(loss) / 100},
		}
		counted, found := b.run(500, 1000, 10*o.simulatedTime())
		return outcome{counted, found}, ctx.Err()
	}
	r := trial{
		subcommand: "exchange", loss: loss, duration: o.duration, rounds: phaseRounds,
		end: endOptions{Count: o.sessions, Period: period, Delay: addedDelay(trip), TwoPhases: c.twoPhases, Detectors: "phases"},
	}
	return r.run(ctx)
}

// phaseFigures returns a row of phases.
func phaseFigures(out *outcome) []float64 {
	figures := []float64{2 * float64(out.Sent) / out.Watched.Seconds(), out.Watched.Hours(), float64(len(out.Crash[0]))}
	for i := range phaseDetectors {
		mean, p99 := meanAndP99(out.Crash[i])
		figures = append(figures, mean, p99, float64(out.Mistakes[i]), out.perHour(out.OfLoss[i]))
	}
	return figures
}

// addedDelay returns the delay to add to each arrival for a round trip. A round trip below a
// millisecond gets none: the path between two hosts takes that long.
func addedDelay(trip time.Duration) time.Duration {
	if trip < time.Millisecond {
		return 0
	}
	return trip / 2
}
