package enginetest_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"systole/engine"
	"systole/engine/detect/published"
	"systole/engine/enginetest"
	"systole/engine/enginetest/netmodel"
	"systole/engine/internal/network"
)

// mesh returns a world of hosts named a, b, ... that all watch each other by name.
func mesh(t *testing.T, seed uint64, hosts int, cfg engine.Config) (*enginetest.World, []*enginetest.Host) {
	t.Helper()
	w := enginetest.NewWorld(seed)
	var list []*enginetest.Host
	for i := range hosts {
		list = append(list, w.AddHost(string(rune('a'+i))))
	}
	for _, h := range list {
		open(t, h, cfg, list)
	}
	w.Run(time.Second)
	return w, list
}

// open starts a process on h that watches all others.
func open(t *testing.T, h *enginetest.Host, cfg engine.Config, others []*enginetest.Host) {
	t.Helper()
	e, err := h.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range others {
		if o == h {
			continue
		}
		if _, err := e.AddPeer(engine.PeerConfig{Name: fmt.Sprintf("%s:%d", o.Name(), enginetest.Port)}); err != nil {
			t.Fatal(err)
		}
	}
}

// states returns what h believes of its peers, in the order in which it added them.
func states(h *enginetest.Host) string {
	out := ""
	for _, p := range h.Engine().Snapshot(nil) {
		out += p.State.String() + " "
	}
	return out
}

// held fails the test if a rule did not hold.
func held(t *testing.T, w *enginetest.World) {
	t.Helper()
	w.Finish()
	for _, v := range w.Violations() {
		t.Error(v)
	}
}

// The engine that a program configures for real sockets runs as it is, and leaves as it does.
func TestOpenTakesAProgramsConfiguration(t *testing.T) {
	w := enginetest.NewWorld(1)
	a, b := w.AddHost("a"), w.AddHost("b")
	cfg := engine.Config{Shards: 4, Sched: engine.Sched{Nice: -5, Procs: 4}, Accept: engine.Accept{Anyone: true}}
	ea, err := a.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	eb, err := b.Open(engine.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if ea.Addrs()[0] != a.Addr() {
		t.Errorf("listens on %v, the host is %v", ea.Addrs(), a.Addr())
	}
	p, err := eb.AddPeer(engine.PeerConfig{Addr: a.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	w.Run(time.Second)
	if p.State() != engine.Alive || states(a) != "alive " {
		t.Fatalf("%v, %s", p.State(), states(a))
	}
	if s := p.Suspicion(); s > 0.5 {
		t.Errorf("suspicion %v by another clock than the world's", s)
	}
	if err := ea.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.Run(time.Second)
	if p.State() != engine.Left || a.Engine() != nil {
		t.Errorf("%v, and the engine runs: %v", p.State(), a.Engine() != nil)
	}
	if _, err := b.Open(engine.Config{Period: time.Nanosecond}); err == nil {
		t.Error("a wrong configuration was opened")
	}
	held(t, w)
}

// Timers are the process's: they stand still with it, and end with it.
func TestTicksBelongToTheProcess(t *testing.T) {
	w := enginetest.NewWorld(1)
	h := w.AddHost("a")
	if _, err := h.Open(engine.Config{}); err != nil {
		t.Fatal(err)
	}
	ticks, once := 0, 0
	h.Every(10*time.Millisecond, func() { ticks++ })
	h.After(15*time.Millisecond, func() { once++ })
	w.Run(105 * time.Millisecond)
	if ticks != 10 || once != 1 {
		t.Errorf("%d ticks of 10 ms in 105, %d calls", ticks, once)
	}
	h.Stop()
	w.Run(100 * time.Millisecond)
	if ticks != 10 {
		t.Errorf("%d ticks while stopped", ticks-10)
	}
	h.Continue()
	if ticks != 11 {
		t.Errorf("%d ticks at once after the stop, the one that was due", ticks-10)
	}
	h.Kill()
	w.Run(100 * time.Millisecond)
	if ticks != 11 {
		t.Errorf("%d ticks after the end", ticks-11)
	}
}

// A part of the hosts is cut from some others only: who is between them sees both.
func TestPartialPartition(t *testing.T) {
	w, h := mesh(t, 1, 3, engine.Config{Detector: published.Fixed(0, 0)})
	a, b := h[0], h[2]
	w.Cut(a, b)
	w.Cut(b, a)
	w.Run(5 * time.Second)
	if states(a) != "alive failed " || states(h[1]) != "alive alive " || states(b) != "failed alive " {
		t.Errorf("%s, %s, %s", states(a), states(h[1]), states(b))
	}
	w.HealAll()
	w.Run(5 * time.Second)
	for _, x := range h {
		if states(x) != "alive alive " {
			t.Errorf("%s: %s after it was healed", x.Name(), states(x))
		}
	}
	w.Partition(a)
	w.Run(5 * time.Second)
	if states(a) != "failed failed " || states(b) != "failed alive " {
		t.Errorf("%s, %s", states(a), states(b))
	}
	held(t, w)
}

// The faults of a host are its own: nobody that it watches is accused for them.
func TestOwnFaultsAccuseNobody(t *testing.T) {
	for name, fault := range map[string]func(h *enginetest.Host, on bool){
		"stop": func(h *enginetest.Host, on bool) {
			if on {
				h.Stop()
			} else {
				h.Continue()
			}
		},
		"pause": func(h *enginetest.Host, on bool) {
			if on {
				h.Pause(false)
			} else {
				h.Resume()
			}
		},
		"pause that keeps": func(h *enginetest.Host, on bool) {
			if on {
				h.Pause(true)
			} else {
				h.Resume()
			}
		},
		"full device": func(h *enginetest.Host, on bool) {
			h.SetBuffers(4096, 1)
			if on {
				h.HoldSends(2 * time.Second)
			}
		},
		"wall clock": func(h *enginetest.Host, on bool) { h.StepWall(-time.Hour) },
		"drift":      func(h *enginetest.Host, on bool) { h.SetDrift(500) },
		"no stamps":  func(h *enginetest.Host, on bool) { h.SetStamps(!on) },
	} {
		w, h := mesh(t, 2, 3, engine.Config{Detector: published.Fixed(0, 0)})
		seen := len(w.Events())
		fault(h[0], true)
		w.Run(2 * time.Second)
		fault(h[0], false)
		w.Run(5 * time.Second)
		for _, s := range w.Events()[seen:] {
			if s.Host == "a" && (s.Event.To == engine.Suspect || s.Event.To == engine.Failed) {
				t.Errorf("%s: %v", name, s)
			}
		}
		if states(h[0]) != "alive alive " {
			t.Errorf("%s: %s in the end", name, states(h[0]))
		}
		if s := h[0].Engine().Stats(); name == "full device" && s.Sockets.SendFull == 0 {
			t.Errorf("%s: nothing was refused", name)
		}
		held(t, w)
	}
}

// A host without a carrier, or without a route, knows that its peers' silence is its own.
func TestNoLinkOfOurOwn(t *testing.T) {
	w, h := mesh(t, 1, 2, engine.Config{Detector: published.Fixed(0, 0)})
	for _, broken := range []func(on bool){
		h[0].Unplug,
		func(on bool) {
			h[0].RefuseSends(network.Sent)
			w.Heal(h[1], h[0])
			if on {
				h[0].RefuseSends(network.NoRoute)
				w.Cut(h[1], h[0])
			}
		},
	} {
		broken(true)
		w.Run(15 * time.Second)
		if states(h[0]) != "suspect " || states(h[1]) != "failed " {
			t.Errorf("%s and %s", states(h[0]), states(h[1]))
		}
		broken(false)
		w.Run(5 * time.Second)
		if states(h[0]) != "alive " || states(h[1]) != "alive " {
			t.Errorf("%s and %s after it came back", states(h[0]), states(h[1]))
		}
	}
	held(t, w)
}

// A machine comes back with a clock that has gone back, and is taken for a new incarnation.
func TestRestartWithAnOlderClock(t *testing.T) {
	w, h := mesh(t, 1, 2, engine.Config{ID: 0})
	cfg := engine.Config{ID: h[1].Engine().ID()}
	h[1].Crash()
	h[1].StepWall(-24 * time.Hour)
	open(t, h[1], cfg, h)
	w.Run(10 * time.Second)
	if states(h[0]) != "alive " {
		t.Errorf("%s", states(h[0]))
	}
	held(t, w)
}

// Strangers come and go by the hundred, and the table stays as small as the few that are there
// at once.
func TestStrangersLeaveNoPlacesBehind(t *testing.T) {
	w := enginetest.NewWorld(1)
	hub := w.AddHost("hub")
	e, err := hub.Open(engine.Config{
		Period: 20 * time.Millisecond, Accept: engine.Accept{Anyone: true, Forget: 10 * time.Millisecond},
		Detector: published.Fixed(0, 2),
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		h := w.AddHost(fmt.Sprint("stranger", i))
		for round := range 40 {
			w.At(time.Duration(round)*500*time.Millisecond, func() {
				open(t, h, engine.Config{Period: 20 * time.Millisecond, Detector: published.Fixed(0, 0)}, []*enginetest.Host{hub})
				h.After(200*time.Millisecond, h.Crash)
			})
		}
	}
	w.Run(21 * time.Second)
	if s := e.Stats(); s.Peers.Watched != 0 || s.Peers.Slots > 5+64+4 || s.Verdicts.Transitions < 5*40*4 {
		t.Errorf("%d peers, %d places after %d transitions", s.Peers.Watched, s.Peers.Slots, s.Verdicts.Transitions)
	}
	held(t, w)
}

// A reader that sleeps through more than its ring holds misses no last state, and is told how
// much it missed.
func TestSlowReaderOfAFlappingLink(t *testing.T) {
	w := enginetest.NewWorld(1)
	w.SetLinks(netmodel.Link{Loss: 0.7})
	var list []*enginetest.Host
	for i := range 4 {
		list = append(list, w.AddHost(fmt.Sprint("h", i)))
	}
	for _, h := range list {
		open(t, h, engine.Config{Period: time.Millisecond, Detector: published.Fixed(2, 1000)}, list)
	}
	w.Run(15 * time.Second)
	if n := list[0].Engine().Stats().Verdicts.Transitions; n < 5000 {
		t.Errorf("%d transitions fit the ring", n)
	}
	held(t, w)
}

// A value that a scenario would be refused for panics in a world as well, with the same text: the
// test would be of something else.
func TestWorldRefusesWhatScenariosRefuse(t *testing.T) {
	w, hosts := mesh(t, 1, 2, engine.Config{})
	h := hosts[0]
	for text, do := range map[string]func(){
		"Host.Every: d: 0 is not above 0":                                              func() { h.Every(0, func() {}) },
		"Host.Every: d: -1s is not above 0":                                            func() { h.Every(-time.Second, func() {}) },
		"World.SetLinks: link.loss: 7 is not within 0 to 1":                            func() { w.SetLinks(netmodel.Link{Loss: 7}) },
		"World.SetLink: link.loss: 7 is not within 0 to 1":                             func() { w.SetLink(h, hosts[1], netmodel.Link{Loss: 7}) },
		"World.SetLink: to: \"a\" is the node itself":                                  func() { w.SetLink(h, h, netmodel.Link{}) },
		"World.Cut: to: \"a\" is the node itself":                                      func() { w.Cut(h, h) },
		"World.Partition: hosts: want some of the nodes, and not all of them":          func() { w.Partition() },
		"World.Run: d: -1s is not within 0 to 999h59m59s":                              func() { w.Run(-time.Second) },
		"World.Run: d: 1000h is not within 0 to 999h59m59s":                            func() { w.Run(1000 * time.Hour) },
		"World.AddHost: name: \"\" is empty or taken":                                  func() { w.AddHost("") },
		"World.AddHost: name: \"a\" is empty or taken":                                 func() { w.AddHost("a") },
		"Host.Set: drift: 1e+09 ppm is not within ±500":                                func() { h.Set(enginetest.Machine{Drift: 1e9}) },
		"Host.Set: drift: NaN ppm is not within ±500":                                  func() { h.Set(enginetest.Machine{Drift: math.NaN()}) },
		"Host.Set: receive: -1 is not within 0 to 1000000":                             func() { h.Set(enginetest.Machine{Receive: -1}) },
		"Host.Set: send: -1 is not within 0 to 1000000":                                func() { h.Set(enginetest.Machine{Send: -1}) },
		"Host.Set: uptime: -1h is not within 0 to 87600h":                              func() { h.Set(enginetest.Machine{Uptime: -time.Hour}) },
		"Host.Set: latency.base: -1s is not within 0 to 1h":                            func() { h.Set(enginetest.Machine{Latency: netmodel.Distribution{Base: -time.Second}}) },
		"Host.Set: read_time: 1s is not within 0 to 1ms":                               func() { h.Set(enginetest.Machine{ReadTime: time.Second}) },
		"Host.Set: paths: 5 is not within 0 to 4":                                      func() { h.Set(enginetest.Machine{Paths: 5}) },
		"World.Do: fault.by: 100000h is not within -87600h to 87600h":                  func() { w.Do(enginetest.Fault{Kind: "step-wall", Host: "a", By: 100_000 * time.Hour}) },
		"World.Do: fault.for: -1s is not within 0 to 1000h":                            func() { w.Do(enginetest.Fault{Kind: "hold-sends", Host: "a", For: -time.Second}) },
		"World.Do: fault.count: -1 is not within 0 to 100000":                          func() { w.Do(enginetest.Fault{Kind: "flood", Host: "a", Count: -1, For: time.Second}) },
		"World.Do: fault.kind: crash starts something again, which needs a Scenario":   func() { w.Do(enginetest.Fault{Kind: "crash", Host: "a", For: time.Second}) },
		"World.Do: fault.kind: unwatch starts something again, which needs a Scenario": func() { w.Do(enginetest.Fault{Kind: "unwatch", Host: "a", To: "b"}) },
	} {
		panics(t, "enginetest: "+text, do)
	}
	if w.Now() != time.Second {
		t.Errorf("%v have passed", w.Now())
	}
	held(t, w)
}

// What is due after the longest that a world runs never comes, however far that is.
func TestTimersBeyondTheWorldNeverCome(t *testing.T) {
	w, hosts := mesh(t, 1, 2, engine.Config{})
	never := func() { t.Error("it came") }
	for _, d := range []time.Duration{2000 * time.Hour, math.MaxInt64} {
		hosts[0].Every(d, never)
		hosts[0].After(d, never)
		w.At(d, never)
	}
	w.Run(time.Minute)
	held(t, w)
}

// A machine that is changed while its process runs keeps its clock.
func TestSetKeepsTheUptime(t *testing.T) {
	w := enginetest.NewWorld(1)
	h := w.AddHost("a")
	m := enginetest.Machine{Uptime: 10 * time.Second}
	h.Set(m)
	if _, err := h.Open(engine.Config{}); err != nil {
		t.Fatal(err)
	}
	w.Run(time.Second)
	m.Drift = 100
	h.Set(m)
	if up := time.Duration(h.Clock().Now); up != 11*time.Second {
		t.Errorf("up for %v after 11 s", up)
	}
	held(t, w)
}

// What Do does to a world is what a scenario does with the same faults.
func TestDoIsAsInAScenario(t *testing.T) {
	faults := []enginetest.Fault{
		{Kind: "stop", At: time.Second, For: 300 * time.Millisecond, Host: "a"},
		{Kind: "cut", At: 2 * time.Second, For: time.Second, Host: "a", To: "b"},
		{Kind: "link", At: 4 * time.Second, For: time.Second, Link: netmodel.Link{Loss: 1}},
		{Kind: "refuse-sends", At: 6 * time.Second, For: time.Second, Host: "b", Errno: "ENETUNREACH"},
		{Kind: "rebind", At: 8 * time.Second, Host: "b"},
		{Kind: "kill", At: 9 * time.Second, Host: "b"},
	}
	s := &enginetest.Scenario{Seed: 1, Duration: 10 * time.Second, Faults: faults, Nodes: []enginetest.Node{
		{Name: "a", ID: 1, Watch: []string{"b"}}, {Name: "b", ID: 2, Watch: []string{"a"}},
	}}
	w := enginetest.NewWorld(1)
	w.SetLinks(netmodel.Link{})
	hosts := []*enginetest.Host{w.AddHost("a"), w.AddHost("b")}
	for i, h := range hosts {
		other := hosts[1-i]
		w.At(0, func() {
			e, err := h.Open(engine.Config{ID: uint64(i + 1)})
			if err == nil {
				_, err = e.AddPeer(engine.PeerConfig{Addr: other.Addr(), ID: uint64(2 - i)})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	for _, f := range faults {
		w.Do(f)
	}
	w.Run(10 * time.Second)
	want := s.Run()
	var list []string
	for _, e := range want.Events {
		if text := e.String(); e.Fault != "process started" {
			list = append(list, text)
		}
	}
	var got []string
	for _, e := range w.Events() {
		got = append(got, e.String())
	}
	if len(got) < 15 || strings.Join(got, "\n") != strings.Join(list, "\n") {
		t.Errorf("Do:\n%s\na scenario:\n%s", strings.Join(got, "\n"), strings.Join(list, "\n"))
	}
	held(t, w)
}

// A line about a peer says which, before it is heard as well: by its host, its name or its address.
func TestSeenNamesThePeer(t *testing.T) {
	w := enginetest.NewWorld(1)
	a, b := w.AddHost("a"), w.AddHost("b")
	e, err := a.Open(engine.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []engine.PeerConfig{{Name: "b:7853"}, {Addr: b.Addr()}} {
		if _, err := e.AddPeer(c); err != nil {
			t.Fatal(err)
		}
	}
	w.Run(10 * time.Millisecond)
	var lines []string
	for _, ev := range w.Events() {
		lines = append(lines, ev.String())
	}
	for i, want := range []string{"a about b", "a about " + b.Addr().String()} {
		if i >= len(lines) || !strings.Contains(lines[i], want) {
			t.Errorf("no %q: %q", want, lines)
		}
	}
}
