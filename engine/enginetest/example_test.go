package enginetest_test

import (
	"fmt"
	"log"
	"time"

	"systole/engine"
	"systole/engine/enginetest"
	"systole/engine/enginetest/netmodel"
)

// master is a user's program: it gives a job to one worker, and to another one when that
// one fails. It is told of events and of time, so it does not know that the world is simulated.
type master struct {
	workers []engine.Peer
	names   map[engine.Peer]string
	job     engine.Peer // who has it
}

// event reacts to what the engine tells.
func (m *master) event(ev engine.Event) {
	if ev.Peer == m.job && (ev.To == engine.Failed || ev.To == engine.Left) {
		m.job = engine.Peer{}
	}
}

// tick looks after the job.
func (m *master) tick() {
	for _, w := range m.workers {
		if m.job.IsZero() && w.State() == engine.Alive {
			m.job = w
			fmt.Println("the job goes to", m.names[w])
		}
	}
}

// A program is tested against a crash, a stall of its own machine, which must accuse nobody,
// and a lossy link; ten seconds of it take milliseconds.
func Example() {
	w := enginetest.NewWorld(1)
	w.SetLinks(netmodel.Link{
		Delay: netmodel.Distribution{Kind: "lognormal", Base: time.Millisecond, Spread: 200 * time.Microsecond},
		Loss:  0.01,
	})
	host, m := w.AddHost("master"), &master{names: make(map[engine.Peer]string)}
	e, err := host.Open(engine.Config{Period: 50 * time.Millisecond})
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range []string{"red", "blue"} {
		worker := w.AddHost(name)
		we, err := worker.Open(engine.Config{Period: 50 * time.Millisecond})
		if err != nil {
			log.Fatal(err)
		}
		if _, err := we.AddPeer(engine.PeerConfig{Name: "master:7853"}); err != nil {
			log.Fatal(err)
		}
		p, err := e.AddPeer(engine.PeerConfig{Name: name + ":7853"})
		if err != nil {
			log.Fatal(err)
		}
		m.workers, m.names[p] = append(m.workers, p), name
	}
	host.OnEvent(m.event)
	host.OnNode(func(ev engine.NodeEvent) { fmt.Println("the master itself:", ev.Cause) })
	host.Every(100*time.Millisecond, m.tick)

	w.At(3*time.Second, host.Stop)
	w.At(4*time.Second, host.Continue)
	w.At(6*time.Second, func() {
		if h := w.Host(m.names[m.job]); h != nil {
			fmt.Println(h.Name(), "loses its power")
			h.Crash()
		}
	})
	w.Run(10 * time.Second)
	w.Finish()
	for _, v := range w.Violations() {
		fmt.Println(v)
	}
	// Output:
	// the job goes to red
	// the master itself: local-pause
	// red loses its power
	// the job goes to blue
}
