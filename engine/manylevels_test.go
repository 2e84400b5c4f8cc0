package engine_test

import (
	"net/netip"
	"testing"
	"time"

	"systole/engine"
	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/detect/published"
	"systole/engine/enginetest"
	"systole/engine/level"
)

// counting counts how often suspicion is asked for.
type counting struct {
	detect.Detector
	checks int
}

func (d *counting) Suspicion(summary []uint64, at clock.Instant) float64 {
	d.checks++
	return d.Detector.Suspicion(summary, at)
}

// levelCrowd is peers that are heard without datagrams, and an interpreter of their levels.
type levelCrowd struct {
	detector    counting
	engine      *engine.Engine
	interpreter *level.Interpreter
	peers       []engine.Peer
	period      time.Duration
	now, next   clock.Instant
	sequence    uint64
	steps       int
	log         []level.Event
}

// newLevelCrowd returns a crowd with a level at a suspicion of raise.
func newLevelCrowd(t *testing.T, peers int, period time.Duration, raise float64) *levelCrowd {
	t.Helper()
	c := &levelCrowd{detector: counting{Detector: published.Fixed(0, 0)}, period: period}
	w := enginetest.NewWorld(1)
	h := w.AddHost("host")
	e, err := h.Open(engine.Config{Detector: &c.detector, Period: period})
	if err != nil {
		t.Fatal(err)
	}
	c.engine = e
	nowhere := netip.MustParseAddrPort("192.0.2.1:1")
	for i := range peers {
		p, err := e.AddPeer(engine.PeerConfig{Addr: nowhere, ID: uint64(i) + 1000})
		if err != nil {
			t.Fatal(err)
		}
		c.peers = append(c.peers, p)
		if i%1000 == 999 {
			w.Run(time.Millisecond)
		}
	}
	c.now = h.Clock().Now
	if c.interpreter, err = level.NewInterpreter(e, level.List{{Name: "two", Raise: raise}}); err != nil {
		t.Fatal(err)
	}
	return c
}

// live lets d pass; each of the first peers is heard once a period, at a time of its own.
func (c *levelCrowd) live(d time.Duration, alive int) {
	const slices = 100
	beat := detect.Heartbeat{Period: c.period}
	for range d / c.period {
		c.sequence++
		for k := range slices {
			c.now = c.now.Add(c.period / slices)
			beat.Sequence, beat.Arrival = c.sequence, c.now
			for i := k; i < alive; i += slices {
				c.peers[i].Hear(&beat)
			}
			c.engine.ShowRead(c.now)
			c.step()
		}
	}
}

// step steps the interpreter if it is due or woken.
func (c *levelCrowd) step() {
	if c.now < c.next && len(c.interpreter.Wake()) == 0 {
		return
	}
	select {
	case <-c.interpreter.Wake():
	default:
	}
	c.next = c.interpreter.Step(c.now)
	c.steps++
	for {
		ev, ok := c.interpreter.TryNext()
		if !ok {
			return
		}
		c.log = append(c.log, ev)
	}
}

// Ten thousand peers that live, at 10 Hz, cost about one check per heartbeat, on few wake-ups,
// and no events; and those that die are noticed each in time.
func TestLevelsOfManyPeers(t *testing.T) {
	const peers, period = 10_000, 100 * time.Millisecond
	c := newLevelCrowd(t, peers, period, 0.7) // 210 ms; suspect after 300 ms
	c.live(time.Second, peers)
	checks, steps := c.detector.checks, c.steps
	const seconds = 5
	c.live(seconds*time.Second, peers)
	perSecond, wakes := float64(c.detector.checks-checks)/seconds, float64(c.steps-steps)/seconds
	t.Logf("%d peers at %v: %.0f checks and %.0f wake-ups a second", peers, period, perSecond, wakes)
	// A deadline 210 ms after a heartbeat is checked about every 205 ms.
	if perSecond > peers*5.5 || perSecond < peers {
		t.Errorf("%.0f checks a second for %d heartbeats", perSecond, peers*10)
	}
	if most := float64(time.Second / c.engine.Grid()); wakes > most+1 {
		t.Errorf("%.0f wake-ups a second, on a grid with %.0f", wakes, most)
	}
	if len(c.log) != 0 {
		t.Fatalf("%d level events of peers that live", len(c.log))
	}
	allocs := testing.AllocsPerRun(1, func() { c.live(period, peers) })
	if allocs > 100 {
		t.Errorf("%v allocations in a period of %d peers", allocs, peers)
	}
	const alive = peers - 100
	c.live(time.Second, alive)
	if len(c.log) != peers-alive {
		t.Fatalf("%d level events of %d peers that died", len(c.log), peers-alive)
	}
	for _, ev := range c.log {
		if ev.Silence < 210*time.Millisecond || ev.Silence > 213*time.Millisecond {
			t.Errorf("raised after %v of silence", ev.Silence)
		}
	}
}
