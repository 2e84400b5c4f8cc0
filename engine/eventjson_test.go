package engine

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"systole/engine/clock"
)

// shownEvents returns events of all forms in a world at a known time, and what people read of each.
func shownEvents(t *testing.T) (all []any, texts []string) {
	w := newWorld(t, 1)
	a := w.start(Config{})
	w.run(time.Second)
	at := w.now()
	named, err := a.AddPeer(PeerConfig{Name: "db1.example:7853", ID: 0x1f3a5b7c_00000001, Tag: "rack 4"})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := a.AddPeer(PeerConfig{Addr: netip.MustParseAddrPort("192.0.2.7:7853")})
	if err != nil {
		t.Fatal(err)
	}
	suspected := (&record{
		slot: named.slot, generation: named.generation, from: Alive, to: Suspect, cause: Silence, at: at,
		suspicion: 7.4, id: 0x1f3a5b7c_00000001, incarnation: 1_700_000_000_123_456_789, silence: 312_345_678, lag: 1000,
		delays: Delays{Source: clock.Kernel, Late: 1, Network: 3, Host: 4, Read: 5}, sendWait: 2, slow: true,
	}).event(a.Engine, 3)
	refused := suspected
	refused.Cause, refused.Suspicion, refused.Slow, refused.Merged = PortUnreachable, 2.1, false, 0
	unheard := (&record{slot: plain.slot, generation: plain.generation, from: Connecting, to: Failed, cause: NeverHeard, at: at}).event(a.Engine, 0)
	present := unheard
	present.From, present.Cause = Failed, NoCause
	unresolved := (&record{slot: named.slot, generation: named.generation, from: Connecting, to: Connecting, cause: Unresolved}).event(a.Engine, 0)
	node := func(ev NodeEvent) NodeEvent {
		ev.At = at
		r := ev.record()
		return r.nodeEvent(a.Engine)
	}
	for _, e := range []struct {
		event any
		text  string
	}{
		{suspected, "db1.example:7853 [rack 4] alive → suspect: silence for 312 ms (level 7.4), slow; 3 events before it were merged"},
		{refused, "db1.example:7853 [rack 4] alive → suspect: port-unreachable, silent for 312 ms (level 2.1)"},
		{unheard, "192.0.2.7:7853 connecting → failed: never-heard"},
		{present, "192.0.2.7:7853 is failed"},
		{unresolved, "db1.example:7853 [rack 4] stays connecting: unresolved"},
		{Event{ID: 1 << 63}, "id 80000000 is unknown"},
		{Event{ID: 0x2a, From: Alive, To: Left, Cause: Goodbye}, "id 2a alive → left: goodbye"},
		{node(NodeEvent{Cause: LocalPause, Pause: 1234 * time.Millisecond}), "this node: local-pause of 1.23 s"},
		{node(NodeEvent{Cause: LocalSuspect}), "this node: local-suspect: peers fell silent together, so this node may be the isolated one"},
		{node(NodeEvent{Cause: IDCollision, ID: 7 << 60, Incarnation: 12}), "this node: id-collision: another process has this node's id 70000000"},
		{node(NodeEvent{Cause: IDCollision, ID: 7 << 60, Incarnation: 12, Others: [2]Peer{named, plain}}),
			"this node: id-collision: two processes have the id 70000000: db1.example:7853 [rack 4] and 192.0.2.7:7853"},
		{node(NodeEvent{Cause: PromiseAtRisk}), "this node: promise-at-risk: measurements show that the promise cannot be kept"},
		{NodeEvent{Cause: LocalPause, Merged: 2}, "this node: local-pause of 0.00 µs; 2 events of this cause before it were merged"},
	} {
		all, texts = append(all, e.event), append(texts, e.text)
	}
	return all, texts
}

func TestEventsInWords(t *testing.T) {
	all, texts := shownEvents(t)
	for i, ev := range all {
		if got := ev.(interface{ String() string }).String(); got != texts[i] {
			t.Errorf("event %d:\n%s\nwant\n%s", i, got, texts[i])
		}
	}
}

// The JSON form of events is that of testdata/events.jsonl, and their form in structured logs is that of
// testdata/events.log. A change of the former that is no addition of keys needs another version.
func TestEventsForMachines(t *testing.T) {
	var lines, logs bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&logs, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key != "event" {
			return slog.Attr{}
		}
		return a
	}}))
	all, _ := shownEvents(t)
	for _, ev := range all {
		b, err := json.Marshal(ev)
		if err != nil {
			t.Fatal(err)
		}
		lines.Write(append(b, '\n'))
		log.Info("", "event", ev)
	}
	for _, g := range []struct{ file, got string }{{"testdata/events.jsonl", lines.String()}, {"testdata/events.log", logs.String()}} {
		want, err := os.ReadFile(g.file)
		if err != nil {
			t.Fatal(err)
		}
		if g.got != string(want) {
			t.Errorf("%s:\n%swant\n%s", g.file, g.got, want)
		}
	}
}

// The documentation lists each key of the JSON form, and no other.
func TestKeysAreDocumented(t *testing.T) {
	source, err := os.ReadFile("eventjson.go")
	if err != nil {
		t.Fatal(err)
	}
	_, doc, _ := strings.Cut(string(source), "// MarshalJSON returns the event as an object of version 1")
	doc, _, _ = strings.Cut(doc, "\nfunc ")
	listed := make(map[string]bool)
	for line := range strings.Lines(doc) {
		if keys, ok := strings.CutPrefix(line, "//\t"); ok {
			keys, _, _ = strings.Cut(keys, "  ")
			for key := range strings.SplitSeq(keys, ", ") {
				listed[key] = true
			}
		}
	}
	used := make(map[string]bool)
	all, _ := shownEvents(t)
	for _, ev := range all {
		b, err := json.Marshal(ev)
		if err != nil {
			t.Fatal(err)
		}
		var keys map[string]any
		if err := json.Unmarshal(b, &keys); err != nil {
			t.Fatal(err)
		}
		for key := range keys {
			used[key] = true
			if !listed[key] {
				t.Errorf("%s is not documented", key)
			}
		}
	}
	for key := range listed {
		if !used[key] {
			t.Errorf("%s is documented, and no event has it", key)
		}
	}
}

func TestDurationsInWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		1500: "1.50 µs", 42 * time.Microsecond: "42.0 µs", 312345 * time.Microsecond: "312 ms",
		1500 * time.Millisecond: "1.50 s", 59 * time.Second: "59.0 s", 151 * time.Second: "2m31s",
	} {
		if got := inWords(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
