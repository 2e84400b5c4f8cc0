package replay

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"systole/engine/detect"
	"systole/engine/detect/published"
	"systole/engine/recording"
)

// made is an entry of traces.json: how a trace was recorded.
type made struct {
	Name    string `json:"name"`
	Serve   string `json:"serve"`
	Record  string `json:"record"`
	Dropped int    `json:"dropped"`
	Steps   []struct {
		Shell string `json:"shell"`
	} `json:"steps"`
}

// traces reads the committed traces. The maps are by name.
func traces(t *testing.T) (map[string]recording.Stream, map[string]made) {
	t.Helper()
	text, err := os.ReadFile("testdata/traces.json")
	if err != nil {
		t.Fatal(err)
	}
	var list []made
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	streams, how := make(map[string]recording.Stream), make(map[string]made)
	for _, m := range list {
		file, err := os.Open(filepath.Join("testdata", m.Name+".sysrec"))
		if err != nil {
			t.Fatal(err)
		}
		r, err := recording.Read(file)
		file.Close()
		if err != nil || len(r.Streams) != 1 || r.Truncated != 0 || r.Overflowed != 0 {
			t.Fatalf("%s: %+v, %v", m.Name, r, err)
		}
		streams[m.Name], how[m.Name] = r.Streams[0], m
	}
	return streams, how
}

// lost returns the number of missing sequences.
func lost(trace []recording.Beat) int {
	return int(trace[len(trace)-1].Sequence-trace[0].Sequence) + 1 - len(trace)
}

// gaps returns the number of silences of at least that long, and the longest silence.
func gaps(trace []recording.Beat, read bool, least time.Duration) (n int, longest time.Duration) {
	trace = sorted(trace, read)
	for i := 1; i < len(trace); i++ {
		gap := time.Duration(arrival(&trace[i], read) - arrival(&trace[i-1], read))
		if longest = max(longest, gap); gap >= least {
			n++
		}
	}
	return n, longest
}

// mistakes returns the mistakes of d over trace.
func mistakes(t *testing.T, trace []recording.Beat, d detect.Detector, read bool) int {
	t.Helper()
	r, err := Run(trace, d, Options{ReadTimes: read, Warmup: 300})
	if err != nil {
		t.Fatal(err)
	}
	return r.Mistakes
}

// Every detector can judge every committed trace, and the lost heartbeats are those that the kernel
// dropped. Both clocks are of one machine. A path can be negative: heartbeats that arrive during a
// long turn get the instant at which the turn began.
func TestTraces(t *testing.T) {
	streams, how := traces(t)
	if len(streams) != 6 {
		t.Errorf("%d traces", len(streams))
	}
	for name, s := range streams {
		trace := s.Beats
		if got, want := lost(trace), how[name].Dropped; got != want {
			t.Errorf("%s: %d heartbeats are missing, the kernel dropped %d", name, got, want)
		}
		if how[name].Serve == "" || how[name].Record == "" {
			t.Errorf("%s: no command", name)
		}
		if s.Period() != 10*time.Millisecond || s.Name == "" {
			t.Errorf("%s: %q at %v", name, s.Name, s.Period())
		}
		for i, b := range trace {
			if path := time.Duration(b.NIC - b.Send); b.App < b.NIC || path < -50*time.Millisecond || path > 5*time.Second {
				t.Fatalf("%s: heartbeat %d: %+v", name, i, b)
			}
		}
		for _, d := range all() {
			for _, read := range []bool{false, true} {
				const warmup = 300
				r, err := Run(trace, d, Options{ReadTimes: read, Warmup: warmup})
				if err != nil || r.Heartbeats != len(trace)-warmup-1 || r.Accuracy < 0 || r.DetectionMean < 10*time.Millisecond {
					t.Errorf("%s, %s: %+v, %v", name, d.Name(), r, err)
				}
			}
		}
	}
}

// Two stops of the receiver are no mistakes by the kernel's stamps, and two by the times of
// reading.
func TestTraceReceiverStopped(t *testing.T) {
	streams, _ := traces(t)
	trace := streams["receiver-stopped"].Beats
	n, longest := gaps(trace, true, 450*time.Millisecond)
	if n != 2 || longest > 700*time.Millisecond {
		t.Errorf("%d stalls, the longest %v", n, longest)
	}
	if n, longest := gaps(trace, false, 200*time.Millisecond); n != 0 {
		t.Errorf("the kernel heard nothing for %v", longest)
	}
	for _, d := range []detect.Detector{
		published.Fixed(20, 0), published.Chen(190*time.Millisecond, 0, 0), published.TwoWindow(190*time.Millisecond, 0, 0, 0),
	} {
		if nic, app := mistakes(t, trace, d, false), mistakes(t, trace, d, true); nic != 0 || app != 2 {
			t.Errorf("%s: %d mistakes by the kernel's stamps, %d by reading", d.Name(), nic, app)
		}
	}
}

// Two stops of the sender are two mistakes, by either arrival.
func TestTraceSenderStopped(t *testing.T) {
	streams, _ := traces(t)
	trace := streams["sender-stopped"].Beats
	for _, read := range []bool{false, true} {
		if n, longest := gaps(trace, read, 450*time.Millisecond); n != 2 || longest > 700*time.Millisecond {
			t.Errorf("%d stalls, the longest %v", n, longest)
		}
		if got := mistakes(t, trace, published.Fixed(20, 0), read); got != 2 {
			t.Errorf("%d mistakes at 20 periods", got)
		}
		// Akka's defaults wait 3.5 s, so stops of 0.5 s are no mistakes.
		if got := mistakes(t, trace, published.PhiNormal(published.PhiNormalOptions{}), read); got != 0 {
			t.Errorf("%d mistakes of phi", got)
		}
	}
}

// With 5 % random loss, each run of losses is a short silence: the receiver solicits the sender,
// which answers at once.
func TestTraceLossy(t *testing.T) {
	streams, how := traces(t)
	trace := streams["lossy"].Beats
	if n := how["lossy"].Dropped; n < 60 || n > 140 {
		t.Errorf("%d of 2000 dropped at 5 %%", n)
	}
	runs := 0
	for i := 301; i < len(trace); i++ {
		if trace[i].Sequence-trace[i-1].Sequence > 1 {
			runs++
		}
	}
	got := mistakes(t, trace, published.Fixed(1.2, 0), false)
	if late := got - runs; late < 0 || late > 20 {
		t.Errorf("%d mistakes at 1.2 periods, %d runs of losses", got, runs)
	}
	if got := mistakes(t, trace, published.Fixed(20, 0), false); got != 0 {
		t.Errorf("%d mistakes at twenty periods", got)
	}
}

// A sender that is starved of CPU time has long silences. Undisturbed traces have few of that
// length.
func TestTraceStarved(t *testing.T) {
	streams, _ := traces(t)
	const long = 50 * time.Millisecond
	starved, _ := gaps(streams["starved"].Beats, false, long)
	for _, quiet := range []string{"loopback", "veth"} {
		n, longest := gaps(streams[quiet].Beats, false, long)
		if n*5 > starved {
			t.Errorf("%s: %d silences, the longest %v; starved: %d", quiet, n, longest, starved)
		}
		if got := mistakes(t, streams[quiet].Beats, published.Fixed(20, 0), false); got != 0 {
			t.Errorf("%s: %d mistakes at 20 periods", quiet, got)
		}
	}
	if got := mistakes(t, streams["starved"].Beats, published.Fixed(5, 0), false); got < 10 {
		t.Errorf("starved: %d mistakes at five periods", got)
	}
}
