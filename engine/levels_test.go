package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
)

// All faults are reported at once, each by its field.
func TestLevelsValidate(t *testing.T) {
	good := Levels{List: []Level{{Name: "a", Raise: 1, Clear: 0.5, Stay: time.Second}, {Name: "b", Raise: 8}}, Parallel: 4}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	bad := Levels{Parallel: -1, List: []Level{
		{Raise: 1, Clear: 2},
		{Name: "b", Raise: 1, Clear: math.NaN(), Stay: -1},
		{Name: "b", Raise: math.Inf(1)},
		{Name: "d", Raise: math.NaN(), Stay: maxStay + 1},
		{Name: "e", Raise: 9, Clear: 8},
		{Name: "f", Raise: 10, Clear: 7},
	}}
	want := strings.Fields("Parallel List[0].Name List[0].Clear List[1].Raise List[1].Clear List[1].Stay " +
		"List[2].Name List[2].Raise List[3].Raise List[3].Stay List[5].Clear")
	var got []string
	for _, err := range bad.Validate().(interface{ Unwrap() []error }).Unwrap() {
		var f *FieldError
		if !errors.As(err, &f) {
			t.Fatalf("%v is no *FieldError", err)
		}
		got = append(got, f.Field)
	}
	// What follows a Raise that is no number is judged against it.
	got = deleteAll(got, "List[4].Raise", "List[3].Clear", "List[4].Clear")
	if !reflect.DeepEqual(got, want) {
		t.Errorf("faults in %q, want %q\n%v", got, want, bad.Validate())
	}
	if err := (&Levels{}).Validate(); err == nil {
		t.Error("no levels are valid")
	}
	if err := (&Levels{List: make([]Level, maxLevels+1)}).Validate(); err == nil {
		t.Error("too many levels are valid")
	}
}

// deleteAll returns list without some values.
func deleteAll(list []string, values ...string) (kept []string) {
	for _, s := range list {
		if !strings.Contains(" "+strings.Join(values, " ")+" ", " "+s+" ") {
			kept = append(kept, s)
		}
	}
	return kept
}

func TestMistakeLevel(t *testing.T) {
	// Of facts about detectors: 30 days at 100 ms.
	if got := MistakeLevel(30*24*time.Hour, 100*time.Millisecond); math.Abs(got-7.4137) > 1e-3 {
		t.Errorf("φ of one mistake in 30 days at 100 ms is %v", got)
	}
	for _, d := range []time.Duration{0, -time.Second, time.Second} {
		if got := MistakeLevel(time.Second, d); got != 0 {
			t.Errorf("period %v: %v", d, got)
		}
	}
	// It is what the detector that promises makes of its promise.
	d := &detect.Margin{MistakeEvery: time.Hour, Period: 10 * time.Millisecond}
	suspect, _ := d.Levels()
	if got := MistakeLevel(time.Hour, 10*time.Millisecond); math.Abs(got-suspect) > 1e-9 {
		t.Errorf("φ %v, the detector's level %v", got, suspect)
	}
}

// at is a summary of a heard peer whose suspicion is φ at an instant.
func at(now clock.Instant, state State, φ float64) *Summary {
	unit := time.Second
	arrival := now.Add(-time.Duration(φ * float64(unit)))
	return &Summary{
		Incarnation: 1, State: state, ReadTo: now, Arrival: arrival, SuspectLevel: 100, FailLevel: 200,
		Words: []uint64{uint64(arrival), uint64(unit)},
	}
}

// The ledger of hysteresis and minimum stay: suspicion by the second, and the level after it.
func TestHysteresisLedger(t *testing.T) {
	l := Levels{List: []Level{
		{Name: "one", Raise: 1, Clear: 0.5},
		{Name: "three", Raise: 3, Clear: 2, Stay: 5 * time.Second},
		{Name: "eight", Raise: 8},
	}}
	for _, test := range []struct {
		what   string
		ledger string // suspicion:level, a second apart
	}{
		{"raised at its threshold, cleared at its other", "0.9:0 1:1 0.9:1 0.6:1 0.5:0 0.9:0"},
		{"below Raise when Clear is not given", "8:3 7.9:2"},
		{"exactly at Raise without Clear it stays", "8:3 8:3"},
		{"over several at once, both ways", "9:3 9:3 9:3 9:3 9:3 0:0"},
		{"the stay holds the level it is of", "3:2 0:2 0:2 0:2 0:2 0:0"},
		{"and what lies above it falls to it", "8:3 0:2 0:2 0:2 0:2 0:0"},
		{"a stay counts from the last rise", "3:2 3:2 3:2 8:3 0:2 0:2 0:2 0:2 0:0"},
		{"a stay does not keep from rising", "3:2 0:2 9:3"},
		{"when the stay is over hysteresis still holds", "3:2 2.1:2 2.1:2 2.1:2 2.1:2 2.1:2 2.1:2 2:1 0.6:1 0.4:0"},
	} {
		var st Standing
		now := clock.Instant(time.Hour)
		for i, entry := range strings.Fields(test.ledger) {
			var φ float64
			var want int
			if _, err := fmt.Sscanf(entry, "%g:%d", &φ, &want); err != nil {
				t.Fatal(err)
			}
			l.Judge(&detect.Fixed{}, at(now, Alive, φ), now, &st)
			if st.Level != want {
				t.Fatalf("%s: level %d after entry %d of %q", test.what, st.Level, i, test.ledger)
			}
			now = now.Add(time.Second)
		}
	}
}

// Judge says when time alone can change a standing: not a nanosecond sooner or later.
func TestJudgeNamesTheInstant(t *testing.T) {
	l := Levels{List: []Level{{Name: "one", Raise: 1, Clear: 0.5, Stay: 10 * time.Second}, {Name: "two", Raise: 2}}}
	d := &detect.Fixed{}
	start := clock.Instant(time.Hour)
	s := at(start, Alive, 0)
	for _, paused := range []time.Duration{0, 700 * time.Millisecond} {
		var st Standing
		s.Paused = paused
		for want := range 2 {
			next := l.Judge(d, s, s.ReadTo, &st)
			if expected := start.Add(paused + time.Duration(want+1)*time.Second); next != expected {
				t.Fatalf("paused %v: next %v, want %v", paused, next, expected)
			}
			s.ReadTo = next - 1
			if l.Judge(d, s, s.ReadTo, &st); st.Level != want {
				t.Fatalf("paused %v: level %d a moment before", paused, st.Level)
			}
			s.ReadTo = next
			if l.Judge(d, s, next, &st); st.Level != want+1 {
				t.Fatalf("paused %v: level %d at the instant named", paused, st.Level)
			}
		}
		s.ReadTo = start
	}
	// Heard again: the stay of the first level ends 10 s after the rise to the second.
	st := Standing{Level: 1, Raised: start, Incarnation: 1}
	if next := l.Judge(d, at(start+1, Alive, 0), start+1, &st); next != start.Add(2*time.Second)+1 {
		t.Errorf("next %v: the second level is due before the stay ends", next)
	}
	now := start.Add(9500 * time.Millisecond)
	if next := l.Judge(d, at(now, Alive, 0), now, &st); next != start.Add(10*time.Second) || st.Level != 1 {
		t.Errorf("next %v, level %d: the stay ends", next, st.Level)
	}
}

// What the loop has decided goes before what the threshold says.
func TestStatesBoundLevels(t *testing.T) {
	// Suspect at 100, failed at 200.
	l := Levels{List: []Level{{Name: "low", Raise: 50}, {Name: "suspect", Raise: 100}, {Name: "more", Raise: 150}, {Name: "failed", Raise: 200}}}
	now := clock.Instant(time.Hour)
	for _, test := range []struct {
		what  string
		state State
		cause Cause
		φ     float64
		want  int
	}{
		{"silence alone does not make a peer suspect", Alive, ReachableAgain, 1000, 1},
		{"nor one that does not hear us", OneWay, Deaf, 1000, 1},
		{"a refused port suspects at once", Suspect, PortUnreachable, 0, 2},
		{"a suspect's silence goes on", Suspect, Silence, 160, 3},
		{"but does not make it failed", Suspect, Silence, 1000, 3},
		{"a link of ours that is down is not judged further", Suspect, LocalLink, 1000, 2},
		{"a failed peer is at the top", Failed, PortUnreachable, 0, 4},
		{"one that left is at none", Left, Goodbye, 1000, 0},
		{"nor is one that was removed", Removed, ByCaller, 1000, 0},
		{"nor one that was never heard", Connecting, Added, 0, 0},
	} {
		s := at(now, test.state, test.φ)
		s.Cause = test.cause
		var st Standing
		l.Judge(&detect.Fixed{}, s, now, &st)
		if st.Level != test.want {
			t.Errorf("%s: level %d, want %d", test.what, st.Level, test.want)
		}
	}
}

// A new incarnation begins at no level, and grace lets none rise but by a verdict.
func TestNewLifeAndGrace(t *testing.T) {
	l := Levels{List: []Level{{Name: "one", Raise: 1, Stay: time.Hour}, {Name: "suspect", Raise: 100}}}
	d := &detect.Fixed{}
	now := clock.Instant(time.Hour)
	var st Standing
	l.Judge(d, at(now, Alive, 5), now, &st)
	if st.Level != 1 {
		t.Fatalf("level %d", st.Level)
	}
	s := at(now+1, Alive, 0)
	s.Incarnation = 2
	if l.Judge(d, s, now+1, &st); st.Level != 0 {
		t.Errorf("level %d of a new life, in spite of the old one's stay", st.Level)
	}
	s = at(now, Alive, 5)
	s.Grace = now.Add(time.Second)
	st = Standing{}
	if next := l.Judge(d, s, now, &st); st.Level != 0 || next != s.Grace {
		t.Errorf("level %d in the time of grace, next %v, which ends at %v", st.Level, next, s.Grace)
	}
	s.State = Suspect
	if l.Judge(d, s, now, &st); st.Level != 2 {
		t.Errorf("level %d of a suspect in the time of grace", st.Level)
	}
}

// A summary that went through JSON is interpreted elsewhere as it is here.
func TestCentralInterpreterAgrees(t *testing.T) {
	l := Levels{List: []Level{{Name: "half", Raise: 0.5, Clear: 0.1}, {Name: "suspect", Raise: 1}, {Name: "more", Raise: 2, Stay: 50 * time.Millisecond}}}
	for _, d := range []detect.Detector{&detect.Fixed{Multiplier: 5}, &detect.Chen{}, &detect.Margin{}, &detect.TwoWindow{}} {
		w, a, _, p := pair(t, Config{Detector: d, Period: 10 * time.Millisecond})
		elsewhere := reflect.New(reflect.TypeOf(d).Elem()).Interface().(detect.Detector)
		if f, ok := d.(*detect.Fixed); ok {
			*elsewhere.(*detect.Fixed) = *f
		}
		var here, there Standing
		changes := 0
		for i := range 3000 {
			cut(w, i > 500 && i < 600 || i > 1500)
			w.run(time.Millisecond)
			s := p.Summary()
			text, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			var came Summary
			if err := json.Unmarshal(text, &came); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(came, s) {
				t.Fatalf("%s: %+v came as %+v", d.Name(), s, came)
			}
			before := here
			if next, other := l.Judge(a.cfg.Detector, &s, s.ReadTo, &here), l.Judge(elsewhere, &came, came.ReadTo, &there); next != other || here != there {
				t.Fatalf("%s: here %+v until %v, there %+v until %v", d.Name(), here, next, there, other)
			}
			if here.Level != before.Level {
				changes++
			}
		}
		if changes < 3 || here.Level != 3 {
			t.Errorf("%s: %d changes, at last level %d of a peer %v", d.Name(), changes, here.Level, p.State())
		}
	}
}

// A late Step is taken for a stall of the node, once, and not for longer than it lasted.
func TestLateness(t *testing.T) {
	const second, threshold = clock.Instant(time.Second), 10 * time.Millisecond
	var l lateness
	for _, test := range []struct{ due, now clock.Instant }{
		{0, 5 * second}, {clock.Never, 5 * second}, {5 * second, 5*second + 1}, {5 * second, 4 * second},
		{5 * second, 5*second + clock.Instant(threshold)},
	} {
		if l.note(test.due, test.now, threshold); l != (lateness{}) {
			t.Fatalf("due %v, at %v: %+v", test.due, test.now, l)
		}
	}
	l.note(10*second, 12*second, threshold)
	for _, test := range []struct {
		arrival clock.Instant
		shift   time.Duration
	}{{9 * second, 2 * time.Second}, {10*second + second/2, 1500 * time.Millisecond}, {12 * second, 0}, {13 * second, 0}} {
		if got := l.shift(test.arrival); got != test.shift {
			t.Errorf("heard at %v: %v later, want %v", test.arrival, got, test.shift)
		}
	}
	l.note(12*second+1, 13*second, threshold) // thrashing: nothing was done in between
	if got := l.shift(9 * second); got < 2900*time.Millisecond || got > 3*time.Second {
		t.Errorf("two stalls on end make %v", got)
	}
	l.note(20*second, 21*second, threshold)
	if got := l.shift(9 * second); got != time.Second {
		t.Errorf("a stall long after the others makes %v", got)
	}
}
