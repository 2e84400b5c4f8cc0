package main

import (
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/detect/published"
)

const ms, us = time.Millisecond, time.Microsecond

// at returns the instant so many milliseconds after an hour.
func at(n int) clock.Instant { return clock.Instant(time.Hour).Add(time.Duration(n) * ms) }

func TestOfLoss(t *testing.T) {
	lost := func(ms ...int) (mistakes []mistake) {
		for _, n := range ms {
			mistakes = append(mistakes, mistake{at(n), true})
		}
		return mistakes
	}
	for _, c := range []struct {
		mistakes []mistake
		peers    int
		want     uint64
	}{
		{nil, 100, 0}, {lost(5), 100, 1}, {lost(900, 100), 100, 2},
		{append(lost(5), mistake{at: at(900)}), 100, 1},  // nothing was lost before the second
		{lost(1, 2, 3, 4, 5, 6), 100, 0},                 // six at once of a hundred
		{lost(1, 2, 3, 4, 5, 100), 100, 6},               // five are not many
		{lost(1, 2, 3), 10, 0}, {lost(1, 2, 500), 10, 3}, // of ten, two are not
		{lost(1, 5, 8, 300, 1, 2, 302, 500, 1), 100, 3},  // in any order
		{lost(10, 30, 50, 70, 90, 110, 130, 150), 10, 8}, // one after the other
	} {
		if got := ofLoss(c.mistakes, c.peers); got != c.want {
			t.Errorf("%v of %d peers: %d of loss, want %d", c.mistakes, c.peers, got, c.want)
		}
	}
}

// Mistakes are of one burst if a chain of small gaps leads from one to the other. By definition, pair by
// pair, and in any order.
func TestOfLossByDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		peers := rapid.IntRange(1, 200).Draw(t, "peers")
		var mistakes []mistake
		for range rapid.IntRange(0, 30).Draw(t, "mistakes") {
			mistakes = append(mistakes, mistake{at(rapid.IntRange(0, 120).Draw(t, "ms")), rapid.Bool().Draw(t, "lost")})
		}
		most := max(peers/20, 2)
		burst := make([]int, len(mistakes)) // equal for mistakes of one burst
		for i := range burst {
			burst[i] = i
		}
		for range mistakes {
			for i, a := range mistakes {
				for k, b := range mistakes {
					if d := max(a.at.Sub(b.at), b.at.Sub(a.at)); d < 20*ms/time.Duration(most) {
						burst[i] = min(burst[i], burst[k])
					}
				}
			}
		}
		var want uint64
		for i, m := range mistakes {
			size := 0
			for _, b := range burst {
				if b == burst[i] {
					size++
				}
			}
			if m.lost && size <= most {
				want++
			}
		}
		given := slices.Clone(mistakes)
		if got := ofLoss(mistakes, peers); got != want || !slices.Equal(mistakes, given) {
			t.Fatalf("%d of loss, want %d", got, want)
		}
	})
}

// A monitor tells mistakes after a lost heartbeat from others, ignores what is stale, and detects a
// crash at each deadline that is not before it.
func TestMonitor(t *testing.T) {
	m := newMonitor([]detect.Detector{published.Fixed(2, 0), published.Fixed(4, 0)}, 7)
	type noted struct {
		detector int
		mistake
	}
	var got []noted
	for _, h := range []struct {
		sequence uint64
		at       int
	}{
		{1, 0}, {2, 10},
		{4, 35},          // 25 ms after the second: one detector had suspected the peer at 30, and 3 was lost
		{4, 36}, {3, 36}, // stale
		{5, 100}, // both had: at 55 and at 75, with nothing lost
		{6, 110},
	} {
		beat := detect.Heartbeat{Sequence: h.sequence, Send: at(h.at - 1), Arrival: at(h.at), Period: 10 * ms}
		newest, sent := m.sequence, m.sent
		m.take(&beat, at(h.at-1), func(detector int, s mistake) { got = append(got, noted{detector, s}) })
		if h.sequence <= newest && (m.sequence != newest || m.sent != sent) {
			t.Errorf("stale heartbeat %d: newest %d, sent at %v", h.sequence, m.sequence, m.sent)
		}
	}
	want := []noted{{0, mistake{at(30), true}}, {0, mistake{at(55), false}}, {1, mistake{at(75), false}}}
	if !slices.Equal(got, want) || m.sequence != 6 || m.incarnation != 7 || m.sent != at(109) {
		t.Errorf("mistakes %v, want %v; monitor %+v", got, want, m)
	}
	for _, c := range []struct {
		crash int
		want  detections
	}{
		{115, detections{[][]time.Duration{{15 * ms}, {35 * ms}}, [][]time.Duration{{21 * ms}, {41 * ms}}}},
		{130, detections{[][]time.Duration{{0}, {20 * ms}}, [][]time.Duration{{21 * ms}, {41 * ms}}}},
		{131, detections{[][]time.Duration{nil, {19 * ms}}, [][]time.Duration{nil, {41 * ms}}}},
		{151, newDetections(2)},
	} {
		d := newDetections(2)
		if m.detect(at(c.crash), &d); !reflect.DeepEqual(d, c.want) {
			t.Errorf("crash at %d ms: %v, want %v", c.crash, d, c.want)
		}
	}
}

func TestAddDetections(t *testing.T) {
	var sum detections
	one, other := newDetections(2), newDetections(2)
	one.note(1, 3, 4)
	other.note(0, 1, 2)
	other.note(1, 5, 6)
	sum.add(one)
	sum.add(other)
	want := detections{[][]time.Duration{{1}, {3, 5}}, [][]time.Duration{{2}, {4, 6}}}
	if !reflect.DeepEqual(sum, want) || len(one.Crash[1]) != 1 {
		t.Errorf("%v, want %v", sum, want)
	}
}

func TestAddTally(t *testing.T) {
	var sum tally
	one := tally{[]uint64{1, 2}, []uint64{0, 1}, 3, 4, 5, time.Hour}
	sum.add(&one)
	sum.add(&tally{[]uint64{10, 20}, []uint64{10, 10}, 30, 40, 50, time.Hour})
	want := tally{[]uint64{11, 22}, []uint64{10, 11}, 33, 44, 55, 2 * time.Hour}
	if !reflect.DeepEqual(sum, want) || one.Mistakes[0] != 1 {
		t.Errorf("%+v, want %+v", sum, want)
	}
	if got := sum.perHour(11); got != 5.5 {
		t.Errorf("%v per hour, want 5.5", got)
	}
	if got := (&tally{}).perHour(0); !math.IsNaN(got) {
		t.Errorf("%v per hour of no time", got)
	}
}
