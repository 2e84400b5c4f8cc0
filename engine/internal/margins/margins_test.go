package margins

import (
	"math"
	"testing"
	"time"

	"systole/engine/clock"
)

const ms = time.Millisecond

// The mean excess of an exponential distribution is its mean, beyond any margin. The middle of a
// bucket stands for its samples, so the error is up to a fifth.
func TestExcessIsMean(t *testing.T) {
	const n, mean = 1e6, float64(50 * ms)
	c := Curve{N: n}
	for i := 1; i < Buckets; i++ {
		c.Counts[i] = n * (math.Exp(-Edge(i-1)/mean) - math.Exp(-Edge(i)/mean))
	}
	for _, samples := range []float64{10, 100, 1000} {
		if margin, excess := c.Beyond(samples); math.Abs(excess/mean-1) > 0.2 {
			t.Errorf("mean excess beyond %v, which %v of a million exceed: %v, want %v",
				time.Duration(margin), samples, time.Duration(excess), time.Duration(mean))
		}
	}
}

// halve halves all counts, so shares and rates stay.
func TestPoolHalves(t *testing.T) {
	var p Pool
	for i := range 1000 {
		p.Note(&Gap{Interval: time.Duration(100+i%10) * ms, Period: 100 * ms, Lost: uint64(i % 4)})
	}
	before := p
	p.halve()
	if p.late.n != 500 || p.net.n != 500 || p.time != before.time/2 || p.late.most != before.late.most/2 {
		t.Errorf("%d and %d heartbeats, %v, most %v; before 1000, %v, %v", p.late.n, p.net.n, p.time, p.late.most, before.time, before.late.most)
	}
	for k, n := range before.runs {
		if p.runs[k] != n/2 {
			t.Errorf("%d runs of %d, before %d", p.runs[k], k, n)
		}
	}
}

// If the tail rises, the end of the bucket counts, for beyond and for share. Otherwise samples lie
// evenly in the bucket.
func TestLumpByHand(t *testing.T) {
	const i = 30 // a bucket
	low, high := Edge(i-1), Edge(i)
	middle := (low + high) / 2
	for _, tt := range []struct {
		name        string
		below, here float64
		all         float64 // samples
		lump        bool
	}{
		{"rises", 0, 40, 1e6, true}, {"falls", 80, 40, 1e6, false}, {"rises by chance", 30, 40, 1e6, false},
		{"rises in the body", 0, 40, 100, false},
	} {
		c := Curve{N: tt.all}
		c.Counts[i-1], c.Counts[i], c.Counts[i+1] = tt.below, tt.here, 10
		want, beyond := middle, 30.0
		if tt.lump {
			want, beyond = high, 50
		}
		if got, _ := c.Beyond(30); got != want {
			t.Errorf("%s: 30 samples beyond %v of the bucket, want %v", tt.name, (got-low)/(high-low), (want-low)/(high-low))
		}
		if got := c.Share(middle) * tt.all; math.Abs(got-beyond) > 1e-6 {
			t.Errorf("%s: %v samples beyond the middle, want %v", tt.name, got, beyond)
		}
	}
}

// The margins that count, by hand.
func TestWitnessesByHand(t *testing.T) {
	var a witnesses
	for i, tt := range []struct {
		peer           uint32
		at             time.Duration
		margin, counts time.Duration
		failed         bool
	}{
		{1, 10 * time.Second, 90 * ms, 90 * ms, false},                  // free
		{1, 20 * time.Second, 4 * time.Second, 100 * ms, false},         // the first
		{1, 30 * time.Second, 5 * time.Second, 100 * ms, false},         // again
		{2, 31 * time.Second, 2 * time.Second, 100 * ms, false},         // the same incident
		{2, 40 * time.Second, 300 * ms, 100 * ms, false},                // the second
		{3, 50 * time.Second, 6 * time.Second, 100 * ms, true},          // an outage
		{3, 60 * time.Second, 200 * ms, 200 * ms, false},                // the third
		{4, 70 * time.Second, 6 * time.Second, 300 * ms, false},         // replaces the third
		{2, 80 * time.Second, 450 * ms, 450 * ms, false},                // the least grows
		{5, 80*time.Second + 100*ms, 150 * ms, 150 * ms, false},         // less than all
		{6, 81 * time.Second, 700 * time.Second, 450 * ms, false},       // overlaps two
		{2, 90 * time.Second, 7 * time.Second, 5 * time.Second, false},  // peer 1 is now the least
		{7, 100 * time.Second, 20 * time.Second, 5 * time.Second, true}, // an outage
		{3, 110 * time.Second, 5500 * ms, 5500 * ms, false},             // in place of peer 1
		{3, 120 * time.Second, 100*ms + 1, 100*ms + 1, false},           // as much as was needed
		{8, 130 * time.Second, 100 * ms, 100 * ms, false},               // free
	} {
		g := Gap{Peer: tt.peer, Arrival: clock.Instant(tt.at), Interval: tt.margin + 100*ms, Period: 100 * ms, Failed: tt.failed}
		if got := a.counted(&g, tt.margin, 100*ms); got != tt.counts {
			t.Errorf("%d: peer %d's %v counts as %v, want %v: %+v", i, tt.peer, tt.margin, got, tt.counts, a)
		}
	}
	a.halve()
	if got := a.least().margin; got != 2750*ms {
		t.Errorf("halved, the least is %v", got)
	}
}
