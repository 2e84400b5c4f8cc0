package engine

import (
	"testing"
	"time"

	"systole/engine/enginetest/netmodel"
)

// A peer is slow above a quarter of its period, until it is below an eighth.
func TestSlowHasHysteresis(t *testing.T) {
	const period = 100 * time.Millisecond
	var q slow
	is := false
	for _, test := range []struct {
		late, wait time.Duration
		want       bool
	}{
		{0, 0, false},
		{24 * time.Millisecond, 0, false},
		{13 * time.Millisecond, 13 * time.Millisecond, true},
		{24 * time.Millisecond, 0, true},
		{13 * time.Millisecond, 0, true},
		{12 * time.Millisecond, 0, false},
		{24 * time.Millisecond, 0, false},
		{0, time.Hour, true}, // saturates
	} {
		for range 100 {
			is = q.heard(test.late, test.wait, true, period, is)
		}
		if is != test.want {
			t.Errorf("late %v, wait %v: slow %v", test.late, test.wait, is)
		}
	}
	if q.begin(); q.heard(period/2, 0, false, period, false) {
		t.Error("one late heartbeat makes a peer slow")
	}
}

// A wait that was told long ago does not count any more.
func TestToldWaitExpires(t *testing.T) {
	const period, wait = 100 * time.Millisecond, 60 * time.Millisecond
	var q slow
	is := q.heard(0, wait, true, period, false)
	for range maxUntold {
		is = q.heard(0, wait, false, period, is)
	}
	if !is {
		t.Error("not slow while the wait counts")
	}
	for range 20 {
		is = q.heard(0, wait, false, period, is)
	}
	if is {
		t.Error("slow for ever")
	}
}

// The flag is on everything that is published of the peer, and ends with its process.
func TestSlowIsPublished(t *testing.T) {
	cfg := Config{Period: 20 * time.Millisecond}
	w, from, to, p := watching(t, cfg, Config{})
	from.host.Latency = netmodel.Distribution{Kind: "uniform", Base: 18 * time.Millisecond}
	for range 1000 {
		if w.run(time.Millisecond); p.Slow() {
			break
		}
	}
	if !p.Slow() || !p.Stats().Slow || !p.Summary().Slow || p.Degraded() {
		t.Errorf("%v, %+v", p, p.Stats())
	}
	late := to.Subscribe()
	defer late.Close()
	if ev, ok := late.TryNext(); !ok || !ev.Slow {
		t.Errorf("to a new reader: %+v", ev)
	}
	from.host.Crash()
	w.run(time.Second)
	if last := to.log[len(to.log)-1]; last.To != Failed || !last.Slow || !p.Slow() {
		t.Errorf("%+v", last)
	}
	from.host.Latency = netmodel.Distribution{}
	w.boot(from, cfg)
	from.watch(to)
	w.run(time.Second)
	if last := to.log[len(to.log)-1]; last.To != Alive || last.Slow || p.Slow() || p.Stats().Slow {
		t.Errorf("%+v", last)
	}
}
