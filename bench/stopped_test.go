package main

import (
	"testing"
	"time"

	"systole/engine"
	"systole/engine/clock"
)

func TestStoppedFigures(t *testing.T) {
	stopped := span{1000, clock.Instant(time.Second)}
	last := lastArrivals([]passing{{at: 90}, {at: 70}})
	if last[0] != 90 {
		t.Errorf("last arrival %v", last[0])
	}
	last = map[uint64]clock.Instant{firstDead: clock.Instant(300 * ms)}
	event := func(id uint64, to engine.State, after, silence time.Duration) engine.Event {
		return engine.Event{ID: id, To: to, At: stopped.End.Add(after), Silence: silence}
	}
	var r stoppedResult
	r.judge([]engine.Event{
		event(firstDead, engine.Suspect, 2*ms, 900*ms), event(firstDead, engine.Suspect, 20*ms, 721*ms), event(firstDead, engine.Failed, 400*ms, time.Second),
		event(firstDead+1, engine.Suspect, -20*ms, 30*ms), event(firstPeerID, engine.Suspect, 20*ms, 30*ms), event(firstPeerID, engine.Alive, 20*ms, 0),
	}, last, stopped)
	if got, want := r.figures(), []float64{1, stoppedDead, 1, 1, 1000, 1000, 20, 20, 400}; !near(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
