package main

import (
	"encoding/json"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"systole/engine"
	"systole/engine/clock"
	"systole/engine/detect/published"
	"systole/engine/enginetest/netlab"
)

var (
	addrA = netip.MustParseAddrPort("10.78.0.1:7853")
	addrB = netip.MustParseAddrPort("10.78.0.2:7853")
)

// A child decodes what its parent encodes.
func TestChildOptions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count, period := rapid.IntRange(1, 1e6).Draw(t, "count"), time.Duration(rapid.Int64Range(1, 1e12).Draw(t, "period"))
		s := scheduling{
			rapid.IntRange(-20, 19).Draw(t, "nice"), rapid.IntRange(0, 99).Draw(t, "FIFO"),
			rapid.Bool().Draw(t, "pinned"), rapid.IntRange(0, 300).Draw(t, "CPU"),
		}
		n := nodeOptions{
			Local: addrA, Peers: addrB, Count: count, Period: period, scheduling: s, Procs: rapid.IntRange(0, 9).Draw(t, "procs"),
			Spin: rapid.IntRange(0, 9).Draw(t, "spin"), Detector: rapid.SampledFrom([]string{"", "fixed:3", "margin"}).Draw(t, "detector"),
		}
		p := populationOptions{Local: addrB, Target: addrA, Count: count, Period: period, scheduling: s}
		e := endOptions{
			Local: addrA, Remote: addrB, Side: rapid.IntRange(0, 1).Draw(t, "side"), Count: count, Period: period, Detectors: "chen",
			Delay: time.Duration(rapid.Int64Range(0, 1e12).Draw(t, "delay")), TwoPhases: rapid.Bool().Draw(t, "two phases"),
		}
		var gotN nodeOptions
		if err := decodeOptions(encoded(t, n), &gotN); err != nil || gotN != n {
			t.Fatalf("%+v, %v; want %+v", gotN, err, n)
		}
		var gotP populationOptions
		if err := decodeOptions(encoded(t, p), &gotP); err != nil || gotP != p {
			t.Fatalf("%+v, %v; want %+v", gotP, err, p)
		}
		var gotE endOptions
		if err := gotE.decode(encoded(t, e)); err != nil || gotE != e {
			t.Fatalf("%+v, %v; want %+v", gotE, err, e)
		}
	})
}

// encoded returns options as a parent passes them.
func encoded(t rapid.TB, options any) string {
	t.Helper()
	b, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestChildOptionMistakes(t *testing.T) {
	const ends = `{"Local":"127.0.0.1:1","Remote":"127.0.0.1:2","Count":1,"Period":1000000,"Detectors":"x"`
	for _, c := range []struct{ subcommand, options, want string }{
		{"node", "", "decode the options: EOF"},
		{"node", "-h", "decode the options: invalid character"},
		{"node", `{"Locale":"127.0.0.1:0"}`, `decode the options: json: unknown field "Locale"`},
		{"node", `{"Local":"localhost:80"}`, "decode the options: "},
		{"node", `{"Local":"127.0.0.1:0","Detector":"fixed:x"}`, "fixed:x"},
		{"population", `{"Count":"many"}`, "decode the options: json: cannot unmarshal string"},
		{"population", `{"Local":"127.0.0.1:0"}`, "a population needs Nodes"},
		{"exchange", "{}", "Local and Remote must be IPv4 addresses"},
		{"group", `{"Local":"[::1]:1","Remote":"[::1]:2"}`, "Local and Remote must be IPv4 addresses"},
		{"exchange", strings.Replace(ends, `"Count":1`, `"Count":0`, 1) + "}", "Count must be at least 1"},
		{"exchange", strings.Replace(ends, "1000000", "0", 1) + "}", "Period above 0"},
		{"group", ends + `,"Side":2}`, "Side 0 or 1"},
		{"group", ends + `,"Side":-1}`, "Side 0 or 1"},
		{"group", ends + "}", `there is no detector "x"`},
		{"exchange", ends + "}", `there is no set of detectors "x"`},
	} {
		if err := subcommands[c.subcommand](c.options); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want %s", c.subcommand, c.options, err, c.want)
		}
	}
}

func TestNodeConfig(t *testing.T) {
	o := nodeOptions{Local: addrA, Count: 50, Period: time.Second, scheduling: scheduling{FIFO: 10, CPU: 5}, Procs: 2}
	cfg, err := o.config()
	want := engine.Config{
		ID: nodeID, Listen: []netip.AddrPort{addrA}, Period: time.Second, ExpectedPeers: 50, ConnectTimeout: time.Minute,
		Sched: engine.Sched{FIFO: 10, Procs: 2},
	}
	if err != nil || !reflect.DeepEqual(cfg, want) {
		t.Errorf("%+v, %v", cfg, err)
	}
	o.Detector, o.Pinned = "fixed:3", true
	cfg, err = o.config()
	want.Detector, want.Sched.CPUs = published.Fixed(3, 0), []int{5}
	if err != nil || !reflect.DeepEqual(cfg, want) {
		t.Errorf("%+v, %v", cfg, err)
	}
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
}

// Both ends of a pairing have each other's address and the same peers; pinned, they have different
// CPUs on a machine with several.
func TestPairingOptions(t *testing.T) {
	lab := &netlab.Lab{A: &netlab.Host{Addr: "10.78.0.1"}, B: &netlab.Host{Addr: "10.78.0.2"}}
	p := pairing{lab: lab, peers: 7, period: ms, nice: -20, spin: 3, procs: 2, detector: "fixed"}
	s := scheduling{Nice: -20}
	wantN := nodeOptions{Local: addrA, Peers: addrB, Count: 7, Period: ms, scheduling: s, Procs: 2, Spin: 3, Detector: "fixed"}
	wantP := populationOptions{Local: addrB, Target: addrA, FirstID: firstPeerID, Count: 7, Period: ms, scheduling: s}
	wantP.CPU = lastCPU()
	if n, q := p.nodeOptions(), p.populationOptions(); n != wantN || q != wantP {
		t.Errorf("node %+v, population %+v", n, q)
	}
	p.peersPeriod, p.pinned = time.Second, true
	wantN.Pinned, wantP.Pinned, wantP.Period = true, true, time.Second
	if n, q := p.nodeOptions(), p.populationOptions(); n != wantN || q != wantP {
		t.Errorf("node %+v, population %+v", n, q)
	}
	p.punctual, p.receiver = true, "reader"
	wantP.Nice, wantP.FIFO, wantP.ForReader = 0, endPriority, true
	wantR := readerOptions{Local: addrA, Count: 7, Period: time.Second, Step: readerStep, scheduling: wantN.scheduling}
	if r, q := p.readerOptions(), p.populationOptions(); r != wantR || q != wantP {
		t.Errorf("reader %+v, population %+v", r, q)
	}
}

func TestNodeUsage(t *testing.T) {
	before := nodeUsage{Sent: 1, Received: 2, Dropped: 3, Missed: 4, Calls: 5, CPU: 6, User: 7, Loop: 8, Wall: 9, Taken: 1, Turns: 2, SendsStamped: 3, Stamped: [clock.BPF + 1]uint64{4, 5, 6, 7}}
	after := nodeUsage{Sent: 101, Received: 202, Dropped: 303, Missed: 404, Calls: 505, CPU: 606, User: 707, Loop: 808, Wall: 909, Taken: 11, Turns: 12, SendsStamped: 13, Stamped: [clock.BPF + 1]uint64{14, 15, 16, 17}}
	got := after.minus(&before)
	want := nodeUsage{
		Sent: 100, Received: 200, Dropped: 300, Missed: 400, Calls: 500, CPU: 600, User: 700, Loop: 800, Wall: 900,
		Taken: 10, Turns: 10, SendsStamped: 10, Stamped: [clock.BPF + 1]uint64{10, 10, 10, 10},
	}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got.heartbeats() != 300 || got.perHeartbeat() != 2 {
		t.Errorf("%v heartbeats at %v ns", got.heartbeats(), got.perHeartbeat())
	}
	if p := (populationCounts{10, 20, 30, 40, 50}).minus(populationCounts{1, 2, 3, 4, 5}); p != (populationCounts{9, 18, 27, 36, 45}) {
		t.Errorf("population %+v", p)
	}
}

// Verdicts count between begin and end only, and begin anew.
func TestVerdictLog(t *testing.T) {
	var v verdictLog
	suspicion := &engine.Event{From: engine.Alive, To: engine.Suspect, At: at(10), Lag: 3 * ms}
	failure := &engine.Event{From: engine.Suspect, To: engine.Failed, At: at(20)}
	pause := engine.NodeEvent{Cause: engine.LocalPause}
	all := func() {
		v.note(suspicion, at(12))
		v.note(failure, at(20))
		v.note(&engine.Event{From: engine.Failed, To: engine.Alive}, at(30))
		v.noteNode(pause)
		v.noteNode(engine.NodeEvent{Cause: engine.LocalSuspect})
	}
	want := verdicts{Suspected: 1, Failed: 1, LocalPauses: 1, Lag: []time.Duration{3 * ms}, Delivery: []time.Duration{5 * ms}}
	all()
	if got := v.end(); !reflect.DeepEqual(got, verdicts{}) {
		t.Errorf("before begin: %+v", got)
	}
	for range 2 {
		v.begin()
		all()
		if got := v.end(); !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
		all()
		if got := v.end(); !reflect.DeepEqual(got, want) {
			t.Errorf("after end: %+v, want %+v", got, want)
		}
	}
	v.begin()
	for range maxLags + 1 {
		v.note(suspicion, at(12))
	}
	if got := v.end(); got.Suspected != maxLags+1 || len(got.Lag) != maxLags || len(got.Delivery) != maxLags {
		t.Errorf("%d suspicions, %d lags", got.Suspected, len(got.Lag))
	}
}

func TestParseSchedstat(t *testing.T) {
	for text, want := range map[string]time.Duration{"1234 5 6\n": 1234, "7": 7, "": 0, "\n": 0, "x 1": 0, "99999999999999999999 1 1": 0} {
		if got := parseSchedstat(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

// A scheduling that the kernel refuses is an error that says which.
func TestSchedulingFails(t *testing.T) {
	for s, want := range map[scheduling]string{
		{Pinned: true, CPU: 1 << 16}: "pin a thread to CPU 65536: ",
		{FIFO: 1000, CPU: 7}:         "schedule a thread by nice 0 and SCHED_FIFO 1000: ",
		{FIFO: -1}:                   "schedule a thread by nice 0 and SCHED_FIFO -1: ",
	} {
		if err := s.apply(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", s, err, want)
		}
	}
}

// A node and its population hear each other, send what their periods say, and count it.
func TestPairing(t *testing.T) {
	p := pairing{peers: 50, period: 20 * time.Millisecond, procs: 1, detector: "fixed"}
	n, q, err := p.runFor(t.Context(), time.Second, 0)
	netlab.Require(t, err)
	const each = 2500 // in a second
	for what, count := range map[string]uint64{"sent": n.Sent, "received": n.Received, "sent by the population": q.Sent, "received by it": q.Received} {
		if count < each/2 || count > each*3/2 {
			t.Errorf("%s: %d, want about %d", what, count, each)
		}
	}
	if n.CPU <= 0 || n.Loop <= 0 || n.Loop > n.CPU+100*time.Millisecond || n.BytesPerPeer < 500 || n.AddTime <= 0 || n.PausePeers <= 0 {
		t.Errorf("counted %+v", n)
	}
}

func TestBesideCounts(t *testing.T) {
	counts := func(cpu, dropped, suspected, failed int) *nodeCounts {
		return &nodeCounts{
			nodeUsage: nodeUsage{Sent: 600, Received: 400, Calls: 50, Dropped: uint64(dropped), CPU: time.Duration(cpu), Loop: time.Duration(cpu / 2), User: time.Duration(cpu / 4)},
			verdicts:  verdicts{Suspected: uint64(suspected), Failed: uint64(failed)},
		}
	}
	var b besideCounts
	b.add(700, counts(2_000_000, 1, 0, 0))
	b.add(500, counts(3_000_000, 2, 5, 1))
	b.add(600, counts(1_000_000, 0, 0, 0))
	b.add(900, counts(4_000_000, 0, 1, 0))
	if got, want := b.figures(), []float64{1000, 500, 250, 500, 2, 1, 0.05, 7, 3}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestScaleFigures(t *testing.T) {
	n := nodeCounts{
		nodeUsage: nodeUsage{Sent: 600, Received: 400, Dropped: 3, Missed: 4, CPU: ms, Wall: 4 * ms}, verdicts: verdicts{Suspected: 1, Failed: 1},
		AddTime: 1500 * time.Microsecond, BytesPerPeer: 777, PauseEmpty: 1500, PausePeers: 2500,
	}
	if got, want := scaleFigures(&n), []float64{2, 3, 4, 0.25, 1000, 1.5, 777, 1.5, 2.5}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// Every case of growth receives the same rate, and sends a hundredth of it or a heartbeat a minute.
func TestGrowthCases(t *testing.T) {
	for _, c := range growthCases {
		received, sent := float64(c.peers)/c.peersPeriod.Seconds(), float64(c.peers)/c.period.Seconds()
		if math.Abs(received-benchRate) > 1 || math.Abs(sent-max(benchRate/100.0, float64(c.peers)/60)) > 1 || math.Abs(sent-float64(c.back)) > 1 {
			t.Errorf("%s: receives %v a second and sends %v, the floor %d", c.name, received, sent, c.back)
		}
	}
	for _, c := range engineCases {
		rate := float64(c.peers) / min(c.period, c.peersPeriod).Seconds()
		back := float64(c.peers) / max(c.period, c.peersPeriod).Seconds()
		if rate != benchRate || math.Abs(back-float64(c.back)) > 1 {
			t.Errorf("%s: %v a second and %v the other way, the floor %d", c.name, rate, back, c.back)
		}
	}
}

func TestLoadFigures(t *testing.T) {
	n := nodeCounts{
		nodeUsage: nodeUsage{Sent: 60_000, Received: 60_000, CPU: 240 * ms, Wall: 30 * time.Second},
		verdicts:  verdicts{Suspected: 1, Failed: 2, LocalPauses: 3, Lag: []time.Duration{1000, 3000}, Delivery: []time.Duration{2000, 4000}},
	}
	q := populationCounts{Mistakes: 4, Late: 5}
	outside, inside := loadCase{name: "nice -20"}, loadCase{name: "Procs 1", spin: 4}
	if got, want := outside.figures(&n, &q), []float64{2, 4, 10, 6, 8, 2, 4000}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := inside.figures(&n, &q); meaningful(got[5]) || got[6] != 4000 {
		t.Errorf("with goroutines that spin: %v", got)
	}
	for _, c := range []struct{ got, want string }{
		{outside.rowName(0), "nice -20, quiet"}, {outside.rowName(1), "nice -20, 1 busy loop"}, {outside.rowName(8), "nice -20, 8 busy loops"}, {inside.rowName(0), "Procs 1, 4 goroutines spin inside"},
	} {
		if c.got != c.want {
			t.Errorf("row %q, want %q", c.got, c.want)
		}
	}
	if got, want := latenessFigures(&n.verdicts), []float64{2, 3, 3, 4, 4}; !slices.Equal(got, want) {
		t.Errorf("lateness %v, want %v", got, want)
	}
	if got := latenessFigures(&verdicts{}); got[0] != 0 || meaningful(got[1]) || meaningful(got[4]) {
		t.Errorf("lateness of no verdicts: %v", got)
	}
}
