package engine

import (
	"testing"
	"time"

	"systole/engine/detect/published"
)

// With Final a failed peer stays so for its incarnation. That something is heard of it is told once, and
// it is told that it is buried, whatever it believes. Its next incarnation is alive.
func TestFinal(t *testing.T) {
	w, a, b, p := pair(t, Config{Final: true})
	a.log, b.log = nil, nil
	w.Cut(b.host, a.host)
	w.run(10 * time.Second)
	w.Heal(b.host, a.host)
	w.run(5 * time.Second)
	dead := []string{"alive suspect silence", "suspect failed silence", "failed failed buried-heard"}
	a.want("heard after it failed", dead...)
	b.want("buried", "alive one-way deaf", "one-way one-way buried")
	if s := p.Stats(); s.State != Failed || s.Failures != 1 {
		t.Errorf("%v, failed %d times", p, s.Failures)
	}
	id := p.ID()
	w.boot(b, Config{ID: id})
	b.watch(a)
	w.run(2 * time.Second)
	a.want("a new incarnation", append(dead, "failed alive restarted")...)
}

// So is one that was one-way already: it is told that it is buried.
func TestBuriedWhileOneWay(t *testing.T) {
	w, a, b, _ := pair(t, Config{Final: true})
	b.log = nil
	w.Cut(b.host, a.host) // b hears a, and is not heard
	w.run(10 * time.Second)
	b.want("failed at the other end", "alive one-way deaf", "one-way one-way buried")
	if a.last(Silence).To != Failed {
		t.Errorf("%+v", a.last(Silence))
	}
}

// Reincarnate begins a new incarnation in place: who had failed this node takes it back, and handles, counts and
// subscriptions are as they were.
func TestReincarnate(t *testing.T) {
	w, a, b, p := pair(t, Config{Final: true, Detector: published.Fixed(0, 0)})
	q := b.watched(a)
	w.Cut(b.host, a.host)
	w.run(10 * time.Second)
	w.Heal(b.host, a.host)
	w.run(2 * time.Second)
	before, was := q.Stats(), b.Incarnation()
	if p.State() != Failed || q.State() != OneWay || before.Cause != Buried {
		t.Fatalf("%v, and there %v, %v", p, q, before.Cause)
	}
	a.log, b.log = nil, nil
	if now := b.Reincarnate(); now <= was || b.Incarnation() != now {
		t.Errorf("incarnation %d after %d", now, was)
	}
	w.run(2 * time.Second)
	a.want("a new incarnation", "failed alive restarted")
	b.want("a new incarnation", "one-way alive reachable-again")
	after := q.Stats()
	if p.Stats().Incarnation != b.Incarnation() || after.Sent <= before.Sent || after.Received <= before.Received || after.State != Alive {
		t.Errorf("%v, and there %+v, before %+v", p, after, before)
	}
	a.log, b.log = nil, nil
	w.run(10 * time.Second)
	a.want("and then")
	b.want("and then")
}

// A new incarnation in place while all is well is no more than a restart to the others, and nothing at home.
func TestReincarnateWhileAlive(t *testing.T) {
	w, a, b, p := pair(t, Config{Detector: published.Fixed(0, 0)})
	a.log, b.log = nil, nil
	b.Reincarnate()
	w.run(5 * time.Second)
	a.want("a new incarnation", "alive alive restarted")
	b.want("a new incarnation")
	if p.Stats().Incarnation != b.Incarnation() || p.State() != Alive {
		t.Errorf("%+v", p.Stats())
	}
}

// By default what failed and is heard again is alive, at both ends, whoever failed whom. Failures counts.
func TestFailureHeals(t *testing.T) {
	for name, cut := range map[string]func(w *world, a, b *node){
		"both ways": func(w *world, a, b *node) { w.Cut(a.host, b.host); w.Cut(b.host, a.host) },
		"one way":   func(w *world, a, b *node) { w.Cut(a.host, b.host) },
		"the other": func(w *world, a, b *node) { w.Cut(b.host, a.host) },
	} {
		w, a, b, p := pair(t, Config{})
		q := b.watched(a)
		for round := range uint64(3) {
			cut(w, a, b)
			w.run(10 * time.Second)
			if p.State() == Alive || q.State() == Alive || p.State() != Failed && q.State() != Failed {
				t.Errorf("%s: %v and %v", name, p, q)
			}
			w.Heal(a.host, b.host)
			w.Heal(b.host, a.host)
			w.run(500 * time.Millisecond)
			if p.State() != Alive || q.State() != Alive {
				t.Errorf("%s, round %d: %v and %v half a second after the way is back", name, round, p, q)
			}
			if n := p.Stats().Failures + q.Stats().Failures; n < round+1 || n > 2*round+2 {
				t.Errorf("%s, round %d: failed %d times", name, round, n)
			}
		}
	}
}

// One end is stricter than the other, and both stand still now and then: all is well again by itself.
func TestHealsWhateverTheOrder(t *testing.T) {
	for _, strict := range []bool{false, true} {
		w := newWorld(t, 1)
		a, b := w.start(Config{Detector: published.Fixed(0, 0)}), w.start(Config{Detector: published.Fixed(20, 0)})
		p, q := a.watch(b), b.watch(a)
		w.run(2 * time.Second)
		stalls := []*node{a, b}
		if strict {
			stalls = []*node{b, a}
		}
		for _, n := range stalls {
			n.host.Pause(false)
			w.run(3 * time.Second)
			n.host.Resume()
			w.run(time.Second)
			if p.State() != Alive || q.State() != Alive {
				t.Errorf("%v and %v a second after a machine goes on that stood still for 3 s", p, q)
			}
		}
	}
}

// A peer that is back from the dead is sent to by its period again, and not by that of
// probes, which it would take for silence.
func TestHealedIsSentToAtOnce(t *testing.T) {
	const period = 20 * time.Millisecond
	for seed := range uint64(20) {
		w := newWorld(t, seed)
		cfg := Config{Period: period, Detector: published.Fixed(0, 0)}
		a, b := w.start(cfg), w.start(cfg)
		a.watch(b)
		p := b.watch(a)
		w.run(time.Second + time.Duration(seed)*7*time.Millisecond)
		a.host.Pause(true)
		w.run(2 * time.Second)
		a.host.Resume()
		for p.State() == Failed {
			w.run(time.Millisecond)
		}
		a.log = nil
		before := p.Stats().Sent
		w.run(10 * period)
		if n := p.Stats().Sent - before; n < 10 {
			t.Errorf("seed %d: %d heartbeats in ten periods", seed, n)
		}
		a.accusedNobody()
	}
}

// A failed peer that is heard again and does not hear us is judged like any other.
func TestHealedOneWayIsJudged(t *testing.T) {
	w, a, b, p := pair(t, Config{Detector: published.Fixed(0, 0)})
	w.Cut(a.host, b.host)
	w.Cut(b.host, a.host)
	w.run(10 * time.Second)
	a.log = a.log[len(a.log)-1:]
	w.Heal(b.host, a.host)
	for p.State() == Failed && w.now().Sub(a.last(Silence).At) < time.Minute {
		w.run(time.Millisecond)
	}
	b.host.Crash() // that heartbeat was its last
	w.run(10 * time.Second)
	a.want("one way, then gone", "suspect failed silence", "failed one-way buried", "one-way suspect silence", "suspect failed silence")
}
