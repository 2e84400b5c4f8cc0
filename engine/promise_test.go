package engine

import (
	"errors"
	"testing"
	"time"

	"systole/engine/detect"
	"systole/engine/detect/published"
	"systole/engine/internal/sim"
)

// Open refuses a promise that cannot be kept, and says what is possible.
func TestInfeasiblePromise(t *testing.T) {
	for _, cfg := range []Config{
		{Promise: detect.Promise{DetectWithin: 30 * time.Millisecond, MistakeEvery: 30 * 24 * time.Hour, MaxRate: 100}},
		{Promise: detect.Promise{DetectWithin: 150 * time.Millisecond}, Period: 100 * time.Millisecond},
	} {
		_, err := Open(cfg)
		var refused *detect.InfeasibleError
		var field *FieldError
		if !errors.As(err, &refused) || !errors.As(err, &field) || field.Field != "Promise" {
			t.Fatalf("%v", err)
		}
		if refused.Within <= cfg.Promise.DetectWithin || refused.Every >= 24*time.Hour {
			t.Errorf("%+v was offered for %+v", refused, cfg.Promise)
		}
		t.Log(err)
	}
	for _, cfg := range []Config{
		{Promise: detect.Promise{MistakeEvery: time.Hour}, Detector: published.Fixed(0, 0)},
		{Promise: detect.Promise{MaxRate: 5}, Period: 100 * time.Millisecond},
		{Promise: detect.Promise{MistakeEvery: 1}}, {Known: detect.Known{Loss: 2}},
	} {
		if err := cfg.Validate(); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}

// The period follows from the promise, and a crash is detected within DetectWithin.
func TestPromiseDecidesOnThePeriod(t *testing.T) {
	promise := detect.Promise{DetectWithin: 150 * time.Millisecond, MistakeEvery: 24 * time.Hour}
	w, a, b, p := pair(t, Config{Promise: promise})
	if a.cfg.Period < 20*time.Millisecond || a.cfg.Period > 60*time.Millisecond {
		t.Errorf("period %v for 150 ms", a.cfg.Period)
	}
	w.run(time.Minute)
	a.accusedNobody()
	if s := p.Stats(); s.Granted > 150*time.Millisecond {
		t.Errorf("%v are granted, 150 ms promised", s.Granted)
	}
	b.host.Crash()
	gone := w.now()
	w.run(time.Second)
	suspected := time.Duration(0)
	for _, ev := range a.log {
		if ev.To == Suspect {
			suspected = ev.At.Sub(gone)
		}
	}
	if suspected <= 0 || suspected > 151*time.Millisecond {
		t.Errorf("suspected %v after the crash", suspected)
	}
}

// Measurements revise the period: it grows on a path without loss, and shrinks on one with much. The
// promise holds meanwhile.
func TestPromiseIsRevised(t *testing.T) {
	promise := detect.Promise{DetectWithin: 200 * time.Millisecond, MistakeEvery: time.Minute}
	w, a, b, p := pair(t, Config{Promise: promise, Known: detect.Known{Loss: 0.1, Deviation: 5 * time.Millisecond}})
	first := p.Stats().Period
	for range 60 {
		w.run(10 * time.Second)
		a.revise()
		b.revise()
	}
	s := p.Stats()
	if s.Period <= first || s.PeerPeriod != s.Period {
		t.Errorf("period %v, at first %v; the peer's %v", s.Period, first, s.PeerPeriod)
	}
	if s.Mistakes > 10 {
		t.Errorf("%d mistakes in ten minutes, one a minute is promised", s.Mistakes)
	}
	promised, err := a.Promised(0)
	if err != nil || promised.Err != nil || !promised.Plan.Measured || promised.Plan.Period != s.Period {
		t.Errorf("%+v, %v", promised, err)
	}
	if promised.MistakeEvery != mistakeEvery(promised.Watched, promised.Mistakes) {
		t.Errorf("a mistake every %v: %+v", promised.MistakeEvery, promised)
	}
	for _, d := range []time.Duration{promised.Watched, p.Stats().Watched} {
		if d < 9*time.Minute || d > 11*time.Minute {
			t.Errorf("watched for %v", d)
		}
	}
	quiet := s.Period
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if w.Random().IntN(20) == 0 {
			return nil
		}
		return []*sim.Datagram{d}
	}
	for range 120 {
		w.run(10 * time.Second)
		a.revise()
		b.revise()
	}
	if s := p.Stats(); s.Period >= quiet {
		t.Errorf("period %v on a path that loses one in twenty, %v when it lost none", s.Period, quiet)
	}
}

// A promise that measurements rule out is published once, and Promised says what is possible.
func TestPromiseAtRisk(t *testing.T) {
	w, a, _, _ := pair(t, Config{Promise: detect.Promise{DetectWithin: 100 * time.Millisecond, MistakeEvery: time.Minute}})
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if phase := time.Duration(w.now()) % (2 * time.Second); phase < 250*time.Millisecond {
			d.At = d.At.Add(250*time.Millisecond - phase)
		}
		return []*sim.Datagram{d}
	}
	for range 60 {
		w.run(10 * time.Second)
		a.revise()
	}
	told := 0
	for _, ev := range a.nodes {
		if ev.Cause == PromiseAtRisk {
			told++
		}
	}
	if told != 1 {
		t.Errorf("told %d times", told)
	}
	promised, err := a.Promised(0)
	var refused *detect.InfeasibleError
	if err != nil || !errors.As(promised.Err, &refused) || refused.Within < 200*time.Millisecond {
		t.Errorf("%+v, %v", promised, err)
	}
	if _, err := a.Promised(Classes); err == nil {
		t.Error("a class that is none was taken")
	}
	points, err := a.TradeOff(0)
	if err != nil || len(points) == 0 || points[0].DetectWithin < 200*time.Millisecond {
		t.Errorf("trade-off %v, %v", points, err)
	}
}

// A new peer starts with the measurements of its class, not with those of another class.
func TestNewPeersKnowTheirClass(t *testing.T) {
	w := newWorld(t, 9)
	a := w.start(Config{})
	for range 20 {
		a.watch(w.start(Config{Accept: Accept{Anyone: true}}), func(c *PeerConfig) { c.Class = 1 })
	}
	w.run(10 * time.Minute)
	granted := make(map[uint8]time.Duration)
	for _, class := range []uint8{1, 2} {
		p := a.watch(w.start(Config{Accept: Accept{Anyone: true}}), func(c *PeerConfig) { c.Class = class })
		w.run(2 * time.Second)
		granted[class] = p.Stats().Granted
	}
	if granted[1] > granted[2]*3/4 || granted[2] < 300*time.Millisecond {
		t.Errorf("a new peer of a known class is granted %v, of an unknown one %v", granted[1], granted[2])
	}
	c := PeerConfig{Addr: a.host.Addr(), Class: Classes}
	if err := c.Validate(); err == nil {
		t.Error("a class that is none was taken")
	}
}

func TestObservedMistakeEvery(t *testing.T) {
	for mistakes, want := range map[uint64]time.Duration{0: 0, 4: 15 * time.Minute} {
		if got := mistakeEvery(time.Hour, mistakes); got != want {
			t.Errorf("%d mistakes in an hour: one every %v, want %v", mistakes, got, want)
		}
	}
}
