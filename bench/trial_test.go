package main

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"systole/engine"
	"systole/engine/clock"
	"systole/engine/enginetest/netlab"
)

// fakeEnd is an end that hears all peers at the third look.
type fakeEnd struct{ looks, starts int }

func (f *fakeEnd) heardAll() bool { f.looks++; return f.looks == 3 }
func (f *fakeEnd) start()         { f.starts++ }
func (f *fakeEnd) count() tally {
	return tally{Mistakes: []uint64{2}, OfLoss: []uint64{1}, Sent: uint64(f.starts), Watched: time.Second}
}
func (f *fakeEnd) detections(crash clock.Instant) detections {
	return detections{[][]time.Duration{{time.Duration(crash)}}, [][]time.Duration{{1}}}
}

func TestEndCommands(t *testing.T) {
	var out bytes.Buffer
	err := endCommands(&fakeEnd{}).serve(strings.NewReader("await\nstart\nstart\ncount\ndetections 42\n"), &out)
	const want = `ready
true
null
null
{"Mistakes":[2],"OfLoss":[1],"Sent":2,"Solicited":0,"Calls":0,"Watched":1000000000}
{"Crash":[[42]],"Silence":[[1]]}
`
	if !errors.Is(err, io.ErrUnexpectedEOF) || out.String() != want {
		t.Errorf("answered\n%s%v; want\n%s", out.String(), err, want)
	}
	err = endCommands(&fakeEnd{}).serve(strings.NewReader("detections now\n"), &out)
	if err == nil || !strings.Contains(err.Error(), `detections: the instant of the crash: strconv.ParseInt: parsing "now"`) {
		t.Errorf("a crash at no instant: %v", err)
	}
}

func TestEndsMistake(t *testing.T) {
	for _, c := range []struct {
		ev   engine.Event
		want bool
	}{
		{engine.Event{From: engine.Suspect, To: engine.Alive, Cause: engine.ReachableAgain}, true},
		{engine.Event{From: engine.Failed, To: engine.Alive, Cause: engine.ReachableAgain}, true},
		{engine.Event{From: engine.Suspect, To: engine.OneWay, Cause: engine.Deaf}, true},
		{engine.Event{From: engine.Suspect, To: engine.Alive, Cause: engine.Restarted}, false},
		{engine.Event{From: engine.Failed, To: engine.Alive, Cause: engine.Restarted}, false},
		{engine.Event{From: engine.Failed, To: engine.OneWay, Cause: engine.Deaf}, false},
		{engine.Event{From: engine.Alive, To: engine.Suspect, Cause: engine.Silence}, false},
		{engine.Event{From: engine.OneWay, To: engine.Alive, Cause: engine.ReachableAgain}, false},
	} {
		if got := endsMistake(&c.ev); got != c.want {
			t.Errorf("from %v to %v by %v: %v", c.ev.From, c.ev.To, c.ev.Cause, got)
		}
	}
}

func TestLostAfter(t *testing.T) {
	samples := []engine.Sample{
		{Sequence: 1<<32 - 2, Arrival: 10}, {Sequence: 1<<32 - 1, Arrival: 20}, {Sequence: 0, Arrival: 30}, {Sequence: 2, Arrival: 40}, {Sequence: 3, Arrival: 60},
	}
	for _, c := range []struct {
		at   clock.Instant
		want bool
	}{{5, false}, {10, false}, {20, false}, {25, false}, {30, true}, {39, true}, {40, false}, {50, false}, {60, false}, {99, false}} {
		if got := lostAfter(samples, c.at); got != c.want {
			t.Errorf("at %d: %v", c.at, got)
		}
	}
	if lostAfter(nil, 5) || lostAfter(samples[:1], 10) {
		t.Error("lost without two heartbeats")
	}
}

// A group notes when a suspicion began that was a mistake.
func TestGroupNotes(t *testing.T) {
	g := &group{suspected: make(map[engine.Peer]clock.Instant)}
	for _, ev := range []engine.Event{
		{From: engine.Alive, To: engine.Suspect, At: 100}, {From: engine.Suspect, To: engine.Alive, Cause: engine.ReachableAgain, At: 120},
		{From: engine.Alive, To: engine.Suspect, At: 200}, {From: engine.Suspect, To: engine.Failed, At: 220},
		{From: engine.Failed, To: engine.Alive, Cause: engine.Restarted, At: 240}, {From: engine.Alive, To: engine.Suspect, At: 300},
	} {
		g.note(&ev)
	}
	if want := []mistake{{at: 100}}; !slices.Equal(g.mistakes, want) || g.suspected[engine.Peer{}] != 300 {
		t.Errorf("mistakes %v, suspected %v", g.mistakes, g.suspected)
	}
	g.start()
	if got := g.count(); got.Mistakes[0] != 0 || got.OfLoss[0] != 0 {
		t.Errorf("counted %+v after start", got)
	}
}

// All engines of both sides have an id and an address of their own, and configurations that are valid.
func TestGroupConfig(t *testing.T) {
	ids, addrs := map[uint64]bool{}, map[netip.AddrPort]bool{}
	for side, local := range []netip.AddrPort{addrA, addrB} {
		for i := range groupSize(maxSessions) {
			for name := range groupDetectors {
				o := endOptions{Local: local, Side: side, Count: 31, Period: 10 * ms, Detectors: name}
				cfg, err := groupConfig(&o, i)
				if err != nil || cfg.Validate() != nil {
					t.Fatalf("%+v: %v, %v", cfg, err, cfg.Validate())
				}
				if (cfg.Detector == nil) != (name == "default") {
					t.Errorf("%s: detector %v", name, cfg.Detector)
				}
				ids[cfg.ID], addrs[cfg.Listen[0]] = true, true
			}
		}
	}
	if want := 2 * groupSize(maxSessions); len(ids) != want || len(addrs) != want {
		t.Errorf("%d ids and %d addresses of %d engines", len(ids), len(addrs), want)
	}
	for peers, want := range map[int]int{1: 1, 3: 1, 4: 2, 99: 9, 100: 10, 1000: 31, 0: 1} {
		if got := groupSize(peers); got != want {
			t.Errorf("%d engines for %d peers, want %d", got, peers, want)
		}
	}
}

// The ends of trials hear each other over a link that loses nothing, count, and detect each other's
// crashes. How many and how soon depends on how busy the machine is; the simulations above hold what
// it should be.
func TestTrial(t *testing.T) {
	const nodes, each = 4, 300 * ms
	for _, c := range []struct {
		name       string
		subcommand string
		rounds     int
		end        endOptions
	}{
		{"single phase", "exchange", 2, endOptions{Count: nodes, Detectors: "phases"}},
		{"two phases", "exchange", 1, endOptions{Count: nodes, Detectors: "phases", TwoPhases: true, Delay: 5 * ms}},
		{"engines", "group", 2, endOptions{Count: 2, Detectors: "chen"}}, // each has four peers
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // most of a trial is waiting
			c.end.Period = 100 * ms
			r := trial{subcommand: c.subcommand, end: c.end, duration: time.Duration(c.rounds) * each, rounds: c.rounds}
			o, err := r.run(t.Context())
			netlab.Require(t, err)
			if o.Sent == 0 || o.Watched <= 0 {
				t.Errorf("counted %+v", o.tally)
			}
			if want := map[string]int{"exchange": len(phaseDetectors), "group": 1}[c.subcommand]; len(o.Crash) != want || len(o.Mistakes) != want {
				t.Errorf("%d detectors detected, %d made mistakes, want %d", len(o.Crash), len(o.Mistakes), want)
			}
			for i := range o.Crash {
				found := 0
				for j, d := range o.Crash[i] {
					if d >= 0 && d < silentTime && o.Silence[i][j] >= d/2 {
						found++
					}
				}
				if found < 1 || found > c.rounds*nodes {
					t.Errorf("%d of %d crashes detected: %v", found, c.rounds*nodes, o.Crash[i])
				}
			}
		})
	}
}

func TestSolicitFigures(t *testing.T) {
	c := tally{Mistakes: []uint64{9, 6}, OfLoss: []uint64{8, 4}, Sent: 720_000, Calls: 1_440_000, Watched: 2 * time.Hour}
	d := newDetections(2)
	d.note(1, 10*ms, 20*ms)
	d.note(1, 30*ms, 60*ms)
	if got, want := solicitFigures(&c, &d, 1), []float64{20, 30, 40, 60, 2, 6, 4, 2, 2, 1, 2}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	c.Calls = 0
	got := solicitFigures(&c, &d, 0)
	if meaningful(got[0]) || meaningful(got[3]) || got[4] != 0 || got[5] != 9 || meaningful(got[10]) {
		t.Errorf("without crashes and calls: %v", got)
	}
}

func TestPhaseFigures(t *testing.T) {
	out := outcome{tally{Mistakes: []uint64{9, 6}, OfLoss: []uint64{8, 4}, Sent: 720_000, Watched: 2 * time.Hour}, newDetections(2)}
	for _, x := range []time.Duration{10 * ms, 30 * ms} {
		out.note(0, x, x)
		out.note(1, 2*x, x)
	}
	if got, want := phaseFigures(&out), []float64{200, 2, 2, 20, 30, 9, 4, 40, 60, 6, 2}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for trip, want := range map[time.Duration]time.Duration{0: 0, 200 * time.Microsecond: 0, ms: ms / 2, 20 * ms: 10 * ms} {
		if got := addedDelay(trip); got != want {
			t.Errorf("round trip %v: %v added, want %v", trip, got, want)
		}
	}
	if d := hopDelay(9*ms, ms); math.Abs(d.Base.Seconds()-0.009) > 1e-12 || d.Spread != ms {
		t.Errorf("hop %+v", d)
	}
}
