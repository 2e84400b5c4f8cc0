package qos

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"systole/engine/enginetest/netmodel"
)

// Events come one after the other, at the rate and of the length that they have; without a rate, never.
func TestProcess(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var p process
	p.start(Events{time.Minute, netmodel.Distribution{Base: time.Second}}, Start, r)
	const hours = 200
	before, count := Start, 0
	for at := Start; at < Start+hours*int64(time.Hour); at += int64(time.Second) {
		for {
			when, length, ok := p.take(at, r)
			if !ok {
				break
			}
			if when <= before || when > at || length != int64(time.Second) {
				t.Fatalf("at %d an event at %d for %d after one at %d", at, when, length, before)
			}
			before = when
			count++
		}
	}
	near(t, "events in an hour", float64(count)/hours, 60, 0.03)
	p.start(Events{Length: netmodel.Distribution{Base: time.Second}}, Start, r)
	if _, _, ok := p.take(math.MaxInt64-1, r); ok {
		t.Error("an event that never happens")
	}
}

// fixedDelay is a model with a delay of 10 ms and nothing else.
func fixedDelay() Model {
	return Model{Period: 100 * time.Millisecond, Link: netmodel.Link{Delay: netmodel.Distribution{Base: 10 * time.Millisecond}}}
}

// delays returns the delays of a model's heartbeats in a time.
func delays(m *Model, length time.Duration) (delays []time.Duration) {
	s := NewSource(m, 1)
	for b := (Beat{}); b.At < Start+int64(length); {
		s.Next(&b)
		delays = append(delays, time.Duration(b.NIC-b.At))
	}
	return delays
}

// A fast clock shows in when heartbeats say that they were sent, and nowhere else.
func TestClockRate(t *testing.T) {
	m := fixedDelay()
	m.ClockRate = 50
	s := NewSource(&m, 1)
	for b := (Beat{}); b.Sequence < 1000; {
		s.Next(&b)
		at := Start + int64(b.Sequence-1)*int64(m.Period)
		ahead := int64(float64(at-Start) * 50e-6)
		if b.At != at || b.Late != 0 || b.NIC != at+int64(10*time.Millisecond) || b.App != b.NIC || b.Send != at+ahead {
			t.Fatalf("%+v", b)
		}
	}
}

// The load of a day adds between nothing and the whole swing, half of it on average, and the most at
// noon.
func TestDrift(t *testing.T) {
	m := fixedDelay()
	m.Drift = Drift{Swing: 8 * time.Millisecond, Every: 24 * time.Hour}
	d := delays(&m, 24*time.Hour)
	sum := 0.0
	for i, x := range d {
		if x < 10*time.Millisecond || x > 18*time.Millisecond {
			t.Fatalf("heartbeat %d takes %v", i, x)
		}
		sum += x.Seconds()
	}
	near(t, "mean delay", sum/float64(len(d)), 0.014, 0.001)
	// The instant 0 is an hour before the first heartbeat.
	for hour, want := range map[int]time.Duration{6: 14 * time.Millisecond, 12: 18 * time.Millisecond, 18: 14 * time.Millisecond, 24: 10 * time.Millisecond} {
		near(t, "delay", d[(hour-1)*36000].Seconds(), want.Seconds(), 0.002)
	}
}

// A step of the route stays until the next.
func TestSteps(t *testing.T) {
	m := fixedDelay()
	m.Steps = Events{time.Hour, netmodel.Distribution{Kind: "uniform", Base: time.Millisecond, Spread: 4 * time.Millisecond}}
	changes := 0
	d := delays(&m, 100*time.Hour)
	for i := 1; i < len(d); i++ {
		if d[i] != d[i-1] {
			changes++
		}
		if d[i] < 10*time.Millisecond || d[i] > 15*time.Millisecond {
			t.Fatalf("heartbeat %d takes %v", i, d[i])
		}
	}
	near(t, "changes", float64(changes), 100, 0.3)
	if d[0] != 10*time.Millisecond {
		t.Errorf("the first takes %v", d[0])
	}
}

// A spike of 250 ms holds two or three heartbeats in the queue, which arrive together, and no other.
func TestSpikes(t *testing.T) {
	m := fixedDelay()
	m.Spikes = Events{10 * time.Minute, netmodel.Distribution{Base: 250 * time.Millisecond}}
	held, spikes := 0, 0
	before := 10 * time.Millisecond
	for i, x := range delays(&m, 200*time.Hour) {
		switch {
		case x == 10*time.Millisecond:
		case before == 10*time.Millisecond:
			spikes++
			fallthrough
		default:
			held++
			if x > 260*time.Millisecond || before != 10*time.Millisecond && x > 260*time.Millisecond-50*time.Millisecond {
				t.Fatalf("heartbeat %d takes %v after one with %v", i, x, before)
			}
		}
		before = x
	}
	near(t, "spikes", float64(spikes), 1200, 0.1)
	near(t, "held by each", float64(held)/float64(spikes), 2.5, 0.05)
}
