package engine

import (
	"slices"
	"testing"
	"time"

	"systole/engine/detect/published"
	"systole/engine/internal/network"
	"systole/engine/internal/sim"
)

// linkFaults are how a host loses its way out, and gets it back.
var linkFaults = map[string]func(h *sim.Host, on bool){
	"no route": func(h *sim.Host, on bool) {
		h.Refuse = 0
		if on {
			h.Refuse = network.NoRoute
		}
	},
	"no carrier": func(h *sim.Host, on bool) { h.Unplugged = on },
}

func TestLocalLink(t *testing.T) {
	w, a, _, p := pair(t, Config{})
	a.log = nil
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram { return nil }
	a.host.Refuse = network.NoRoute
	w.run(10 * time.Second)
	a.want("no way out", "alive suspect local-no-route")
	before := p.Stats().MaySeemDeadSince
	if w.now().Sub(before) < 9*time.Second {
		t.Errorf("may seem dead since %v ago", w.now().Sub(before))
	}
	a.host.Refuse, w.Mangle = 0, nil
	w.run(time.Second)
	a.want("way back", "alive suspect local-no-route", "suspect alive reachable-again")
}

// A peer that is heard while our side has no way to it is one-way for as long, and changes its
// state no more often than the way does; silent, it is suspect, and not for its own silence.
func TestHeardWithoutAWayOut(t *testing.T) {
	w, a, b, p := pair(t, Config{Detector: published.Fixed(0, 0)})
	a.log = nil
	a.host.Refuse = network.NoRoute
	w.run(10 * time.Second)
	heard := []string{"alive suspect local-no-route", "suspect one-way local-no-route"}
	a.want("no way out", heard...)
	w.Cut(b.host, a.host)
	w.run(10 * time.Second)
	a.want("silent as well", append(heard, "one-way suspect local-no-route")...)
	w.Heal(b.host, a.host)
	w.run(time.Second)
	a.host.Refuse = 0
	w.run(2 * time.Second)
	a.want("back", append(heard, "one-way suspect local-no-route", "suspect one-way local-no-route",
		"one-way one-way buried", "one-way alive reachable-again")...)
	if n := p.Stats().Mistakes; n != 0 {
		t.Errorf("%d mistakes", n)
	}
}

// A link without a carrier takes what is sent and loses it. Nobody is failed for that,
// and a peer that died meanwhile is found out once the link is back.
func TestCarrierLost(t *testing.T) {
	w, a, b, p := pair(t, Config{Detector: published.Chen(0, 0, 0)})
	a.log = nil
	a.host.Unplugged = true
	w.run(20 * time.Second)
	a.want("a lost carrier", "alive suspect local-link")
	a.host.Unplugged = false
	w.run(time.Second)
	a.want("a lost carrier", "alive suspect local-link",
		"suspect one-way buried", // it has taken us for dead meanwhile
		"one-way alive reachable-again")
	a.log = nil
	a.host.Unplugged = true
	w.run(time.Second)
	b.host.Crash()
	w.run(time.Second)
	a.host.Unplugged = false
	w.run(3 * time.Second)
	a.want("a death behind a lost carrier", "alive suspect local-link", "suspect failed silence")
	if p.State() != Failed {
		t.Errorf("state %v", p.State())
	}
}

// What was granted for a silence of our own making ends with it: a peer that was heard since
// and then dies is found out as soon as any other. Found by seeds 201 and 216 of enginetest.
func TestGraceEndsWithTheSilence(t *testing.T) {
	for name, breakLink := range linkFaults {
		w, a, b, p := pair(t, Config{Detector: published.Fixed(0, 0)})
		w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
			if d.From == a.addr() {
				return nil // so that b buries a, and a comes back to one-way, not to alive
			}
			return []*sim.Datagram{d}
		}
		breakLink(a.host, true)
		w.run(3 * time.Second)
		breakLink(a.host, false)
		w.run(500 * time.Millisecond)
		if s := p.State(); s != OneWay {
			t.Fatalf("%s: %v after the link came back", name, s)
		}
		b.host.Crash()
		heard := p.Stats().LastArrival
		a.log = nil
		w.run(5 * time.Second)
		a.want(name, "one-way suspect silence", "suspect failed silence")
		for i, granted := range []time.Duration{300 * time.Millisecond, 7 * 300 * time.Millisecond} {
			if d := a.log[i].At.Sub(heard); d < granted || d > granted+time.Millisecond {
				t.Errorf("%s: %v after %v, with %v granted", name, a.log[i].To, d, granted)
			}
		}
	}
}

// Our own stop accuses nobody: the kernel went on receiving, and what is in the socket
// is read before anybody is judged.
func TestOwnStop(t *testing.T) {
	w, a, _, _ := pair(t, Config{})
	a.log, a.nodes = nil, nil
	a.host.Stop()
	w.run(5 * time.Second)
	a.host.Continue()
	w.run(5 * time.Second)
	a.accusedNobody()
	if a.lastNode(LocalPause).Pause < 4*time.Second {
		t.Errorf("pause of %v published", a.lastNode(LocalPause).Pause)
	}
}

// A whole host that stood still has nothing in its sockets; deadlines are moved once.
func TestHostPause(t *testing.T) {
	w, a, _, _ := pair(t, Config{})
	a.log = nil
	a.host.Pause(false)
	w.run(5 * time.Second)
	a.host.Resume()
	w.run(5 * time.Second)
	a.accusedNobody()
}

// A socket that overflowed proves nothing against those who were not read.
func TestOverflow(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	a.log = nil
	a.host.Room = 0
	w.run(350 * time.Millisecond)
	if p.State() != Alive {
		t.Fatalf("state %v while the socket overflows", p.State())
	}
	if a.Stats().Loop.Extended == 0 {
		t.Error("no verdict was put off")
	}
	a.host.Room = 100
	w.run(time.Second)
	a.want("an overflow")
	a.host.Room = 0
	b.host.Crash()
	w.run(10 * time.Second)
	_ = p
	if p.State() == Alive {
		t.Error("an overflowing socket keeps the dead alive")
	}
}

func TestCorrelatedSilence(t *testing.T) {
	w := newWorld(t, 3)
	a := w.start(Config{})
	var peers []Peer
	for range 10 {
		b := w.start(Config{})
		peers = append(peers, a.watch(b))
		b.watch(a)
	}
	w.run(2 * time.Second)
	a.log, a.nodes = nil, nil
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if d.To == a.addr() || d.From == a.addr() {
			return nil
		}
		return []*sim.Datagram{d}
	}
	w.run(time.Second)
	a.lastNode(LocalSuspect)
	for _, p := range peers {
		if p.State() != Suspect {
			t.Errorf("%v after all fell silent together", p.State())
		}
	}
	w.Mangle = nil
	w.run(time.Second)
	for _, p := range peers {
		if p.State() != Alive {
			t.Errorf("%v after all came back", p.State())
		}
	}
}

// The wall clock steps by an hour: stamps are converted or refused, nobody is accused.
func TestWallClockStep(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		w, a, _, _ := pair(t, Config{})
		a.log = nil
		a.host.StepWall(step)
		w.run(5 * time.Second)
		a.want("clock step")
		if d := a.Stats(); d.Stamps.Refused > 2 {
			t.Errorf("%d stamps refused", d.Stamps.Refused)
		}
	}
}

// Both of two peers silent at once: we may be the isolated one, which is told before either is failed. One of
// two, or the only one, says nothing of us.
func TestIsolationInSmallClusters(t *testing.T) {
	for _, c := range []struct {
		peers, silent int
		want          bool
	}{{1, 1, false}, {2, 1, false}, {2, 2, true}, {3, 2, true}, {7, 2, false}} {
		w := newWorld(t, 1)
		a := w.start(Config{Detector: published.Fixed(0, 0)})
		var others []*node
		for range c.peers {
			b := w.start(Config{})
			a.watch(b)
			b.watch(a)
			others = append(others, b)
		}
		w.run(2 * time.Second)
		a.log = nil
		told := false
		a.events.OnNode = func(ev NodeEvent) {
			if ev.Cause != LocalSuspect {
				return
			}
			told = true
			if slices.ContainsFunc(a.log, func(ev Event) bool { return ev.To == Failed }) {
				t.Errorf("%d of %d: told after a failure", c.silent, c.peers)
			}
		}
		for _, b := range others[:c.silent] {
			w.Cut(b.host, a.host)
		}
		w.run(10 * time.Second)
		failed := 0
		for _, ev := range a.log {
			if ev.To == Failed {
				failed++
			}
		}
		if told != c.want || failed != c.silent {
			t.Errorf("%d of %d silent: told %v, %d failed in the end", c.silent, c.peers, told, failed)
		}
	}
}

// The suspicion that a program reads is what the loop and interpreters judge by, also while this node stands
// still now and then: silence of its own making counts for nothing.
func TestSuspicionUnderOwnPauses(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	d, checked, most := a.table.detector, 0, 0.0
	collect := w.AfterTurn
	w.AfterTurn = func(h *sim.Host) {
		collect(h)
		if h != a.host {
			return
		}
		s := p.Summary()
		if got, want := p.suspicionAt(s.ReadTo), s.Suspicion(d); got != want {
			t.Errorf("%v: %v, by the summary %v", p, got, want)
		}
		if p.State() == Alive {
			most = max(most, p.Suspicion())
		}
		checked++
	}
	a.log = nil
	for i := range 20 {
		stop, goOn := a.host.Stop, a.host.Continue
		if i%2 == 0 {
			stop, goOn = func() { a.host.Pause(false) }, a.host.Resume
		}
		stop()
		w.run(time.Duration(1+i%5) * 400 * time.Millisecond)
		goOn()
		w.run(time.Second)
	}
	a.accusedNobody()
	if most >= a.suspectLevel || checked < 800 {
		t.Errorf("a suspicion of %v, in %d turns", most, checked)
	}
	b.host.Crash()
	w.run(150 * time.Millisecond)
	before := p.Suspicion()
	a.host.Pause(false)
	w.run(2 * time.Second)
	a.host.Resume()
	w.run(10 * time.Millisecond)
	if after := p.Suspicion(); p.State() != Alive || after > before+1 || after < before-1 {
		t.Errorf("%v: %v before a pause, %v after it", p, before, after)
	}
	w.run(10 * time.Second)
	if s := p.Suspicion(); p.State() != Failed || s < a.failLevel {
		t.Errorf("%v with a suspicion of %v", p, s)
	}
}
