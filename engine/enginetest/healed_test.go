package enginetest_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"systole/engine"
	"systole/engine/enginetest"
)

// broken runs a scenario and fails the test unless it violates the rule, and no other, if broken is
// set, and none otherwise.
func broken(t *testing.T, s *enginetest.Scenario, rule string, broken bool) *enginetest.Result {
	t.Helper()
	r := s.Run()
	found := false
	for _, v := range r.Violations {
		found = found || v.Rule == rule
		if v.Rule != rule || !broken {
			t.Errorf("%v", v)
		}
	}
	if found != broken {
		t.Errorf("rule %q violated: %v, want %v; %v", rule, found, broken, r.Violations)
	}
	return r
}

// A node whose clock went back while it was off is taken back by who remembers it, also if a third
// node, which never met it, answers first.
const clockBackNewPeerFirst = `{
  "seed": 1, "duration": "40s", "calm": "20s", "link": {"delay": {"base": "1ms"}},
  "nodes": [
    {"name": "a", "id": 1, "watch": ["b", "c"]},
    {"name": "b", "id": 2, "watch": ["a"]},
    {"name": "c", "id": 3, "start": "5s", "accept": true}
  ],
  "links": [
    {"from": "a", "to": "b", "link": {"delay": {"base": "20ms"}}},
    {"from": "b", "to": "a", "link": {"delay": {"base": "20ms"}}}
  ],
  "faults": [
    {"kind": "step-wall", "at": "3s", "host": "a", "by": "-1h"},
    {"kind": "crash", "at": "4s", "for": "5s", "host": "a"}
  ]
}`

func TestHealedAsksWhoShouldHear(t *testing.T) {
	broken(t, parsed(t, clockBackNewPeerFirst), "healed", false)
	// Where both remember it, all heals.
	control := strings.Replace(clockBackNewPeerFirst, `"start": "5s", `, "", 1)
	broken(t, parsed(t, control), "healed", false)
}

// A round trip above the connect timeout delays the first contact, and no more.
func TestLongPathIsNotForgotten(t *testing.T) {
	s := parsed(t, `{"seed": 1, "duration": "60s", "link": {"delay": {"base": "1600ms"}},
		"nodes": [{"name": "a", "id": 1, "watch": ["b"]}, {"name": "b", "id": 2, "accept": true}]}`)
	alive := false
	for _, e := range s.Run().Events {
		alive = alive || e.Host == "b" && e.Event.To == engine.Alive
	}
	if !alive {
		t.Errorf("b saw a alive: %v", alive)
	}
}

// A pair is held to the rule if the one that is watched has a use for its watcher, and only then.
func TestHealedKnowsItsExceptions(t *testing.T) {
	partition := enginetest.Fault{Kind: "partition", At: time.Second, For: 8 * time.Second, Hosts: []string{"a"}}
	for name, nodes := range map[string][]enginetest.Node{
		"both watch":           {{Name: "a", ID: 1, Watch: []string{"b"}}, {Name: "b", ID: 2, Watch: []string{"a"}}},
		"strangers":            {{Name: "a", ID: 1, Watch: []string{"b"}}, {Name: "b", ID: 2, Accept: true, Forget: time.Second}},
		"nobody listens":       {{Name: "a", ID: 1, Watch: []string{"b"}}, {Name: "b", ID: 2}},
		"final at one end":     {{Name: "a", ID: 1, Watch: []string{"b"}, Final: true}, {Name: "b", ID: 2, Watch: []string{"a"}}},
		"final at both ends":   {{Name: "a", ID: 1, Watch: []string{"b"}, Final: true}, {Name: "b", ID: 2, Watch: []string{"a"}, Final: true}},
		"more than are let in": {{Name: "a", ID: 1, Watch: []string{"b"}}, {Name: "b", ID: 2, Accept: true, AdmitMax: 1}, {Name: "c", ID: 3, Watch: []string{"b"}}},
	} {
		s := &enginetest.Scenario{Seed: 1, Duration: 30 * time.Second, Calm: 10 * time.Second, Nodes: nodes, Faults: []enginetest.Fault{partition}}
		if err := s.Validate(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, v := range s.Run().Violations {
			t.Errorf("%s: %v", name, v)
		}
	}
}

// Failure is final only where it is configured to be.
func TestFailureIsFinalOnlyIfAskedFor(t *testing.T) {
	for _, final := range []bool{false, true} {
		s := &enginetest.Scenario{
			Seed: 1, Duration: 30 * time.Second, Calm: 10 * time.Second,
			Nodes:  []enginetest.Node{{Name: "a", ID: 1, Watch: []string{"b"}, Final: final}, {Name: "b", ID: 2, Watch: []string{"a"}, Final: final}},
			Faults: []enginetest.Fault{{Kind: "partition", At: time.Second, For: 8 * time.Second, Hosts: []string{"a"}}},
		}
		r := broken(t, s, "final", false)
		again := slices.ContainsFunc(r.Events, func(e enginetest.Seen) bool {
			return e.Host == "a" && e.At > 9*time.Second && e.Event.To == engine.Alive
		})
		if again == final {
			t.Errorf("final: %v, alive again: %v", final, again)
		}
	}
}
