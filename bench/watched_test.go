package main

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"systole/engine"
	"systole/engine/clock"
	"systole/engine/enginetest/netlab"
	"systole/engine/enginetest/netmodel"
)

func TestOfLoss(t *testing.T) {
	at := func(ms ...int) (made []mistake) {
		for _, n := range ms {
			made = append(made, mistake{clock.Instant(n) * clock.Instant(time.Millisecond), true})
		}
		return made
	}
	for _, c := range []struct {
		made  []mistake
		peers int
		want  uint64
	}{
		{nil, 100, 0}, {at(5), 100, 1}, {at(900, 100), 100, 2},
		{append(at(5), mistake{at: 900_000_000}), 100, 1}, // nothing was lost before the second
		{at(1, 2, 3, 4, 5, 6), 100, 0},                    // six at once of a hundred
		{at(1, 2, 3, 4, 5, 100), 100, 6},                  // five are not many
		{at(1, 2, 3), 10, 0}, {at(1, 2, 500), 10, 3},      // of ten, two are not
		{at(1, 5, 8, 300, 1, 2, 302, 500, 1), 100, 3},  // in any order
		{at(10, 30, 50, 70, 90, 110, 130, 150), 10, 8}, // one after the other
	} {
		if got := ofLoss(c.made, c.peers); got != c.want {
			t.Errorf("%v of %d peers: %d of loss, want %d", c.made, c.peers, got, c.want)
		}
	}
}

func TestDatagram(t *testing.T) {
	var b [exchangeSize]byte
	in := datagram{kind: kindAnswer, node: 7, life: 1 << 60, echo: 2, sequence: 3, sent: -4, late: 5, answered: 6}
	in.put(b[:])
	var out datagram
	if out.get(b[:]); out != in {
		t.Errorf("got %+v of %+v", out, in)
	}
}

// bare runs the simulation of package detect's detectors for the benchmark phases.
func bare(two bool, trip time.Duration, loss float64) (tally, findings) {
	b := bareSim{
		period: phasePeriod, two: two, detectors: judgeSets["phases"](phasePeriod), random: rand.New(rand.NewPCG(1, 1)),
		link: netmodel.Link{Delay: hopDelay(trip*9/20, trip/20), Loss: loss},
	}
	return b.run(200, 1000, time.Hour)
}

// A crash at a random instant is found after three periods less half of one and, in both
// modes alike, plus the way from the peer.
func TestBareDetection(t *testing.T) {
	for _, two := range []bool{false, true} {
		for _, trip := range phaseLinks {
			counted, f := bare(two, trip, 0)
			want := (5*phasePeriod/2 + trip/2).Seconds() * 1000
			for i, name := range phaseJudges {
				if mean, _ := milliseconds(f.Crash[i]); math.Abs(mean-want) > 0.5 {
					t.Errorf("two phases %v, round trip %v, %s: %v ms, want about %v", two, trip, name, mean, want)
				}
				if counted.Mistakes[i] != 0 {
					t.Errorf("two phases %v, %s: %d mistakes without loss", two, name, counted.Mistakes[i])
				}
			}
			packets := float64(counted.Sent) / counted.Watched.Seconds() * phasePeriod.Seconds()
			if want := map[bool]float64{false: 1, true: 2}[two]; math.Abs(packets-want) > 0.02 {
				t.Errorf("two phases %v: %v packets per period", two, packets)
			}
		}
	}
}

// Mistakes need two lost in a row, and then the third to be late: with both ways counting,
// that is four times as often.
func TestBareMistakes(t *testing.T) {
	single, _ := bare(false, phaseLinks[0], 0.05)
	double, _ := bare(true, phaseLinks[0], 0.05)
	const beats = 360_000 // in an hour
	for i, name := range phaseJudges {
		// At most when the third is always too late, at least when only four lost are.
		if n := float64(single.Mistakes[i]) / single.Watched.Hours(); n > 0.05*0.05*beats || n < 0.05*0.05*0.05*beats/2 {
			t.Errorf("%s: %v mistakes in an hour", name, n)
		}
		ratio := float64(double.Mistakes[i]) / double.Watched.Hours() / (float64(single.Mistakes[i]) / single.Watched.Hours())
		if ratio < 2.5 || ratio > 6 {
			t.Errorf("%s: %v times the mistakes in two phases", name, ratio)
		}
	}
}

// What the benchmark solicit is for: with a margin of a period and one datagram in a hundred
// lost, an engine finds a crash within two periods and a round trip, and makes no more
// mistakes than four periods of waiting do.
func TestWorldSim(t *testing.T) {
	link := solicitLink
	link.Loss = 0.01
	w, err := newWorldSim(1, hubPeers, link, func() engine.Config {
		return engine.Config{Period: solicitPeriod, Detector: groupDetectors["chen"](solicitPeriod)}
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.round(20 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
	trip := 2 * (solicitLink.Delay.Base + solicitLink.Delay.Spread)
	if mean, _ := milliseconds(w.found.Silence[0]); mean > (2*solicitPeriod+trip).Seconds()*1000 || mean < 10 {
		t.Errorf("found %v ms after the last heartbeat", mean)
	}
	if n := len(w.found.Crash[0]); n < hubPeers || n > 2*hubPeers {
		t.Errorf("%d of %d crashes found", n, 2*hubPeers)
	}
	watched := 4 * hubPeers * 10 * time.Second
	if d := w.counted.Watched - watched*2; d < -time.Second || d > time.Second {
		t.Errorf("watched for %v", w.counted.Watched)
	}
	if w.counted.Mistakes[0] > 1 || w.counted.Solicited < 100 {
		t.Errorf("counted %+v", w.counted)
	}
	scheduled := float64(w.counted.Watched / solicitPeriod)
	if sent := float64(w.counted.Sent) / scheduled; sent < 0.99 || sent > 1.04 {
		t.Errorf("%v heartbeats per period", sent)
	}
}

// The ends of trials meet over a link that loses nothing, count, and find each other's
// crashes. How much and how soon depends on how busy the machine is; what it should be is
// held in virtual time above.
func TestTrial(t *testing.T) {
	const nodes, each = 4, 300 * time.Millisecond
	for _, c := range []struct {
		name   string
		kind   string
		judges int
		rounds int
		args   []string
	}{
		{"single phase", "exchange", 2, 2, nil},
		{"two phases", "exchange", 2, 1, []string{"-two", "-delay", "5ms"}},
		{"engines", "group", 1, 2, []string{"-detector", "chen"}},
	} {
		const period = 100 * time.Millisecond
		count := nodes
		if c.kind == "group" {
			count = 2 // squared
		}
		r := trial{kind: c.kind, judges: c.judges, duration: time.Duration(c.rounds) * each, rounds: c.rounds,
			args: append([]string{"-count", strconv.Itoa(count), "-period", period.String()}, c.args...)}
		o, err := r.run(t.Context())
		netlab.Require(t, err)
		if o.Sent == 0 || o.Watched <= 0 {
			t.Errorf("%s: counted %+v", c.name, o.tally)
		}
		for i := range c.judges {
			found := 0
			for j, d := range o.Crash[i] {
				if d >= 0 && d < silentTime && o.Silence[i][j] >= d/2 {
					found++
				}
			}
			if found < 1 || found > c.rounds*nodes {
				t.Errorf("%s: %d of %d crashes found: %v", c.name, found, c.rounds*nodes, o.Crash[i])
			}
		}
	}
}
