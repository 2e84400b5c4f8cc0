package enginetest_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"systole/engine"
	"systole/engine/enginetest"
	"systole/engine/internal/network"
)

// Every fault of addresses, names and forgers is reported by its path.
func TestNetworkFaultsAreValidated(t *testing.T) {
	const nodes = `{"duration": "5s", "nodes": [{"name": "a", "watch": ["b"], "paths": 2}, {"name": "b", "paths": 2}, {"name": "c"}], `
	for text, want := range map[string]string{
		`"faults": [{"kind": "cut", "host": "a", "to": "b/2"}]`:                `faults[0].to: "b" has 2 paths, from 0 on`,
		`"faults": [{"kind": "refuse", "host": "a", "to": "name:b"}]`:          `faults[0].to: "name:b" is no node, nor a path to one`,
		`"faults": [{"kind": "refuse", "host": "a", "to": "a/1"}]`:             `faults[0].to: "a" is the node itself`,
		`"faults": [{"kind": "refuse", "host": "a"}]`:                          `faults[0].to: there is no node ""`,
		`"faults": [{"kind": "refuse-sends", "host": "a", "errno": "EIO"}]`:    `faults[0].errno: "EIO" is none of EACCES, EHOSTUNREACH, EINVAL, EMSGSIZE, ENETUNREACH, ENOBUFS, EPERM`,
		`"faults": [{"kind": "refuse-sends", "host": "z", "errno": "EPERM"}]`:  `faults[0].host: there is no node "z"`,
		`"faults": [{"kind": "take-address", "host": "a", "to": "q"}]`:         `faults[0].to: there is no node "q"`,
		`"faults": [{"kind": "rebind", "host": "a", "for": "1s"}]`:             `faults[0].for: rebind has no use for it`,
		`"faults": [{"kind": "move-name", "host": "a", "to": "b/1"}]`:          `faults[0].to: there is no node "b/1"`,
		`"faults": [{"kind": "break-name", "host": "a", "errno": "EPERM"}]`:    `faults[0].errno: break-name has no use for it`,
		`"faults": [{"kind": "unwatch", "host": "a", "to": "b/1"}]`:            `faults[0].to: "a" does not watch "b/1"`,
		`"faults": [{"kind": "forge", "count": 3}]`:                            `faults[0].for: forge needs a time`,
		`"faults": [{"kind": "replay", "for": "1s"}]`:                          `faults[0].count: replay needs one`,
		`"faults": [{"kind": "replay", "for": "1s", "count": 1, "host": "z"}]`: `faults[0].host: there is no node "z"`,
		`"faults": [{"kind": "garble", "for": "1s", "count": 1}]`:              `faults[0].kind: garble needs nodes that are keyed: without keys, who reads datagrams can write them`,
	} {
		if _, err := enginetest.ParseScenario([]byte(nodes + text + "}")); err == nil || err.Error() != want {
			t.Errorf("%s: want %s, got: %v", text, want, err)
		}
	}
	for text, want := range map[string]string{
		`{"name": "a", "watch": ["b/1"]}, {"name": "b", "paths": 2}`: `nodes[0].watch: "a" has no IPv6 address to watch "b/1" from: it needs 2 paths`,
		`{"name": "a", "watch": ["b/4"]}, {"name": "b", "paths": 4}`: `nodes[0].watch: "b" has 4 paths, from 0 on`,
		`{"name": "a", "watch": ["name:a"]}`:                         `nodes[0].watch: "name:a" is the node itself, or there twice`,
		`{"name": "a", "watch": ["name:x:y"]}, {"name": "x:y"}`:      `nodes[0].watch: "x:y" has a sign that no name may have`,
		`{"name": "a", "paths": 5}`:                                  `nodes[0].paths: 5 is not within 0 to 4`,
		`{"name": "a", "accept": true, "admit_max": -1}`:             `nodes[0]: engine: Accept.Max: -1 is negative`,
	} {
		_, err := enginetest.ParseScenario([]byte(`{"duration": "5s", "nodes": [` + text + `]}`))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: want %s, got: %v", text, want, err)
		}
	}
}

// run runs a scenario of two nodes that watch each other, a and b, and a third one, with a fault.
func faulted(t *testing.T, fault string, a, b, c string) (*enginetest.Scenario, *enginetest.Result) {
	t.Helper()
	s := parsed(t, fmt.Sprintf(`{"seed": 1, "duration": "20s", "link": {"delay": {"base": "1ms"}}, "nodes": [
		{"name": "a", "id": 1, "detector": "fixed", "period": "50ms", %s},
		{"name": "b", "id": 2, "detector": "fixed", "period": "50ms", %s},
		{"name": "c", "id": 3, "detector": "fixed", "period": "50ms", %s}], "faults": [%s]}`, a, b, c, fault))
	return s, s.Run()
}

// changes returns the states that a host saw another in after at, with their causes.
func changes(r *enginetest.Result, host, peer string, at time.Duration) string {
	var out []string
	for _, e := range r.Events {
		if e.Host == host && e.Peer == peer && e.At > at && e.Fault == "" {
			out = append(out, fmt.Sprintf("%v/%v", e.Event.To, e.Event.Cause))
		}
	}
	return strings.Join(out, " ")
}

// What a fault does to addresses and names is seen by who it is done to, and by nobody else.
func TestNetworkFaults(t *testing.T) {
	const (
		watchA, watchB = `"watch": ["a"]`, `"watch": ["b"]`
		nothing        = `"accept": false`
	)
	for name, test := range map[string]struct {
		fault, a, b, c string
		wantA          string // what a sees of b from then on
		wantB          string // and b of a
	}{
		"cut of another path": {`{"kind": "cut", "at": "5s", "for": "1s", "host": "b", "to": "a/1"}`, watchB + `, "paths": 2`, watchA, nothing, "", ""},
		"cut of the path": {
			`{"kind": "cut", "at": "5s", "for": "400ms", "host": "b", "to": "a/0"}`, watchB + `, "paths": 2`, watchA, nothing,
			"suspect/silence alive/reachable-again", "one-way/deaf alive/reachable-again",
		},
		"watch over IPv6": {
			`{"kind": "cut", "at": "5s", "for": "1s", "host": "b", "to": "a/0"}`, `"watch": ["b/1"], "paths": 2`, `"watch": ["a/1"], "paths": 2`, nothing, "", "",
		},
		"bound to each address": {
			`{"kind": "cut", "at": "5s", "for": "1s", "host": "b", "to": "a/0"}`,
			`"watch": ["b/1"], "paths": 3, "bound": true`, `"watch": ["a/1"], "paths": 3, "bound": true`, nothing, "", "",
		},
		"refused sends to all": {
			`{"kind": "refuse-sends", "at": "5s", "for": "100ms", "host": "a", "errno": "ENETUNREACH"}`, watchB, watchA, nothing,
			"suspect/local-no-route one-way/local-no-route alive/reachable-again", "",
		},
		"refused sends to another": {
			`{"kind": "refuse-sends", "at": "5s", "for": "1s", "host": "a", "to": "c", "errno": "ENETUNREACH"}`, watchB, watchA, nothing, "", "",
		},
	} {
		_, r := faulted(t, test.fault, test.a, test.b, test.c)
		if got := changes(r, "a", "b", 5*time.Second); got != test.wantA {
			t.Errorf("%s: a saw %s, want %s", name, got, test.wantA)
		}
		if got := changes(r, "b", "a", 5*time.Second); got != test.wantB {
			t.Errorf("%s: b saw %s, want %s", name, got, test.wantB)
		}
		for _, v := range r.Violations {
			t.Errorf("%s: %v", name, v)
		}
	}
}

// A middlebox that refuses is answered by a port unreachable; a life is not over for it.
func TestMiddleboxThatRefuses(t *testing.T) {
	s := parsed(t, `{"seed": 1, "duration": "20s", "calm": "10s", "link": {"delay": {"base": "1ms"}}, "nodes": [
		{"name": "a", "id": 1, "watch": ["b"]}, {"name": "b", "id": 2, "watch": ["a"]}],
		"faults": [{"kind": "refuse", "at": "5s", "for": "300ms", "host": "a", "to": "b"}]}`)
	r := s.Run()
	if got := changes(r, "a", "b", 5*time.Second); !strings.Contains(got, "suspect/port-unreachable") {
		t.Errorf("a saw %s", got)
	}
	if len(r.Violations) > 0 {
		t.Errorf("%v", r.Violations)
	}
}

// What a proxy plays slowly is no life: a process that ends is found out, however much of it is
// still to come.
func TestSlowPlayIsNoLife(t *testing.T) {
	s := parsed(t, `{"seed": 1, "duration": "30s", "link": {"delay": {"base": "1ms"}}, "nodes": [
		{"name": "a", "id": 1, "watch": ["b"]}, {"name": "b", "id": 2, "watch": ["a"]}],
		"faults": [{"kind": "slow-play", "at": "5s", "for": "25s", "host": "b", "to": "a"}, {"kind": "kill", "at": "15s", "host": "b"}]}`)
	r := s.Run()
	state := engine.Unknown
	for _, e := range r.Events {
		if e.Host == "a" && e.Peer == "b" && e.At < 17*time.Second {
			state = e.Event.To
		}
	}
	if state == engine.Alive {
		t.Errorf("two seconds after its end b is %v", state)
	}
	for _, v := range r.Violations {
		t.Errorf("%v", v)
	}
}

// A node that watches by name follows the name, and a look-up that fails changes nothing.
func TestNamesThatMove(t *testing.T) {
	s := parsed(t, `{"seed": 1, "duration": "60s", "calm": "20s", "link": {"delay": {"base": "1ms"}}, "nodes": [
		{"name": "a", "id": 1, "watch": ["name:b"]}, {"name": "b", "id": 2, "watch": ["a"]}, {"name": "c", "id": 3, "watch": ["a"]}],
		"faults": [{"kind": "break-name", "at": "5s", "for": "10s", "host": "b"},
			{"kind": "move-name", "at": "20s", "host": "b", "to": "c"}, {"kind": "kill", "at": "20s", "host": "b"}]}`)
	r := s.Run()
	for _, e := range r.Events {
		if e.Host == "a" && e.Peer == "b" && e.At > 5*time.Second && e.At < 20*time.Second {
			t.Errorf("%v", e)
		}
	}
	if len(r.Violations) > 0 {
		t.Errorf("%v", r.Violations)
	}
	t.Logf("a about c: %s; %v", changes(r, "a", "c", 20*time.Second), r.Violations)
}

// Addresses move between the hosts of a world, and what a test may not ask for is refused.
func TestAddressesInAWorld(t *testing.T) {
	w := enginetest.NewWorld(1)
	a, b := w.AddHost("a"), w.AddHost("b")
	if six := a.AddPath(); !six.Addr().Is6() || a.Path(1) != six || a.Path(0) != a.Addr() {
		t.Errorf("the second address of a host is %v", six)
	}
	before := a.Addr()
	a.Rebind()
	if a.Addr() == before {
		t.Error("it is seen as before")
	}
	b.TakeAddress(a.Addr())
	now := a.Addr()
	if a.Rebind(); a.Addr() != now {
		t.Error("an address that it lost was bound anew")
	}
	w.SetName("db", netip.MustParseAddr("10.0.0.2"))
	w.BreakName("db", true)
	w.CutPath(a, b, 0, true)
	w.Reject(a, b, true)
	a.RefuseSendsTo(b, network.NotPermitted)
	a.Bind(true)
	for range 2 {
		a.AddPath()
	}
	for _, kind := range []string{"refuse", "cut", "slow-play"} {
		panics(t, `enginetest: World.Do: fault.to: "a" is the node itself`, func() { w.Do(enginetest.Fault{Kind: kind, For: time.Second, Host: "a", To: "a"}) })
	}
	panics(t, "enginetest: World.Do: fault.count: -1 is not within 0 to 100000", func() {
		w.Do(enginetest.Fault{Kind: "forge", Host: "a", Count: -1, For: time.Second})
	})
	panics(t, "enginetest: World.Do: fault.for: -1s is not within 0 to 1000h", func() {
		w.Do(enginetest.Fault{Kind: "replay", Host: "a", Count: 1, For: -time.Second})
	})
	held(t, w)
}

// Who is let in is bounded.
func TestAdmitMax(t *testing.T) {
	s := parsed(t, `{"seed": 1, "duration": "10s", "link": {"delay": {"base": "1ms"}}, "nodes": [
		{"name": "hub", "id": 1, "accept": true, "admit_max": 1},
		{"name": "b", "id": 2, "watch": ["hub"]}, {"name": "c", "id": 3, "watch": ["hub"]}]}`)
	alive := 0
	for _, e := range s.Run().Events {
		if e.Host == "hub" && e.Event.To == engine.Alive {
			alive++
		}
	}
	if alive != 1 {
		t.Errorf("%d alive at a hub that admits one", alive)
	}
}

// An address that goes away and comes back heals with it, and costs the verdicts one wait and no more.
func TestAddressesThatComeBack(t *testing.T) {
	for name, text := range map[string]string{
		"a socket per address": `{"seed": 1, "duration": "14s", "calm": "4s", "link": {"delay": {"base": "18ms"}},
			"nodes": [{"name": "n0", "id": 1, "watch": ["n1"]}, {"name": "n1", "id": 2, "watch": ["n0"], "bound": true}],
			"faults": [{"kind": "take-address", "at": "3.827s", "for": "2.242s", "host": "n0", "to": "n1"},
				{"kind": "rebind", "at": "2.766s", "host": "n1"}, {"kind": "crash", "at": "4.735s", "for": "1.994s", "host": "n1"}]}`,
		"the peer ends meanwhile": `{"seed": 1, "duration": "5s", "link": {"delay": {"base": "11ms"}},
			"nodes": [{"name": "n0", "id": 1, "watch": ["n1"], "period": "50ms"},
				{"name": "n1", "id": 2, "watch": ["n0"], "detector": "bertier", "period": "50ms"}],
			"faults": [{"kind": "crash", "at": "2.846s", "host": "n0"},
				{"kind": "take-address", "at": "2.622s", "for": "714ms", "host": "n0", "to": "n1"}]}`,
	} {
		for _, v := range parsed(t, text).Run().Violations {
			t.Errorf("%s: %v", name, v)
		}
	}
}
