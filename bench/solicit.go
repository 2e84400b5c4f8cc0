package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"
)

const (
	solicitPeriod = 10 * time.Millisecond
	solicitRounds = 5 // crashes of an end
)

// solicitLosses are of a hundred datagrams, each way.
var solicitLosses = []int{1, 5}

// solicitEngines are the detectors of engines, which ask; solicitBare name those of the set
// "solicit", which do not.
var (
	solicitEngines = []struct{ name, detector string }{
		{"engine, chen with a margin of a period", "chen"}, {"engine, its default", "default"}, {"engine, fixed × 4", "fixed"},
	}
	solicitBare = []string{"bare, fixed × 4", "bare, fixed × 2", "bare, chen with a margin of a period"}
)

// runSolicit is the benchmark solicit.
func runSolicit(ctx context.Context, o options) (*table, error) {
	t := &table{
		name: "solicit",
		about: fmt.Sprintf("Two ends watch each other at %v while datagrams are lost at random, each way. Engines ask a silent peer to answer at once "+
			"before its deadline; bare detectors judge the same heartbeats of a schedule without asking. "+
			"Sockets: %d peers per end between two hosts on this machine (kernel stamps, random drop by nft, SCHED_FIFO), for %v and %d crashes "+
			"of an end (SIGSTOP, which no port reports). Detection is per peer, from the crash to the suspicion and from the send of the last heartbeat "+
			"that came: for engines as published, for bare detectors the deadline itself.", solicitPeriod, groupSize(o.sessions)*groupSize(o.sessions), o.duration, solicitRounds),
		columns: []string{"detect_ms_mean", "detect_ms_p99", "silence_ms_mean", "silence_ms_p99", "crashes", "mistakes", "alone", "alone_per_peer_hour", "peer_hours",
			"heartbeats_per_period", "calls_per_heartbeat"},
	}
	for _, loss := range solicitLosses {
		if err := o.addSolicited(ctx, t, loss); err != nil {
			return nil, err
		}
	}
	return t, nil
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
	t.add(name, mean, p99, silence, silence99, float64(len(f.Crash[i])), float64(c.Mistakes[i]), float64(c.Alone[i]), c.perHour(c.Alone[i]), c.Watched.Hours(),
		float64(c.Sent)*float64(solicitPeriod)/float64(c.Watched), calls)
}
