package replay

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"systole/engine/detect"
	"systole/engine/detect/published"
	"systole/engine/recording"
)

const ms = int64(time.Millisecond)

// header is the first line of a recording in CSV.
const header = "seq,send_ns,nic_ns,app_ns"

// csv returns a recording of beats, each as sequence, send, nic, app in milliseconds.
func csv(beats ...[4]int64) string {
	var b strings.Builder
	b.WriteString(header + "\n")
	for _, x := range beats {
		fmt.Fprintf(&b, "%d,%d,%d,%d\n", x[0], x[1]*ms, x[2]*ms, x[3]*ms)
	}
	return b.String()
}

// all returns the detectors with their defaults.
func all() []detect.Detector {
	return []detect.Detector{
		published.Fixed(0, 0), published.Chen(0, 0, 0), published.TwoWindow(0, 0, 0, 0), published.Oz(published.OzOptions{}), published.Bertier(published.BertierOptions{}),
		published.PhiNormal(published.PhiNormalOptions{}), published.PhiExponential(published.PhiExponentialOptions{}), detect.Margin(detect.MarginOptions{}),
	}
}

// jittery returns n heartbeats at 100 ms, over a path with exponential delays that loses one of a
// thousand.
func jittery(n int) []recording.Beat {
	r := rand.New(rand.NewPCG(1, 2))
	var trace []recording.Beat
	for s := int64(0); len(trace) < n; s++ {
		if r.IntN(1000) == 0 {
			continue
		}
		late := int64(50_000 + r.IntN(50_000))
		send := s*100*ms + late
		nic := send + 5*int64(time.Second) + int64(r.ExpFloat64()*float64(ms))
		app := max((nic+int64(r.IntN(300_000)))&^255, nic) // rounded as package recording does
		trace = append(trace, recording.Beat{Sequence: uint64(s), Send: send, NIC: nic, App: app, Late: late, Period: 100 * ms})
	}
	return trace
}

// The announced period counts, even if it changes, and so does the sender's lateness.
func TestAnnouncedPeriod(t *testing.T) {
	var trace []recording.Beat
	at := int64(0)
	for s := range int64(100) {
		period := 10 * ms
		if s >= 50 {
			period = 50 * ms
		}
		trace = append(trace, recording.Beat{Sequence: uint64(s), Send: at, NIC: at, App: at, Period: period})
		at += period
	}
	r, err := Run(trace, published.Fixed(0, 0), Options{})
	if err != nil || r.Mistakes != 0 || r.DetectionP99 != 150*time.Millisecond {
		t.Errorf("%+v, %v", r, err)
	}
	if r, _ := Run(trace, published.Fixed(0, 0), Options{Period: 10 * time.Millisecond}); r.Mistakes != 49 {
		t.Errorf("with 10 ms for all: %+v", r)
	}
	late := jittery(100)
	for i := range late {
		late[i].Send, late[i].NIC, late[i].Late = late[i].Send+20*ms, late[i].NIC+20*ms, late[i].Late+20*ms
	}
	early, err := Run(jittery(100), published.Chen(0, 0, 0), Options{})
	if err != nil {
		t.Fatal(err)
	}
	same, err := Run(late, published.Chen(0, 0, 0), Options{})
	if err != nil || same.Mistakes != early.Mistakes || same.DetectionMean != early.DetectionMean {
		t.Errorf("20 ms late each: %+v, %v; on time %+v", same, err, early)
	}
}

// nth agrees with sorting.
func TestNth(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		values := make([]int64, 1+r.IntN(30))
		for i := range values {
			values[i] = r.Int64N(12)
		}
		k := r.IntN(len(values))
		want := slices.Sorted(slices.Values(values))[k]
		if got := nth(values, k); got != want {
			t.Fatalf("place %d: %d, want %d", k, got, want)
		}
	}
}

// read parses a valid recording in CSV.
func read(t *testing.T, text string) []recording.Beat {
	t.Helper()
	r, err := recording.Read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return r.Streams[0].Beats
}

// An example worked by hand: period 10 ms, fixed × 3, path 5 ms, clocks 1000 ms apart. Three
// heartbeats are lost before sequence 6, and sequence 8 is read 40 ms late.
func TestByHand(t *testing.T) {
	trace := read(t, csv(
		[4]int64{0, 0, 1005, 1005}, [4]int64{1, 10, 1015, 1015}, [4]int64{2, 20, 1025, 1026},
		[4]int64{6, 60, 1065, 1065}, [4]int64{7, 70, 1075, 1075}, [4]int64{8, 80, 1085, 1125}, [4]int64{9, 90, 1095, 1126}))
	for _, test := range []struct {
		read     bool
		mistakes int
		duration time.Duration
		observed time.Duration
	}{
		{false, 1, 10 * time.Millisecond, 90 * time.Millisecond},           // from 1055 to 1065
		{true, 2, (9 + 20) * time.Millisecond / 2, 121 * time.Millisecond}, // 1056, 1105 to 1125
	} {
		r, err := Run(trace, published.Fixed(0, 0), Options{ReadTimes: test.read})
		if err != nil {
			t.Fatal(err)
		}
		if r.Mistakes != test.mistakes || r.MistakeMean != test.duration || r.Observed != test.observed {
			t.Errorf("read times %t: %+v, want %+v", test.read, r, test)
		}
		if want := 1 - float64(r.Mistakes)*float64(r.MistakeMean)/float64(r.Observed); r.Accuracy != want {
			t.Errorf("read times %t: accuracy %v, want %v", test.read, r.Accuracy, want)
		}
	}
	// T_D has neither the path's 5 ms nor the difference of the clocks: three periods.
	r, err := Run(trace, published.Fixed(0, 0), Options{Period: 10 * time.Millisecond})
	if err != nil || r.DetectionMean != 30*time.Millisecond || r.DetectionP99 != 30*time.Millisecond || r.Heartbeats != 6 {
		t.Errorf("%+v, %v", r, err)
	}
	if r, _ := Run(trace, published.Fixed(0, 0), Options{Warmup: 4}); r.Mistakes != 0 || r.Heartbeats != 2 || r.Observed != 20*time.Millisecond {
		t.Errorf("with a warm-up of four heartbeats: %+v", r)
	}
}

// A sender that stalls and then sends all missed heartbeats at once makes one mistake and not many:
// under Chen's detector the peer stays suspect until the sender has caught up with its schedule.
func TestLateHeartbeatsDoNotEndMistake(t *testing.T) {
	var beats [][4]int64
	for s := range int64(100) {
		at := 1000 + s*10
		if s >= 50 && s < 80 {
			at = 1000 + 800 + s - 50 // thirty heartbeats in 30 ms, from 1800 on
		}
		beats = append(beats, [4]int64{s, s * 10, at, at})
	}
	r, err := Run(read(t, csv(beats...)), published.Chen(20*time.Millisecond, 1000, 0), Options{Period: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	// Suspect from 1490 + 30 until about heartbeat 80.
	if r.Mistakes != 1 || r.MistakeMean < 280*time.Millisecond || r.MistakeMean > 310*time.Millisecond || r.Accuracy < 0.68 {
		t.Errorf("%+v", r)
	}
}

// Neither the order of lines nor reordered heartbeats change the result.
func TestOrderOfLines(t *testing.T) {
	var beats [][4]int64
	for i := range int64(200) {
		beats = append(beats, [4]int64{i, i * 10, 1000 + i*10 + i%7, 1000 + i*10 + i%9})
	}
	want, err := Run(read(t, csv(beats...)), published.Chen(2*time.Millisecond, 0, 0), Options{Period: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(beats), func(i, j int) { beats[i], beats[j] = beats[j], beats[i] })
	got, err := Run(read(t, csv(beats...)), published.Chen(2*time.Millisecond, 0, 0), Options{Period: 10 * time.Millisecond})
	if err != nil || *got != *want || want.Mistakes == 0 {
		t.Errorf("shuffled %+v, %v; in order %+v", got, err, want)
	}
	stale := append(beats, [4]int64{3, 30, 2500, 2500}, [4]int64{3, 30, 2600, 2600})
	got, err = Run(read(t, csv(stale...)), published.Chen(2*time.Millisecond, 0, 0), Options{Period: 10 * time.Millisecond})
	if err != nil || got.Mistakes != want.Mistakes || got.Heartbeats != want.Heartbeats {
		t.Errorf("with stale heartbeats %+v, %v; without %+v", got, err, want)
	}
}

// Each heartbeat is either judged, in the warm-up, or stale. After a restart of the sequence,
// heartbeats are stale up to the old sequence. If the receiver's clock is set back, those that
// arrived before are.
func TestStaleIsCounted(t *testing.T) {
	const n = 1000
	made := func(change func(i int64, b *recording.Beat)) (trace []recording.Beat) {
		for i := range int64(n) {
			b := recording.Beat{Sequence: uint64(i), Send: i * 10 * ms, NIC: 7_200_000*ms + i*10*ms, Period: 10 * ms}
			change(i, &b)
			b.App = b.NIC
			trace = append(trace, b)
		}
		return trace
	}
	for _, test := range []struct {
		name   string
		stale  int
		change func(i int64, b *recording.Beat)
	}{
		{"nothing", 0, func(int64, *recording.Beat) {}},
		{"a restart", 500, func(i int64, b *recording.Beat) { b.Sequence %= 500 }},
		{"a restart after a reboot", 500, func(i int64, b *recording.Beat) { b.Sequence %= 500; b.Send %= 5000 * ms }},
		{"a receiver's clock an hour back", 600, func(i int64, b *recording.Beat) {
			if i >= 600 {
				b.NIC -= 3_600_000 * ms
			}
		}},
		{"a receiver's clock an hour forward", 0, func(i int64, b *recording.Beat) {
			if i >= 600 {
				b.NIC += 3_600_000 * ms
			}
		}},
		{"every tenth twice", 100, func(i int64, b *recording.Beat) {
			b.Sequence = uint64(i - i%10/9)
			b.Send = int64(b.Sequence) * 10 * ms
		}},
		{"every tenth reordered", 100, func(i int64, b *recording.Beat) {
			if i%10 == 5 {
				b.NIC += 15 * ms
			}
		}},
	} {
		r, err := Run(made(test.change), published.Fixed(0, 0), Options{Warmup: 30})
		if err != nil || r.Stale != test.stale || r.Heartbeats+r.Stale+30+1 != n {
			t.Errorf("%s: %+v, %v, want %d stale", test.name, r, err, test.stale)
		}
	}
}

// Without a judged heartbeat, or without time, the result is an error.
func TestNothingToJudge(t *testing.T) {
	instant := []recording.Beat{{Sequence: 0, NIC: 5}, {Sequence: 1, Send: 10 * ms, NIC: 5}, {Sequence: 2, Send: 20 * ms, NIC: 5}}
	anew := jittery(20)
	for i := range anew[1:] {
		anew[i+1].Sequence = 0
	}
	for _, test := range []struct {
		trace  []recording.Beat
		warmup int
		want   string
	}{
		{jittery(20), 19, "none of 20 heartbeats is left after the warm-up"},
		{jittery(20), 300, "none of 20 heartbeats is left after the warm-up"},
		{anew, 0, "none of 20 heartbeats is left after the warm-up, 19 have a sequence not above all before them"},
		{instant, 0, "all 2 heartbeats after the warm-up arrived at the instant at which it ended"},
	} {
		r, err := Run(test.trace, published.Fixed(0, 0), Options{Warmup: test.warmup})
		if r != nil || !errors.Is(err, ErrUnjudged) || !strings.HasSuffix(err.Error(), ": "+test.want) {
			t.Errorf("%s: %+v, %v", test.want, r, err)
		}
	}
	if r, err := Run(jittery(20), published.Fixed(0, 0), Options{Warmup: 18}); err != nil || r.Heartbeats != 1 || r.Observed <= 0 {
		t.Errorf("one is left: %+v, %v", r, err)
	}
}

// All faults of options are reported at once.
func TestOptionsAreValidated(t *testing.T) {
	trace := jittery(100)
	for _, good := range []Options{{}, {ReadTimes: true, Period: time.Microsecond, Warmup: 98}, {Period: time.Hour}} {
		if _, err := Run(trace, published.Fixed(0, 0), good); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	bad := Options{Period: -1, Warmup: -5}
	_, err := Run(trace, published.Fixed(0, 0), bad)
	for _, want := range []string{"Options.Period -1ns", "Options.Warmup -5"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", bad, err, want)
		}
	}
	for _, bad := range []Options{{Period: -1}, {Warmup: -1}, {Period: time.Hour + 1}, {Period: 999}} {
		if r, err := Run(trace, published.Fixed(0, 0), bad); err == nil || r != nil {
			t.Errorf("%+v: %+v, %v", bad, r, err)
		}
	}
}

// FuzzReplayCSV: every detector can replay what Read accepts, and no measure overflows.
func FuzzReplayCSV(f *testing.F) {
	f.Add(csv([4]int64{0, 0, 5, 5}, [4]int64{1, 10, 15, 15}, [4]int64{4, 40, 45, 45}))
	f.Add(header + "\n1,-5,2000000000000000000,4\n2,7,-2000000000000000000,8\n")
	f.Fuzz(func(t *testing.T, text string) {
		rec, err := recording.Read(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, d := range all() {
			r, err := Run(rec.Streams[0].Beats, d, Options{Period: 10 * time.Millisecond})
			if errors.Is(err, ErrUnjudged) {
				continue
			}
			if err != nil || r.Observed <= 0 || r.MistakeMean < 0 || r.Accuracy > 1 || r.Accuracy < 0 {
				t.Fatalf("%s: %+v, %v", d.Name(), r, err)
			}
		}
	})
}

// BenchmarkReplay measures a million heartbeats through each detector.
func BenchmarkReplay(b *testing.B) {
	const n = 1_000_000
	perHeartbeat := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/heartbeat")
	}
	trace := jittery(n)
	for _, d := range all() {
		b.Run(d.Name(), func(b *testing.B) {
			for b.Loop() {
				if _, err := Run(trace, d, Options{Period: 100 * time.Millisecond}); err != nil {
					b.Fatal(err)
				}
			}
			perHeartbeat(b)
		})
	}
}

// The period follows from the sends, or the recording is refused.
func TestPeriod(t *testing.T) {
	if _, err := Run(read(t, csv([4]int64{1, 5, 6, 6}, [4]int64{2, 5, 7, 7})), published.Fixed(0, 0), Options{}); !errors.Is(err, errPeriod) {
		t.Errorf("a recording without a period: %v", err)
	}
}
