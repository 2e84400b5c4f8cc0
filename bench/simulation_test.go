package main

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"systole/engine"
	"systole/engine/enginetest/netmodel"
)

// bare runs the simulation of the benchmark phases.
func bare(two bool, trip time.Duration, loss float64) (tally, detections) {
	b := bareSim{
		period: phasePeriod, twoPhases: two, detectors: detectorSets["phases"](phasePeriod), random: rand.New(rand.NewPCG(1, 1)),
		link: netmodel.Link{Delay: hopDelay(trip*9/20, trip/20), Loss: loss},
	}
	return b.run(200, 1000, time.Hour)
}

// One heartbeat, or one request with its answer, over hops of 4 ms to a peer that crashes at 100 ms. What
// is sent by then counts after the warm-up.
func TestBareHeartbeat(t *testing.T) {
	for _, c := range []struct {
		name      string
		twoPhases bool
		sequence  uint64
		due       int
		loss      float64
		sent      uint64
		heard     bool
	}{
		{"a heartbeat", false, warmUp + 1, 50, 0, 1, true},
		{"a heartbeat of the warm-up", false, warmUp, 50, 0, 0, true},
		{"a lost heartbeat", false, warmUp + 1, 50, 1, 1, false},
		{"the last heartbeat", false, warmUp + 1, 99, 0, 1, true},
		{"a heartbeat after the crash", false, warmUp + 1, 100, 0, 0, false},
		{"an answer", true, warmUp + 1, 50, 0, 2, true},
		{"a lost request", true, warmUp + 1, 50, 1, 1, false},
		{"the last answer", true, warmUp + 1, 95, 0, 2, true},
		{"a request that arrives after the crash", true, warmUp + 1, 96, 0, 1, false},
		{"a request after the crash", true, warmUp + 1, 100, 0, 0, false},
	} {
		b := bareSim{
			period: phasePeriod, twoPhases: c.twoPhases, detectors: detectorSets["phases"](phasePeriod), random: rand.New(rand.NewPCG(1, 1)),
			link: netmodel.Link{Delay: netmodel.Distribution{Base: 4 * ms}, Loss: c.loss},
		}
		m := newMonitor(b.detectors, 0)
		var sum tally
		b.heartbeat(m, c.sequence, at(c.due), at(100), &sum)
		sent := at(c.due)
		if c.twoPhases {
			sent = at(c.due + 4)
		}
		if sum.Sent != c.sent || (m.sequence == c.sequence) != c.heard || c.heard && m.sent != sent {
			t.Errorf("%s: %d sent, heard %d of %v", c.name, sum.Sent, m.sequence, m.sent)
		}
	}
}

// A crash at a random instant is detected after three periods less half of one and, in both
// modes alike, plus the way from the peer.
func TestBareDetection(t *testing.T) {
	for _, two := range []bool{false, true} {
		for _, trip := range phaseLinks {
			counted, f := bare(two, trip, 0)
			want := (5*phasePeriod/2 + trip/2).Seconds() * 1000
			for i, name := range phaseDetectors {
				if mean, _ := meanAndP99(f.Crash[i]); math.Abs(mean-want) > 0.5 {
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
	for i, name := range phaseDetectors {
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
// lost, an engine detects a crash within two periods and a round trip, and makes no more
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
	if mean, _ := meanAndP99(w.found.Silence[0]); mean > (2*solicitPeriod+trip).Seconds()*1000 || mean < 10 {
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
