package engine

import (
	"testing"
	"time"

	"systole/engine/clock"
)

// passes runs n passes of so many units, each at once after the last and as long as its units
// take, and returns how much longer than that the last one was taken to be, and any was surely.
func passes(c *turnCost, now *clock.Instant, n, units int, each time.Duration) (over, surer time.Duration) {
	for range n {
		c.units = units
		*now = now.Add(time.Duration(units) * each)
		most, least := c.until()
		if over = most.Sub(*now); least > *now {
			surer = max(surer, least.Sub(*now))
		}
		c.begin(*now, true)
	}
	return over, surer
}

// What a unit of work takes is learned from passes that follow each other, to an eighth, and
// one pause among them is not.
func TestTurnCostIsLearned(t *testing.T) {
	for _, each := range []time.Duration{200 * time.Nanosecond, 3 * time.Microsecond, 80 * time.Microsecond} {
		var c turnCost
		now := clock.Instant(time.Hour)
		c.begin(now, false)
		whole := 512 * each
		if over, surer := passes(&c, &now, 60, 512, each); over.Abs() > whole/8 || surer > 0 {
			t.Errorf("%v: after 60 passes one is taken to be %v longer than it is, and one was surely %v", each, over, surer)
		}
		if c.sure < each*7/8 {
			t.Errorf("%v: after 60 passes only %v are sure", each, c.sure)
		}
		passes(&c, &now, 1, 512, each+100*time.Millisecond/512)
		if over, surer := passes(&c, &now, 1, 512, each); over > whole/4 || surer > whole/8 {
			t.Errorf("%v: after a pause of 100 ms a pass is taken to be %v longer than it is, surely %v", each, over, surer)
		}
	}
}

// Passes that had little to do, or that were waited after, do not show that work costs more.
func TestIdlePassesTeachNoCost(t *testing.T) {
	var c turnCost
	now := clock.Instant(time.Hour)
	c.begin(now, false)
	for _, test := range []struct {
		units  int
		atOnce bool
	}{{minWork - 1, true}, {4000, false}} {
		for range 100 {
			c.units = test.units
			now = now.Add(time.Second)
			c.begin(now, test.atOnce)
		}
		if c.cost != firstCost {
			t.Errorf("%+v: a unit is taken to cost %v", test, c.cost)
		}
	}
}

// What was learned while the CPU was taken away is unlearned in calm: a pass has not worked
// for longer than it lasted.
func TestCostIsUnlearned(t *testing.T) {
	var c turnCost
	now := clock.Instant(time.Hour)
	c.begin(now, false)
	passes(&c, &now, 60, 512, 100*time.Microsecond)
	for range 10 {
		c.units = 300
		now = now.Add(time.Millisecond)
		c.begin(now, false)
	}
	c.units = 300
	if most, least := c.until(); most.Sub(now) > 1100*time.Microsecond || least.Sub(now) > time.Millisecond {
		t.Errorf("passes of 1 ms are taken to work for %v, surely %v", most.Sub(now), least.Sub(now))
	}
}

// A stop in the middle of a flood is a pause; what the flood takes is none.
func TestStopInFloodIsPause(t *testing.T) {
	w, a, _, _ := pair(t, Config{Period: 5 * time.Millisecond})
	a.host.Room, a.host.ReadTime = 100_000, 6*time.Microsecond
	before := a.Stats().Loop.Pauses
	a.host.Flood(60_000, 200*time.Millisecond)
	w.run(100 * time.Millisecond)
	if n := a.Stats().Loop.Pauses - before; n != 0 {
		t.Errorf("%d pauses in a flood", n)
	}
	a.host.Stop()
	w.run(30 * time.Millisecond)
	a.host.Continue()
	w.run(100 * time.Millisecond)
	if n := a.Stats().Loop.Pauses - before; n != 1 {
		t.Errorf("a stop in a flood is %d pauses", n)
	}
}

// A late pass of a program's own loop is a pause, once, and not for longer than it lasted.
func TestLoopPauses(t *testing.T) {
	const second, threshold = clock.Instant(time.Second), 10 * time.Millisecond
	l := LoopPauses{Grid: threshold / 2}
	shift := func(arrival clock.Instant) time.Duration {
		s := Summary{Arrival: arrival}
		s.Excuse(&l)
		return s.Paused
	}
	for _, test := range []struct{ due, now clock.Instant }{
		{0, 5 * second}, {clock.Never, 5 * second}, {5 * second, 5*second + 1}, {5 * second, 4 * second},
		{5 * second, 5*second + clock.Instant(threshold)},
	} {
		if l.Begin(test.now, test.due, 0); l.lost != 0 || l.to != 0 {
			t.Fatalf("due %v, at %v: %+v", test.due, test.now, l)
		}
	}
	l.Begin(12*second, 10*second, 0)
	for _, test := range []struct {
		arrival clock.Instant
		shift   time.Duration
	}{{9 * second, 2 * time.Second}, {10*second + second/2, 1500 * time.Millisecond}, {12 * second, 0}, {13 * second, 0}} {
		if got := shift(test.arrival); got != test.shift {
			t.Errorf("heard at %v: %v later, want %v", test.arrival, got, test.shift)
		}
	}
	l.Begin(13*second, 12*second+1, 0) // thrashing: nothing was done in between
	if got := shift(9 * second); got < 2900*time.Millisecond || got > 3*time.Second {
		t.Errorf("two stalls on end make %v", got)
	}
	l.Begin(21*second, 20*second, 0)
	if got := shift(9 * second); got != time.Second {
		t.Errorf("a stall long after the others makes %v", got)
	}
}
