package enginetest_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"systole/engine/enginetest"
	"systole/engine/enginetest/netmodel"
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
		`{"duration": "-5s", "nodes": [{"name": "a"}]}`: {"duration: -5s is not above 0, up to 1000h"},
		`{"duration": "5s", "nodes": [{"name": "a", "uptime": "2500000h", "start": "5s", "receive": -1, "forget": "-1s", "latency": {"base": "2h"}}],
		  "link": {"reorder_by": "2h", "queue": {"rate": 0.5, "load": 1001, "depth": "2h"}}}`: {
			"nodes[0].uptime: 2500000h is not within 0 to 87600h", "nodes[0].start: 5s is at the end or after it: duration is 5s",
			"nodes[0].receive: -1 is not within 0 to 1000000", "nodes[0].latency.base: 2h is not within 0 to 1h",
			"link.reorder_by: 2h is not within 0 to 1h", "link.queue.rate: 0.5 is neither 0 nor within 1 to 1e+12",
			"link.queue.load: 1001 is not within 0 to 1000", "link.queue.depth: 2h is not within 0 to 1h",
		},
		`{"duration": "5s", "nodes": [{"name": "a"}], "faults": [{"kind": "crash", "host": "a", "at": "6s"}]}`: {"faults[0].at: 6s is at the end or after it"},
		`{}`: {"duration: 0 is not above 0, up to 1000h"}, `[]`: {"scenario: want an object"}, ``: {"line 1, column 1: unexpected end"},
		`{"duration": "5s"} x`: {"line 1, column 20: invalid"}, "{\n \"duration\":\"1µs\",}": {"line 2, column 19: invalid character '}'"},
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

// What a scenario says is done, or it is refused: no field is ignored, and no fault does nothing.
func TestScenarioDoesWhatItSays(t *testing.T) {
	const nodes = `{"duration": "5s", "nodes": [{"name": "a", "watch": ["b"]}, {"name": "b"}, {"name": "c"}], `
	for text, want := range map[string]string{
		`"faults": [{"kind": "cut", "host": "b", "to": "b"}]`:                     "faults[0].to: \"b\" is the node itself",
		`"faults": [{"kind": "link", "host": "b", "to": "b"}]`:                    "faults[0].to: \"b\" is the node itself",
		`"faults": [{"kind": "unwatch", "host": "b", "to": "a"}]`:                 "faults[0].to: \"b\" does not watch \"a\"",
		`"faults": [{"kind": "partition"}]`:                                       "faults[0].hosts: want some of the nodes, and not all of them",
		`"faults": [{"kind": "partition", "hosts": ["a", "b", "c"]}]`:             "faults[0].hosts: want some of the nodes, and not all of them",
		`"faults": [{"kind": "partition", "hosts": ["a", "a"]}]`:                  "faults[0].hosts: \"a\" is there twice",
		`"faults": [{"kind": "partition", "hosts": ["a"], "host": "b"}]`:          "faults[0].host: partition has no use for it",
		`"faults": [{"kind": "kill", "host": "a", "to": "zzz"}]`:                  "faults[0].to: kill has no use for it",
		`"faults": [{"kind": "kill", "host": "a", "ppm": 30}]`:                    "faults[0].ppm: kill has no use for it",
		`"faults": [{"kind": "step-wall", "host": "a", "by": "1h", "for": "1s"}]`: "faults[0].for: step-wall has no use for it",
		`"faults": [{"kind": "step-wall", "host": "a", "by": "-100000h"}]`:        "faults[0].by: -100000h is not within -87600h to 87600h",
		`"faults": [{"kind": "kill", "host": "a", "at": "5s"}]`:                   "faults[0].at: 5s is at the end or after it: duration is 5s",
		`"faults": [{"kind": "kill", "host": "a", "for": "1001h"}]`:               "faults[0].for: 1001h is not within 0 to 1000h",
		`"faults": [{"kind": "unplug", "host": "a", "link": {"loss": 1}}]`:        "faults[0].link: unplug has no use for it",
		`"links": [{"from": "a", "to": "a"}]`:                                     "links[0].to: \"a\" is the node itself",
		`"links": [{"from": "a", "to": "b"}, {"from": "a", "to": "b"}]`:           "links[1]: the way from \"a\" to \"b\" is there twice",
		`"link": {"delay": {"base": "1ms", "spread": "1ms"}}`:                     "link.delay.spread: constant has no use for it",
		`"link": {"delay": {"kind": "uniform", "base": "1ms", "most": "1ms"}}`:    "link.delay.most: uniform has no use for it",
		`"link": {"delay": {"kind": "exponential", "shape": 2}}`:                  "link.delay.shape: exponential has no use for it",
	} {
		if _, err := enginetest.ParseScenario([]byte(nodes + text + "}")); err == nil || err.Error() != want {
			t.Errorf("%s: want %s, got: %v", text, want, err)
		}
	}
}

// At its bounds a scenario still does what it says: no clock overflows.
func TestScenarioAtItsBounds(t *testing.T) {
	s := parsed(t, `{"duration": "5s", "nodes": [
		{"name": "a", "watch": ["b"], "uptime": "87600h", "drift": 500, "detector": "fixed"}, {"name": "b", "watch": ["a"], "uptime": "1ns"}],
		"faults": [{"kind": "step-wall", "at": "1s", "host": "a", "by": "87600h"}, {"kind": "crash", "at": "2s", "for": "1000h", "host": "b"}]}`)
	r := s.Run()
	if at := suspectedAt(r, "a"); at <= 2*time.Second || at > 4*time.Second || len(r.Violations) > 0 {
		t.Errorf("suspected at %v; %v", at, r.Violations)
	}
}

// parsed returns a scenario that is valid.
func parsed(t *testing.T, text string) *enginetest.Scenario {
	t.Helper()
	s, err := enginetest.ParseScenario([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// No figure may be none: what is valid can be written.
func TestScenarioFiguresAreFinite(t *testing.T) {
	for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		for name, set := range map[string]func(s *enginetest.Scenario){
			"link.delay.shape": func(s *enginetest.Scenario) {
				s.Link.Delay = netmodel.Distribution{Kind: "lognormal", Spread: 1, Shape: x}
			},
			"link.queue.rate": func(s *enginetest.Scenario) { s.Link.Queue = netmodel.Queue{Rate: x, Depth: 1} },
			"link.queue.load": func(s *enginetest.Scenario) { s.Link.Queue = netmodel.Queue{Rate: 1e6, Depth: 1, Load: x} },
			"link.loss":       func(s *enginetest.Scenario) { s.Link.Loss = x },
			"nodes[0].drift":  func(s *enginetest.Scenario) { s.Nodes[0].Drift = x },
		} {
			s := &enginetest.Scenario{Duration: time.Second, Nodes: []enginetest.Node{{Name: "a"}}}
			set(s)
			if err := s.Validate(); err == nil || !strings.HasPrefix(err.Error(), name+": ") {
				t.Errorf("%s of %v: %v", name, x, err)
			}
		}
	}
}

// A scenario with one fault reports that one alone.
func TestScenarioReportsNothingFalse(t *testing.T) {
	_, err := enginetest.ParseScenario([]byte(`{"duration": "-5s", "nodes": [{"name": "a"}], "faults": [{"kind": "kill", "host": "a"}]}`))
	if err == nil || strings.Count(err.Error(), "\n") != 0 {
		t.Errorf("%v", err)
	}
}

// Who runs what is not valid is told what is wrong with it.
func TestRunOfAnInvalidScenario(t *testing.T) {
	s := &enginetest.Scenario{Duration: time.Second, Faults: []enginetest.Fault{{Kind: "kill", Host: "a"}}}
	panics(t, `enginetest: Scenario.Run: faults[0].host: there is no node "a"`, func() { s.Run() })
}

// panics fails the test unless do panics with the text.
func panics(t *testing.T, text string, do func()) {
	t.Helper()
	if got := panicOf(do); got != text {
		t.Errorf("want the panic %q, got %q", text, got)
	}
}

// panicOf returns the text that do panics with.
func panicOf(do func()) (text string) {
	defer func() { text = fmt.Sprint(recover()) }()
	do()
	return ""
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
		Faults: []enginetest.Fault{{Kind: "crash", At: 5 * time.Second, Host: "b"}},
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
			Link: netmodel.Link{Loss: 0.05, Reorder: 0.2, ReorderBy: 30 * time.Millisecond},
			Nodes: []enginetest.Node{
				{Name: "a", Watch: []string{"b"}, Detector: "fixed:9", Period: 20 * time.Millisecond},
				{Name: "b", Watch: []string{"a"}, Detector: "fixed:9", Period: 20 * time.Millisecond},
			},
			Faults: []enginetest.Fault{
				{Kind: "unwatch", At: time.Second, For: time.Millisecond, Host: "a", To: "b"},
				{Kind: "unwatch", At: 5 * time.Second, For: 2 * time.Second, Host: "a", To: "b"},
				{Kind: "crash", At: 13 * time.Second, Host: "a"},
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
			Link: netmodel.Link{Delay: netmodel.Distribution{
				Kind: "lognormal", Base: 200 * time.Microsecond, Spread: 50 * time.Microsecond, Most: time.Millisecond,
			}},
			Faults: []enginetest.Fault{{Kind: "crash", At: 20*time.Second + time.Duration(seed)*time.Millisecond, Host: "b"}},
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
