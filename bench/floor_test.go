package main

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"systole/engine/enginetest/netlab"
)

// The floor program sends at its rate, what it sends arrives, and it says what that cost.
func TestFloor(t *testing.T) {
	f, err := newFloor()
	netlab.Require(t, err)
	defer func() {
		if err := f.close(); err != nil {
			t.Error(err)
		}
	}()
	for _, c := range []floorCase{{"one way", 136, 10000, 1000, 0}, {"both ways", 152, 10000, 1000, 10000}} {
		a, b, err := f.measure(t.Context(), c, 300*time.Millisecond)
		for range 9 {
			if !errors.Is(err, errDisturbed) {
				break
			}
			a, b, err = f.measure(t.Context(), c, 300*time.Millisecond)
		}
		if err != nil {
			t.Fatal(err)
		}
		// The processes start and end apart by some ticks, so not all is counted at both; and on a
		// busy machine they miss ticks.
		if a.Sent <= 0 || a.Sent > 3500 || b.Received <= 0 || b.Received > 3500 {
			t.Errorf("%s: sent %v, received %v, dropped %v", c.name, a.Sent, b.Received, b.Dropped)
		}
		if cost := a.perDatagram(); cost < 50 || cost > 1e6 {
			t.Errorf("%s: a datagram cost %v ns", c.name, cost)
		}
		if calls := (a.Calls + b.Calls) / (a.Sent + b.Received); calls > 1 {
			t.Errorf("%s: %v system calls per datagram", c.name, calls)
		}
	}
	// A size that the program refuses.
	if _, _, err := f.measure(t.Context(), floorCase{"too long", 100_000, 1, 1000, 0}, time.Millisecond); err == nil || !strings.Contains(err.Error(), "run the floor program: exit status 2") {
		t.Errorf("a datagram that is too long: %v", err)
	}
}

func TestFloorArgs(t *testing.T) {
	last := strconv.Itoa(lastCPU())
	for _, c := range []struct {
		floorCase
		a, b string
	}{
		{floorCase{"", 136, 0, 1000, 0}, "-c 0 -d 10.80.0.0 -r 0 -s 136 -t 1000 -n 4096 -T 2.5", "-c " + last + " -R -s 136 -t 1000 -n 4096 -T 2.5"},
		{
			floorCase{"", 152, 5, 4000, 7}, "-c 0 -d 10.80.0.0 -r 5 -s 152 -t 4000 -n 4096 -T 2.5 -R",
			"-c " + last + " -R -s 152 -t 4000 -n 4096 -T 2.5 -d 10.81.0.0 -r 7",
		},
	} {
		a, b := c.args(4096, 2500*time.Millisecond)
		if strings.Join(a, " ") != c.a || strings.Join(b, " ") != c.b {
			t.Errorf("%+v: %q and %q", c.floorCase, a, b)
		}
	}
}

// What the program prints, as in floor.c.
func TestFloorCounts(t *testing.T) {
	const printed = `{"sent":10,"received":20,"failed":1,"dropped":2,"calls":3,"user_ns":1000,"system_ns":2000,"wall_ns":4000}`
	var got floorCounts
	if err := json.Unmarshal([]byte(printed), &got); err != nil || got != (floorCounts{10, 20, 1, 2, 3, 1000, 2000, 4000}) || got.perDatagram() != 100 {
		t.Errorf("%+v, %v", got, err)
	}
}

// Each end's cheapest measurement counts, whichever it was.
func TestFloorPair(t *testing.T) {
	counts := func(cost float64) floorCounts { return floorCounts{Sent: 1, System: cost} }
	var p floorPair
	for _, m := range [][2]float64{{5, 5}, {4, 6}, {7, 3}, {6, 3.5}} {
		p.add(counts(m[0]), counts(m[1]))
	}
	if p.a.perDatagram() != 4 || p.b.perDatagram() != 3 {
		t.Errorf("cheapest %v and %v", p.a.perDatagram(), p.b.perDatagram())
	}
}

func TestFloorFigures(t *testing.T) {
	a := floorCounts{Sent: 1000, Received: 0, Dropped: 1, Calls: 30, User: 1e5, System: 4e5, Wall: 5e8}
	b := floorCounts{Sent: 0, Received: 1000, Dropped: 2, Calls: 70, User: 0, System: 2e5, Wall: 5e8}
	one, both := floorCase{}, floorCase{back: 1}
	got := one.figures(a, b)
	if meaningful(got[2]) || !slices.Equal(slices.Delete(got, 2, 3), []float64{500, 200, 2000, 0.05, 3}) {
		t.Errorf("one way: %v", got)
	}
	got = both.figures(a, b)
	if meaningful(got[0]) || meaningful(got[1]) || !slices.Equal(got[2:], []float64{350, 2000, 0.05, 3}) {
		t.Errorf("both ways: %v", got)
	}
}

func TestDisturbed(t *testing.T) {
	for _, c := range []struct {
		a, b floorCounts
		want string
	}{
		{floorCounts{Sent: 1}, floorCounts{Received: 1}, ""},
		{floorCounts{Sent: 9}, floorCounts{}, "no datagram arrived"},
		{floorCounts{}, floorCounts{Received: 9}, "no datagram arrived"},
		{floorCounts{Sent: 9, Failed: 2}, floorCounts{Received: 1, Failed: 1}, "the kernel refused 3 datagrams"},
	} {
		err := disturbed(c.a, c.b)
		if (err == nil) != (c.want == "") || err != nil && (!errors.Is(err, errDisturbed) || !strings.HasSuffix(err.Error(), c.want)) {
			t.Errorf("%+v and %+v: %v, want %q", c.a, c.b, err, c.want)
		}
	}
}
