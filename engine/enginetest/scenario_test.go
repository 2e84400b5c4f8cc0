package enginetest_test

import (
	"strings"
	"testing"
	"time"

	"systole/engine/enginetest"
)

// Every fault of a file is reported at once, by its path.
func TestScenarioFaults(t *testing.T) {
	for text, want := range map[string][]string{
		`{"duration": "5 s", "nodes": [{"nam": "a"}], "link": {"loss": "much"}}`: {"duration", "nodes[0].nam", "link.loss"},
		`{"duration": "5s", "nodes": [{"name": "a", "watch": ["b", "a"], "detector": "tea", "drift": 900, "period": "1ns", "read_time": "1s"}, {"name": "a"}],
		  "link": {"loss": 2, "delay": {"kind": "normal", "share": -1}}, "links": [{"from": "a", "to": "x"}],
		  "faults": [{"kind": "storm", "host": "a"}, {"kind": "stop", "host": "a"}, {"kind": "cut", "host": "a", "to": "z"},
		             {"kind": "partition", "hosts": ["q"]}, {"kind": "drift", "host": "a", "ppm": -501},
		             {"kind": "flood", "host": "a"}, {"kind": "flood", "host": "a", "count": 100001}]}`: {
			"nodes[0].watch", "nodes[0].detector", "nodes[0].drift", "nodes[0].read_time", "Period", "nodes[1].name", "link.loss", "link.delay.kind", "link.delay.share",
			"links[0].to", "faults[0].kind", "faults[1].for", "faults[2].to", "faults[3].hosts", "faults[4].ppm", "faults[5].count", "faults[6].count",
		},
		`{"duration": "5s", "seed": 1, "seed": 2, "nodes": [{"name": "a", "name": "b"}], "faults": [{"kind": "crash", "host": "a", "at": "6s"}]}`: {
			"seed: is there twice", "nodes[0].name: is there twice",
		},
		`{"duration": "5s", "nodes": [{"name": "a"}], "faults": [{"kind": "crash", "host": "a", "at": "6s"}]}`: {"faults[0].at: 6s is after the end"},
		`{}`: {"duration"}, `{"duration": "5s"} x`: {"invalid"}, `[]`: {"object"}, ``: {"JSON"},
		`{"duration": "5s", "nodes": {}}`: {"nodes: want a list"},
	} {
		_, err := enginetest.ParseScenario([]byte(text))
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: nothing about %s in: %v", text, w, err)
			}
		}
	}
}

// A process that is found out is found out within what its watcher granted; the figures of a
// world are those of the calm link that it is.
func TestScenarioFigures(t *testing.T) {
	s := &enginetest.Scenario{
		Seed: 1, Duration: 10 * time.Second,
		Nodes: []enginetest.Node{
			{Name: "a", Watch: []string{"b"}, Detector: "fixed", Period: 20 * time.Millisecond},
			{Name: "b", Watch: []string{"a"}, Detector: "fixed", Period: 20 * time.Millisecond},
		},
		Faults: []enginetest.Fault{{Kind: enginetest.Crash, At: 5 * time.Second, Host: "b"}},
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	r := s.Run()
	// Seven detection times of three periods, from the last heartbeat on.
	if f := r.Figures; f.Detected != 1 || f.Worst < 400*time.Millisecond || f.Worst > 421*time.Millisecond || f.Mistakes != 0 ||
		f.Accepted < 490 || len(r.Violations) != 0 {
		t.Errorf("%+v, %v", f, r.Violations)
	}
}

// A node that unwatches another one and watches it again is watched again by it: twice on
// links that lose and reorder, and a crash after that is found out.
func TestUnwatchIsTakenBack(t *testing.T) {
	for seed := range uint64(20) {
		s := &enginetest.Scenario{
			Seed: seed, Duration: 15 * time.Second, Calm: 4 * time.Second,
			Link: enginetest.Link{Loss: 0.05, Reorder: 0.2, ReorderBy: 30 * time.Millisecond},
			Nodes: []enginetest.Node{
				{Name: "a", Watch: []string{"b"}, Detector: "fixed:9", Period: 20 * time.Millisecond},
				{Name: "b", Watch: []string{"a"}, Detector: "fixed:9", Period: 20 * time.Millisecond, Resurrect: true},
			},
			Faults: []enginetest.Fault{
				{Kind: enginetest.Unwatch, At: time.Second, For: time.Millisecond, Host: "a", To: "b"},
				{Kind: enginetest.Unwatch, At: 5 * time.Second, For: 2 * time.Second, Host: "a", To: "b"},
				{Kind: enginetest.Crash, At: 13 * time.Second, Host: "a"},
			},
		}
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		if r := s.Run(); len(r.Violations) > 0 || r.Detected != 1 {
			t.Errorf("seed %d: %+v, %v", seed, r.Figures, r.Violations)
		}
	}
}

// A promise is kept: on links that were assumed, a crash is suspected within what was promised,
// counted from the crash on, plus what the last heartbeat took.
func TestPromiseIsKeptInTheWorld(t *testing.T) {
	const within = 150 * time.Millisecond
	for seed := range uint64(40) {
		node := func(name, other string) enginetest.Node {
			return enginetest.Node{Name: name, Watch: []string{other}, DetectWithin: within, MistakeEvery: 24 * time.Hour}
		}
		s := &enginetest.Scenario{
			Seed: seed, Duration: 21 * time.Second, Nodes: []enginetest.Node{node("a", "b"), node("b", "a")},
			Link: enginetest.Link{Delay: enginetest.Distribution{
				Kind: enginetest.LogNormal, Base: 200 * time.Microsecond, Spread: 50 * time.Microsecond, Most: time.Millisecond,
			}},
			Faults: []enginetest.Fault{{Kind: enginetest.Crash, At: 20*time.Second + time.Duration(seed)*time.Millisecond, Host: "b"}},
		}
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		r := s.Run()
		suspected := suspectedAt(r, "a") - s.Faults[0].At
		if suspected <= 0 || suspected > within+2*time.Millisecond || len(r.Violations) > 0 {
			t.Errorf("seed %d: suspected %v after the crash, %v promised; %v", seed, suspected, within, r.Violations)
		}
	}
}
