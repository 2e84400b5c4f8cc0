package level

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"systole/engine"
	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/detect/published"
)

// at is a summary of a heard peer whose suspicion is φ at an instant.
func at(now clock.Instant, state engine.State, φ float64) *engine.Summary {
	unit := time.Second
	arrival := now.Add(-time.Duration(φ * float64(unit)))
	return &engine.Summary{
		Incarnation: 1, State: state, ReadTo: now, Arrival: arrival, SuspectLevel: 100, FailLevel: 200,
		Words: [16]uint64{uint64(arrival), uint64(unit)},
	}
}

// The ledger of hysteresis and minimum stay: suspicion by the second, and the level after it.
func TestHysteresisLedger(t *testing.T) {
	l := List{
		{Name: "one", Raise: 1, Clear: 0.5},
		{Name: "three", Raise: 3, Clear: 2, Stay: 5 * time.Second},
		{Name: "eight", Raise: 8},
	}
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
		var st State
		now := clock.Instant(time.Hour)
		for i, entry := range strings.Fields(test.ledger) {
			var φ float64
			var want int
			if _, err := fmt.Sscanf(entry, "%g:%d", &φ, &want); err != nil {
				t.Fatal(err)
			}
			l.Judge(published.Fixed(0, 0), at(now, engine.Alive, φ), now, &st)
			if st.Level != want {
				t.Fatalf("%s: level %d after entry %d of %q", test.what, st.Level, i, test.ledger)
			}
			now = now.Add(time.Second)
		}
	}
}

// Judge says when time alone can change a level: not a nanosecond sooner or later.
func TestJudgeNamesTheInstant(t *testing.T) {
	l := List{{Name: "one", Raise: 1, Clear: 0.5, Stay: 10 * time.Second}, {Name: "two", Raise: 2}}
	d := published.Fixed(0, 0)
	start := clock.Instant(time.Hour)
	s := at(start, engine.Alive, 0)
	for _, paused := range []time.Duration{0, 700 * time.Millisecond} {
		var st State
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
	st := State{Level: 1, Raised: start, Incarnation: 1}
	if next := l.Judge(d, at(start+1, engine.Alive, 0), start+1, &st); next != start.Add(2*time.Second)+1 {
		t.Errorf("next %v: the second level is due before the stay ends", next)
	}
	now := start.Add(9500 * time.Millisecond)
	if next := l.Judge(d, at(now, engine.Alive, 0), now, &st); next != start.Add(10*time.Second) || st.Level != 1 {
		t.Errorf("next %v, level %d: the stay ends", next, st.Level)
	}
}

// What the loop has decided goes before what the threshold says.
func TestStatesBoundLevels(t *testing.T) {
	// Suspect at 100, failed at 200.
	l := List{{Name: "low", Raise: 50}, {Name: "suspect", Raise: 100}, {Name: "more", Raise: 150}, {Name: "failed", Raise: 200}}
	now := clock.Instant(time.Hour)
	for _, test := range []struct {
		what  string
		state engine.State
		cause engine.Cause
		φ     float64
		want  int
	}{
		{"silence alone does not make a peer suspect", engine.Alive, engine.ReachableAgain, 1000, 1},
		{"nor one that does not hear us", engine.OneWay, engine.Deaf, 1000, 1},
		{"a refused port suspects at once", engine.Suspect, engine.PortUnreachable, 0, 2},
		{"a suspect's silence goes on", engine.Suspect, engine.Silence, 160, 3},
		{"but does not make it failed", engine.Suspect, engine.Silence, 1000, 3},
		{"a link of ours that is down is not judged further", engine.Suspect, engine.LocalLink, 1000, 2},
		{"a failed peer is at the top", engine.Failed, engine.PortUnreachable, 0, 4},
		{"one that left is at none", engine.Left, engine.Goodbye, 1000, 0},
		{"nor is one that was removed", engine.Removed, engine.ByCaller, 1000, 0},
		{"nor one that was never heard", engine.Connecting, engine.Added, 0, 0},
	} {
		s := at(now, test.state, test.φ)
		s.Cause = test.cause
		var st State
		l.Judge(published.Fixed(0, 0), s, now, &st)
		if st.Level != test.want {
			t.Errorf("%s: level %d, want %d", test.what, st.Level, test.want)
		}
	}
}

// A new incarnation begins at no level, and grace lets none rise but by a verdict.
func TestNewLifeAndGrace(t *testing.T) {
	l := List{{Name: "one", Raise: 1, Stay: time.Hour}, {Name: "suspect", Raise: 100}}
	d := published.Fixed(0, 0)
	now := clock.Instant(time.Hour)
	var st State
	l.Judge(d, at(now, engine.Alive, 5), now, &st)
	if st.Level != 1 {
		t.Fatalf("level %d", st.Level)
	}
	s := at(now+1, engine.Alive, 0)
	s.Incarnation = 2
	if l.Judge(d, s, now+1, &st); st.Level != 0 {
		t.Errorf("level %d of a new life, in spite of the old one's stay", st.Level)
	}
	s = at(now, engine.Alive, 5)
	s.Grace = now.Add(time.Second)
	st = State{}
	if next := l.Judge(d, s, now, &st); st.Level != 0 || next != s.Grace {
		t.Errorf("level %d in the time of grace, next %v, which ends at %v", st.Level, next, s.Grace)
	}
	s.State = engine.Suspect
	if l.Judge(d, s, now, &st); st.Level != 2 {
		t.Errorf("level %d of a suspect in the time of grace", st.Level)
	}
}

// A summary that went through JSON is interpreted elsewhere as it is here.
func TestCentralInterpreterAgrees(t *testing.T) {
	l := List{{Name: "half", Raise: 0.5, Clear: 0.1}, {Name: "suspect", Raise: 1}, {Name: "more", Raise: 2, Stay: 50 * time.Millisecond}}
	for _, made := range []func() detect.Detector{
		func() detect.Detector { return published.Fixed(5, 0) },
		func() detect.Detector { return published.Chen(0, 0, 0) },
		func() detect.Detector { return detect.Margin(detect.MarginOptions{}) },
		func() detect.Detector { return published.TwoWindow(0, 0, 0, 0) },
	} {
		d, elsewhere := made(), made()
		w := newWorld(t, engine.Config{Detector: d, Period: 10 * time.Millisecond})
		var here, there State
		changes := 0
		for i := range 3000 {
			w.cut(i > 500 && i < 600 || i > 1500)
			w.Run(time.Millisecond)
			s := w.peer.Summary()
			text, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			var came engine.Summary
			if err := json.Unmarshal(text, &came); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(came, s) {
				t.Fatalf("%s: %+v came as %+v", d.Name(), s, came)
			}
			before := here
			if next, other := l.Judge(w.watcher.Engine().Detector(), &s, s.ReadTo, &here), l.Judge(elsewhere, &came, came.ReadTo, &there); next != other || here != there {
				t.Fatalf("%s: here %+v until %v, there %+v until %v", d.Name(), here, next, there, other)
			}
			if here.Level != before.Level {
				changes++
			}
		}
		if changes < 3 || here.Level != 3 {
			t.Errorf("%s: %d changes, at last level %d of a peer %v", d.Name(), changes, here.Level, w.peer.State())
		}
	}
}
