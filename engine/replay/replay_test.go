package replay

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"systole/engine/detect"
)

const ms = int64(time.Millisecond)

// csv writes a recording of beats given as sequence, send, nic, app in milliseconds.
func csv(beats ...[4]int64) string {
	var b strings.Builder
	b.WriteString(Header + "\n")
	for _, x := range beats {
		fmt.Fprintf(&b, "%d,%d,%d,%d\n", x[0], x[1]*ms, x[2]*ms, x[3]*ms)
	}
	return b.String()
}

// read parses a recording that must be good.
func read(t *testing.T, text string) Trace {
	t.Helper()
	trace, err := ReadCSV(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return trace
}

// A ledger by hand: period 10 ms, fixed × 3, path 5 ms, clocks 1000 ms apart. Three
// heartbeats are lost before the sixth, and the eighth is read 40 ms late.
func TestLedger(t *testing.T) {
	trace := read(t, csv(
		[4]int64{0, 0, 1005, 1005}, [4]int64{1, 10, 1015, 1015}, [4]int64{2, 20, 1025, 1026},
		[4]int64{6, 60, 1065, 1065}, [4]int64{7, 70, 1075, 1075}, [4]int64{8, 80, 1085, 1125}, [4]int64{9, 90, 1095, 1126}))
	for _, test := range []struct {
		stamps   Stamps
		mistakes int
		duration time.Duration
		observed time.Duration
	}{
		{NIC, 1, 10 * time.Millisecond, 90 * time.Millisecond},            // from 1055 to 1065
		{App, 2, (9 + 20) * time.Millisecond / 2, 121 * time.Millisecond}, // from 1056, and from 1105 to 1125
	} {
		r, err := Run(trace, &detect.Fixed{}, Options{Stamps: test.stamps})
		if err != nil {
			t.Fatal(err)
		}
		if r.Mistakes != test.mistakes || r.MistakeMean != test.duration || r.Observed != test.observed {
			t.Errorf("stamps %d: %+v, want %+v", test.stamps, r, test)
		}
		if want := 1 - float64(r.Mistakes)*float64(r.MistakeMean)/float64(r.Observed); r.Accuracy != want {
			t.Errorf("stamps %d: accuracy %v, want %v", test.stamps, r.Accuracy, want)
		}
	}
	// Without the path's 5 ms and the clocks' difference, three periods from send to suspicion.
	r, err := Run(trace, &detect.Fixed{}, Options{Period: 10 * time.Millisecond})
	if err != nil || r.DetectionMean != 30*time.Millisecond || r.DetectionP99 != 30*time.Millisecond || r.Heartbeats != 6 {
		t.Errorf("%+v, %v", r, err)
	}
	if r, _ := Run(trace, &detect.Fixed{}, Options{Warmup: 4}); r.Mistakes != 0 || r.Heartbeats != 2 || r.Observed != 20*time.Millisecond {
		t.Errorf("with four heartbeats to learn: %+v", r)
	}
}

// Lines in any order, and heartbeats that were overtaken, change nothing.
func TestOrderOfLines(t *testing.T) {
	var beats [][4]int64
	for i := range int64(200) {
		beats = append(beats, [4]int64{i, i * 10, 1000 + i*10 + i%7, 1000 + i*10 + i%9})
	}
	want, err := Run(read(t, csv(beats...)), &detect.Chen{Alpha: 2 * time.Millisecond}, Options{Period: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(beats), func(i, j int) { beats[i], beats[j] = beats[j], beats[i] })
	got, err := Run(read(t, csv(beats...)), &detect.Chen{Alpha: 2 * time.Millisecond}, Options{Period: 10 * time.Millisecond})
	if err != nil || *got != *want || want.Mistakes == 0 {
		t.Errorf("shuffled %+v, %v; in order %+v", got, err, want)
	}
	stale := append(beats, [4]int64{3, 30, 2500, 2500}, [4]int64{3, 30, 2600, 2600})
	got, err = Run(read(t, csv(stale...)), &detect.Chen{Alpha: 2 * time.Millisecond}, Options{Period: 10 * time.Millisecond})
	if err != nil || got.Mistakes != want.Mistakes || got.Heartbeats != want.Heartbeats {
		t.Errorf("with stale heartbeats %+v, %v; without %+v", got, err, want)
	}
}

func TestPeriodIsReadOff(t *testing.T) {
	trace := read(t, csv([4]int64{5, 0, 1, 1}, [4]int64{6, 21, 22, 22}, [4]int64{9, 80, 81, 81}, [4]int64{10, 100, 101, 101}))
	if got := trace.Period(); got != 20*time.Millisecond {
		t.Errorf("period %v", got)
	}
	if _, err := Run(read(t, csv([4]int64{1, 5, 6, 6}, [4]int64{2, 5, 7, 7})), &detect.Fixed{}, Options{}); !errors.Is(err, ErrPeriod) {
		t.Errorf("a recording without a period: %v", err)
	}
}

func TestReadCSVRefuses(t *testing.T) {
	for text, line := range map[string]int{
		"":                            0,
		Header + "\n":                 0,
		Header + "\n1,2,3,4\n":        0,
		"seq\n1\n":                    1,
		Header + "\n1,2,3,4\n1,2,3\n": 3,
		Header + "\n1,2,3,4,5\n":      2,
		Header + "\n-1,2,3,4\n":       2,
		Header + "\n1,2.5,3,4\n":      2,
		Header + "\n1,9e18,3,4\n":     2,
		Header + "\n1,9000000000000000000,3,4\n1,2,3,4\n": 2,
	} {
		_, err := ReadCSV(strings.NewReader(text))
		var f *FormatError
		switch {
		case line == 0 && !errors.Is(err, ErrEmpty) && !errors.As(err, &f):
			t.Errorf("%q: %v", text, err)
		case line > 0 && (!errors.As(err, &f) || f.Line != line):
			t.Errorf("%q: %v, want a fault in line %d", text, err, line)
		}
	}
}

// FuzzReadCSV: whatever is read can be replayed by every detector, and nothing overflows
// into a negative time.
func FuzzReadCSV(f *testing.F) {
	f.Add(csv([4]int64{0, 0, 5, 5}, [4]int64{1, 10, 15, 15}, [4]int64{4, 40, 45, 45}))
	f.Add(Header + "\n1,-5,2000000000000000000,4\n2,7,-2000000000000000000,8\n")
	f.Fuzz(func(t *testing.T, text string) {
		trace, err := ReadCSV(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, d := range []detect.Detector{&detect.Fixed{}, &detect.Chen{}, &detect.Oz{}, &detect.PhiNormal{}, &detect.Margin{}} {
			r, err := Run(trace, d, Options{Period: 10 * time.Millisecond})
			if err != nil || r.Observed <= 0 || r.MistakeMean < 0 || r.Accuracy > 1 {
				t.Fatalf("%s: %+v, %v", d.Name(), r, err)
			}
		}
	})
}

// BenchmarkReplay is a million heartbeats through a detector.
func BenchmarkReplay(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	var trace Trace
	for s := range int64(1_000_000) {
		at := s*100*ms + int64(r.ExpFloat64()*float64(ms))
		trace = append(trace, Beat{uint64(s), s * 100 * ms, at, at})
	}
	for _, d := range []detect.Detector{&detect.Fixed{}, &detect.Chen{}, &detect.PhiNormal{}, &detect.Margin{}} {
		b.Run(d.Name(), func(b *testing.B) {
			for b.Loop() {
				if _, err := Run(trace, d, Options{Period: 100 * time.Millisecond}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
