package main

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"systole/bpf"
	"systole/engine"
	"systole/engine/clock"
	"systole/engine/enginetest/netlab"
	"systole/wire"
)

func TestParseReads(t *testing.T) {
	const trace = "# tracer: nop\n#\n" +
		"      bench-5758    [001] ..... 36509.324129: sock_recv_length: sk address = 00000000be5653d6, family = AF_INET, length = 136\n" +
		" a: b c 1.2-3 [000] b..1.   961.000001: sock_recv_length: sk address = 0\n" +
		"CPU:1 [LOST 12 EVENTS]\n"
	got, err := parseReads(trace)
	if want := []clock.Instant{36509324129000, 961000001000}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for _, line := range []string{": sock_recv_length: ", "x 1.23: sock_recv_length: ", "x y.000001: sock_recv_length: "} {
		if got, err := parseReads(line); err == nil || !strings.Contains(err.Error(), "no time in the trace line") {
			t.Errorf("%q: %v, %v", line, got, err)
		}
	}
}

// Each reading is of the earliest arrival that was not read. What was read before anything arrived is no heartbeat.
func TestReadInOrder(t *testing.T) {
	arrivals := map[uint64]passing{3: {at: 30}, 1: {at: 10}, 2: {at: 20}, 9: {at: 90}}
	got := readInOrder(arrivals, []clock.Instant{5, 25, 26, 30})
	if len(got) != 3 || got[1] != 25 || got[2] != 26 || got[3] != 30 {
		t.Errorf("%v", got)
	}
}

// A place in a period does not depend on where the period is counted from.
func TestPhases(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		phase := time.Duration(rapid.Int64Range(0, int64(splitPeriod)-1).Draw(t, "phase"))
		var at []clock.Instant
		for range rapid.IntRange(1, 20).Draw(t, "sends") {
			k, jitter := rapid.Int64Range(1, 1000).Draw(t, "period"), rapid.Int64Range(-int64(ms), int64(ms)).Draw(t, "jitter")
			at = append(at, clock.Instant(k*int64(splitPeriod)+int64(phase)+jitter))
		}
		if off := wrapped(phaseOfAll(at) - phase).Abs(); off > time.Millisecond {
			t.Fatalf("%v off", off)
		}
	})
	if phaseOfAll(nil) != 0 || wrapped(splitPeriod-1) != -1 || wrapped(1-splitPeriod) != 1 || wrapped(4*ms) != 4*ms {
		t.Error("the bounds of a period")
	}
}

func TestTruths(t *testing.T) {
	at := func(d time.Duration) clock.Instant { return clock.Instant(100 * splitPeriod).Add(d) }
	w := way{send: at(8 * ms), left: at(9500 * us), entered: at(10 * ms), went: at(15 * ms), arrived: at(16 * ms), read: at(36 * ms)}
	idle := splitIdle{phase: 200 * us, router: 20 * us}
	stopped, before := span{at(12 * ms), at(35 * ms)}, span{at(0), at(15 * ms)}
	unread := w
	unread.read = 0
	for name, c := range map[string]struct{ got, want time.Duration }{
		"late":         {w.late(&idle, stopped), 9300 * us},
		"queue":        {w.queued(&idle, stopped), 1500 * us},
		"router":       {w.routed(&idle, stopped), 4980 * us},
		"read":         {w.unread(&idle, stopped), 20 * ms},
		"not stopped":  {w.unread(&idle, before), 0},
		"not read":     {unread.unread(&idle, stopped), 0},
		"a bit early":  {(&way{left: at(100 * us)}).late(&idle, stopped), -100 * us},
		"early by 1ms": {(&way{left: at(-900 * us)}).late(&idle, stopped), 8900 * us},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
}

// One heartbeat is delayed by the router and told right, one is told of the reading. Of the heartbeats without
// an injection come the usual parts.
func TestJudge(t *testing.T) {
	at := func(d time.Duration) clock.Instant { return clock.Instant(100 * splitPeriod).Add(d) }
	heartbeat := func(send, inRouter time.Duration, told engine.Delays) way {
		told.Source = clock.Kernel
		told.SendWait = max(told.SendWait, 1)
		return way{send: at(send), left: at(send), entered: at(send), went: at(send + inRouter), arrived: at(send + inRouter), told: engine.Sample{Delays: told}}
	}
	ways := []way{
		heartbeat(-200*ms, 10*us, engine.Delays{Late: 30 * us, Read: 5 * us}), heartbeat(-180*ms, 10*us, engine.Delays{Late: 30 * us, Read: 5 * us}),
		heartbeat(0, 5010*us, engine.Delays{Late: 30 * us, Network: 5040 * us, Read: 5 * us}),
		heartbeat(100*ms, 4010*us, engine.Delays{Late: 30 * us, Network: 1 * ms, Read: 7 * ms}),
		heartbeat(200*ms, 900*us, engine.Delays{}),
	}
	c := splitCase{part: partNetwork, truth: (*way).routed}
	var r splitResult
	r.judge(&c, ways, []span{{at(-ms), at(ms)}, {at(99 * ms), at(101 * ms)}, {at(199 * ms), at(201 * ms)}}, 4*ms)
	want := []float64{2, 2, 5, 6.0 / 9, 3.0 / 9, 3000, 3000, 75, 75, 0.5, 0.5}
	if got := r.figures(); !near(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	c.first = true
	r = splitResult{}
	r.judge(&c, append(ways, ways[2]), []span{{at(-ms), at(ms)}}, 4*ms)
	if len(r.delays) != 1 {
		t.Errorf("%d heartbeats where only the first counts", len(r.delays))
	}
	if got := new(splitResult).figures(); got[0] != 0 || meaningful(got[3]) || meaningful(got[7]) {
		t.Errorf("without injections: %v", got)
	}
}

func TestStampOf(t *testing.T) {
	oob := make([]byte, unix.CmsgSpace(16))
	if _, ok := stampOf(oob[:8]); ok {
		t.Error("a stamp in a message that was cut off")
	}
	if _, ok := stampOf(nil); ok {
		t.Error("a stamp in nothing")
	}
}

func TestHeartbeatIn(t *testing.T) {
	b, _ := wire.Append(nil, &wire.Header{Sender: 7, MyDiscriminator: 1<<wire.SlotBits | 1, Incarnation: 1, Sequence: 9, Period: 1000}, nil)
	var h wire.Header
	for words := 5; words <= 15; words++ {
		packet := append(make([]byte, words*4+8), b...)
		packet[0] = 0x40 | byte(words)
		if !heartbeatIn(packet, &h) || h.Sender != 7 || h.Sequence != 9 {
			t.Errorf("%d words: %+v", words, h)
		}
		if heartbeatIn(packet[:words*4+7], &h) || heartbeatIn(packet[:len(packet)-1], &h) {
			t.Errorf("%d words: a heartbeat that is cut off", words)
		}
	}
	if heartbeatIn(nil, &h) {
		t.Error("a heartbeat in nothing")
	}
}

// A stopped receiver is told right, over a real path.
func TestSplitOnce(t *testing.T) {
	if p, err := netlab.NewRouted(); err != nil {
		netlab.Require(t, err)
	} else if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := splitCases[1].run(t.Context(), bpf.Kernel, 3)
	if errors.Is(err, errNoTrace) && os.Getenv("SYSTOLE_CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if f := r.figures(); f[0] != 3 || f[1] < 6 || f[3] < 0.5 {
		t.Errorf("%v", f)
	}
}
