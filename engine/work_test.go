package engine

import (
	"testing"
	"time"

	"systole/engine/clock"
)

// passes runs n passes of so many units, each at once after the last and as long as its units
// take, and returns how much longer than that the last one was taken to be, and any was surely.
func passes(w *work, now *clock.Instant, n, units int, each time.Duration) (over, surer time.Duration) {
	for range n {
		w.units = units
		*now = now.Add(time.Duration(units) * each)
		taken, sure := w.until()
		if over = taken.Sub(*now); sure > *now {
			surer = max(surer, sure.Sub(*now))
		}
		w.begin(*now, true)
	}
	return over, surer
}

// What a unit of work takes is learned from passes that follow each other, to an eighth, and
// one pause among them is not.
func TestWorkIsLearned(t *testing.T) {
	for _, each := range []time.Duration{200 * time.Nanosecond, 3 * time.Microsecond, 80 * time.Microsecond} {
		var w work
		now := clock.Instant(time.Hour)
		w.begin(now, false)
		whole := 512 * each
		if over, surer := passes(&w, &now, 60, 512, each); over.Abs() > whole/8 || surer > 0 {
			t.Errorf("%v: after 60 passes one is taken to be %v longer than it is, and one was surely %v", each, over, surer)
		}
		if w.sure < each*7/8 {
			t.Errorf("%v: after 60 passes only %v are sure", each, w.sure)
		}
		passes(&w, &now, 1, 512, each+100*time.Millisecond/512)
		if over, surer := passes(&w, &now, 1, 512, each); over > whole/4 || surer > whole/8 {
			t.Errorf("%v: after a pause of 100 ms a pass is taken to be %v longer than it is, surely %v", each, over, surer)
		}
	}
}

// Passes that had little to do, or that were waited after, do not show that work costs more.
func TestIdlePassesTeachNoCost(t *testing.T) {
	var w work
	now := clock.Instant(time.Hour)
	w.begin(now, false)
	for _, c := range []struct {
		units  int
		atOnce bool
	}{{minWork - 1, true}, {4000, false}} {
		for range 100 {
			w.units = c.units
			now = now.Add(time.Second)
			w.begin(now, c.atOnce)
		}
		if w.cost != firstCost {
			t.Errorf("%+v: a unit is taken to cost %v", c, w.cost)
		}
	}
}

// What was learned while the CPU was taken away is unlearned in calm: a pass has not worked
// for longer than it lasted.
func TestCostIsUnlearned(t *testing.T) {
	var w work
	now := clock.Instant(time.Hour)
	w.begin(now, false)
	passes(&w, &now, 60, 512, 100*time.Microsecond)
	for range 10 {
		w.units = 300
		now = now.Add(time.Millisecond)
		w.begin(now, false)
	}
	w.units = 300
	if taken, sure := w.until(); taken.Sub(now) > 1100*time.Microsecond || sure.Sub(now) > time.Millisecond {
		t.Errorf("passes of 1 ms are taken to work for %v, surely %v", taken.Sub(now), sure.Sub(now))
	}
}

// A stop in the middle of a flood is a pause; what the flood takes is none.
func TestStopInFloodIsPause(t *testing.T) {
	w, a, _, _ := pair(t, Config{Period: 5 * time.Millisecond})
	a.host.Room, a.host.ReadTime = 100_000, 6*time.Microsecond
	before := a.Stats().Pauses
	a.host.Flood(60_000, 200*time.Millisecond)
	w.run(100 * time.Millisecond)
	if n := a.Stats().Pauses - before; n != 0 {
		t.Errorf("%d pauses in a flood", n)
	}
	a.host.Stop()
	w.run(30 * time.Millisecond)
	a.host.Continue()
	w.run(100 * time.Millisecond)
	if n := a.Stats().Pauses - before; n != 1 {
		t.Errorf("a stop in a flood is %d pauses", n)
	}
}

// Nor does an interpreter with many peers to look at take that for a pause.
func TestLooksAreNoPause(t *testing.T) {
	_, a, _, _ := pair(t, Config{Period: 5 * time.Millisecond})
	in, err := a.Interpreter(Levels{List: []Level{{Name: "dead", Raise: 8}}})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	now := in.now.Add(time.Hour)
	for _, c := range []struct {
		looks int
		pause bool
	}{{4096, false}, {0, true}} {
		in.Step(now)
		in.due, in.work.units = now, c.looks // there was more to do
		now = now.Add(5 * time.Millisecond)
		in.Step(now)
		if stood := in.stood != (lateness{}); stood != c.pause {
			t.Errorf("5 ms after a step of %d looks: a pause: %v", c.looks, stood)
		}
	}
}
