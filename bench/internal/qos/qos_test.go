package qos

import (
	"math"
	"testing"
	"time"

	"systole/engine/detect"
	"systole/engine/detect/published"
	"systole/engine/enginetest/netmodel"
	"systole/engine/recording"
	"systole/engine/replay"
)

// near reports an error unless got is within a share of want.
func near(t *testing.T, what string, got, want, share float64) {
	t.Helper()
	if math.Abs(got-want) > share*math.Abs(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// What a model's link loses is missing from its source.
func TestLoss(t *testing.T) {
	for _, c := range []struct {
		link  netmodel.Link
		share float64
	}{{netmodel.Link{Loss: 0.05}, 0.05}, {netmodel.Link{Burst: netmodel.Burst{Enter: 0.01, Leave: 0.25}}, 0.01 / 0.26}} {
		s := NewSource(&Model{Period: time.Millisecond, Link: c.link}, 3)
		const n = 400_000
		var b Beat
		for range n {
			s.Next(&b)
		}
		near(t, "share", 1-n/float64(b.Sequence), c.share, 0.05)
	}
}

// Stalls of the sender and of the reader come as often as the model says, and their lengths
// show where they must: a sender's in when heartbeats leave, a reader's in when they are
// read and not in the stamp.
func TestStalls(t *testing.T) {
	const stall, hours = 250 * time.Millisecond, 50
	m := Model{
		Period: 100 * time.Millisecond, Link: netmodel.Link{Delay: netmodel.Distribution{Base: time.Millisecond}},
		Stalls: []Events{{time.Minute, netmodel.Distribution{Base: stall}}},
		Reads:  Events{30 * time.Second, netmodel.Distribution{Base: stall}},
	}
	s := NewSource(&m, 1)
	var late, unread float64
	for b := (Beat{}); b.At < Start+hours*int64(time.Hour); {
		s.Next(&b)
		if b.NIC != b.At+int64(time.Millisecond) || b.Send != b.At || b.App < b.NIC || b.Late < 0 || b.At-b.Late < Start {
			t.Fatalf("%+v", b)
		}
		late += float64(b.Late)
		unread += float64(b.App - b.NIC)
	}
	// A stall of 2.5 periods makes one heartbeat late, by 200 ms on average, as the ticker
	// keeps one. A reader's holds two or three, which wait 150, 50 ms and so on: 312.5.
	near(t, "lateness in an hour", late/hours, 60*200e6, 0.05)
	near(t, "unread in an hour", unread/hours, 120*312.5e6, 0.05)
	m.Burst = true
	s = NewSource(&m, 1)
	late = 0
	for b := (Beat{}); b.At < Start+hours*int64(time.Hour); {
		s.Next(&b)
		late += float64(b.Late)
		if want := Start + int64(b.Sequence-1)*int64(m.Period); b.At-b.Late != want {
			t.Fatalf("heartbeat %d was due at %d, want %d", b.Sequence, b.At-b.Late, want)
		}
	}
	near(t, "lateness in an hour with bursts", late/hours, 60*312.5e6, 0.05)
}

// Every model makes the same trace from the same seed and another from another, in which
// nothing overtakes and nothing comes before it was sent.
func TestModels(t *testing.T) {
	for i := range Models {
		m := &Models[i]
		a, b, other := NewSource(m, 7), NewSource(m, 7), NewSource(m, 8)
		var x, y, z, before Beat
		same := 0
		for range 50_000 {
			before = x
			a.Next(&x)
			b.Next(&y)
			other.Next(&z)
			if x != y {
				t.Fatalf("%s: %+v and %+v of one seed", m.Name, x, y)
			}
			if x == z {
				same++
			}
			if x.Sequence <= before.Sequence || x.At < before.At || x.NIC < before.NIC || x.App < before.App || x.NIC < x.At+int64(m.Link.Delay.Base) || x.App < x.NIC {
				t.Fatalf("%s: %+v after %+v", m.Name, x, before)
			}
		}
		if same > 100 {
			t.Errorf("%s: %d heartbeats are the same with another seed", m.Name, same)
		}
		if got, err := Find(m.Name); got != m || err != nil {
			t.Errorf("%s is not found: %v", m.Name, err)
		}
	}
	if _, err := Find("none"); err == nil {
		t.Error("a model that is not there was found")
	}
}

// A judge and the replay of the same trace agree.
func TestJudgeIsReplay(t *testing.T) {
	m, err := Find("cloud")
	if err != nil {
		t.Fatal(err)
	}
	copied := *m
	copied.ClockRate = 0 // the replay cannot know when heartbeats were sent by our clock
	const length = 20 * time.Hour
	for _, c := range []struct {
		d      detect.Detector
		stamps Stamps
	}{{published.Fixed(2, 0), NIC}, {published.Fixed(2, 0), App}, {published.Chen(0, 0, 0), NIC}} {
		var trace []recording.Beat
		s := NewSource(&copied, 5)
		j := NewJudge(c.d, c.stamps, m.Period, 0)
		for b := (Beat{}); b.At < Start+int64(length); {
			s.Next(&b)
			j.Beat(&b)
			trace = append(trace, b.Beat)
		}
		want, err := replay.Run(trace, c.d, replay.Options{ReadTimes: c.stamps == App, Period: m.Period})
		if err != nil {
			t.Fatal(err)
		}
		got := j.Figures()
		if want.Mistakes == 0 || got.Mistakes != int64(want.Mistakes) || got.Observed != want.Observed || math.Abs(got.Accuracy()-want.Accuracy) > 1e-12 {
			t.Errorf("%+v, the replay %+v", got, want)
		}
		// The replay takes the least delay away.
		near(t, "detection time", got.Detection().Seconds(), (want.DetectionMean + m.Link.Delay.Base).Seconds(), 1e-3)
	}
}

// A sender that stands still for five periods once a minute, judged by a detector that fails
// after three and a half: each pause is one wrong failure, which lasts until the heartbeat after.
func TestFailures(t *testing.T) {
	const hours, pause = 50, 500 * time.Millisecond
	m := Model{
		Period: 100 * time.Millisecond, Link: netmodel.Link{Delay: netmodel.Distribution{Base: time.Millisecond}},
		Stalls: []Events{{time.Minute, netmodel.Distribution{Base: pause}}},
	}
	j := NewFailures(published.Fixed(2, 1.75), m.Period, time.Hour)
	if err := Watch(t.Context(), NewSource(&m, 1), (hours+1)*time.Hour, j); err != nil {
		t.Fatal(err)
	}
	f := j.Figures()
	near(t, "observed", f.Observed.Hours(), hours, 0.01)
	near(t, "wrong in a day", f.PerDay(), 24*60, 0.05)
	near(t, "suspected in a day", f.MistakesPerDay(), 24*60, 0.05)
	// The silence is the pause and what was left of a period before it, 50 ms on average.
	near(t, "mistaken", float64(f.Mistaken)/float64(f.Wrong), float64(pause+50*time.Millisecond-350*time.Millisecond), 0.1)
	for _, share := range []float64{0.5, 0.9} {
		near(t, "time", f.Time(share).Seconds(), 0.351, 0.01)
	}
	if f := (FailureFigures{}); f.Time(0.5) != 0 {
		t.Errorf("nothing was seen, and failed after %v", f.Time(0.5))
	}
}

// Garwood's bounds as tables have them (Pearson and Hartley, table 40).
func TestPoissonBounds(t *testing.T) {
	for count, want := range map[int64][2]float64{
		0: {0, 3.689}, 1: {0.0253, 5.572}, 2: {0.242, 7.225}, 5: {1.623, 11.668}, 10: {4.795, 18.390}, 30: {20.24, 42.83}, 100: {81.364, 121.627},
	} {
		low, high := PoissonBounds(count, 0.95)
		if math.Abs(low-want[0]) > 0.005 || math.Abs(high-want[1]) > 0.005 {
			t.Errorf("%d: %v to %v, want %v", count, low, high, want)
		}
	}
	// Far out they are the normal ones.
	low, high := PoissonBounds(1_000_000, 0.95)
	near(t, "low", 1_000_000-low, 1959.5, 0.01)
	near(t, "high", high-1_000_000, 1960.5, 0.01)
}

// Apart, the share of empty polls settles where the gains say, whatever delay the path has.
// Coupled and falling with each heartbeat, the delay runs away: up or down, as the gains are.
func TestSeedLoop(t *testing.T) {
	for _, path := range []float64{1e-4, 0.05} {
		for _, decrease := range []float64{0.5, 0.9} {
			l := SeedLoop{Increase: 2, Decrease: decrease, Sender: 0.1, First: 3, Floor: 1e-4, Cap: 30, Path: path}
			near(t, "share", l.Run(1, 4000).Empty, l.Share(), 0.1)
		}
	}
	near(t, "formula", (&SeedLoop{Increase: 2, Decrease: 0.9}).Share(), 0.1319, 1e-3)
	up := SeedLoop{Increase: 2, Decrease: 0.9, PerHeartbeat: true, First: 3, Floor: 1e-3, Cap: 30, Path: 1e-4}
	if s := up.Run(1, 20_000); s.Capped < 0.3 {
		t.Errorf("it should run to the cap: %+v", s)
	}
	down := up
	down.Increase = 1.25
	if s := down.Run(1, 200); s.Floor < 0.2 {
		t.Errorf("it should run to the floor: %+v", s)
	}
}
