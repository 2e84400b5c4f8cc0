package engine

import (
	"testing"
	"time"

	"systole/engine/detect/published"
	"systole/engine/enginetest/netmodel"
	"systole/engine/internal/sim"
)

// Peers whose heartbeats are on their way are seldom asked: traffic stays what the period
// makes it, though margins have become short.
func TestSolicitationIsRare(t *testing.T) {
	for _, period := range []time.Duration{10 * time.Millisecond, 100 * time.Millisecond} {
		w, a, b, p := pair(t, Config{Period: period})
		w.SetLinks(netmodel.Link{Delay: netmodel.Distribution{Kind: "exponential", Base: 100 * time.Microsecond, Spread: 300 * time.Microsecond}})
		w.run(time.Minute)
		before, since := p.Stats().Sent, w.now()
		w.run(10 * time.Minute)
		sent := p.Stats().Sent - before
		scheduled := float64(w.now().Sub(since)) / float64(period)
		if extra := float64(sent)/scheduled - 1; extra > 0.02 {
			t.Errorf("period %v: %.1f %% more heartbeats than scheduled", period, 100*extra)
		}
		if s := p.Stats(); s.Granted > 3*period {
			t.Errorf("period %v: %v granted on a quiet path", period, s.Granted)
		}
		a.accusedNobody()
		b.accusedNobody()
	}
}

// A lost heartbeat costs a round trip and not a mistake: with a margin of a period and one
// in a hundred lost each way, six hundred mistakes are avoided.
func TestLostHeartbeatsCostRoundTrips(t *testing.T) {
	const period = 10 * time.Millisecond
	w, a, b, p := pair(t, Config{Period: period, Detector: published.Chen(period, 0, 0)})
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if w.Random().IntN(100) == 0 {
			return nil
		}
		return []*sim.Datagram{d}
	}
	before := p.Stats()
	w.run(10 * time.Minute)
	s := p.Stats()
	if lost := s.LostIn - before.LostIn; lost < 400 {
		t.Fatalf("only %d heartbeats were lost", lost)
	}
	if s.Mistakes > 2 || s.Granted > 2*period+time.Millisecond {
		t.Errorf("%d mistakes, %v granted", s.Mistakes, s.Granted)
	}
	if sent := s.Sent - before.Sent; sent > 63_000 {
		t.Errorf("%d heartbeats in 60,000 periods", sent)
	}
	b.host.Crash()
	gone := w.now()
	a.log = nil
	w.run(time.Second)
	if d := a.log[0].At.Sub(gone); a.log[0].To != Suspect || d > 2*period+time.Millisecond {
		t.Errorf("%v after %v", a.log[0].To, d)
	}
}
