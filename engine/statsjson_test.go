package engine

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"systole/engine/clock"
	"systole/wire"
)

// jsonOf returns v in JSON, indented.
func jsonOf(t *testing.T, v any) string {
	t.Helper()
	line, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, line, "", " "); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// differ fails with the first line in which two texts differ.
func differ(t *testing.T, got, want string) {
	t.Helper()
	g, w := strings.Split(strings.TrimSpace(got), "\n"), strings.Split(strings.TrimSpace(want), "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Fatalf("line %d is %s, not %s, in\n%s", i+1, g[i], w[i], got)
		}
	}
	if len(g) != len(w) {
		t.Fatalf("%d lines, not %d:\n%s", len(g), len(w), got)
	}
}

// taken is a reading of both clocks: 2 s and 1 ns after 1 s of the monotonic clock was 2026-01-02 03:04:05.
var taken = clock.Reading{Now: 3e9 + 1, Wall: time.Date(2026, 1, 2, 3, 4, 7, 1, time.UTC).UnixNano()}

func TestStatsJSON(t *testing.T) {
	s := Stats{taken: taken}
	s.Peers.Watched, s.Peers.Alive, s.Peers.Slots = 3, 2, 4
	s.Heartbeats.Sent, s.Heartbeats.Accepted, s.Loop.MaySeemDeadSince = 1<<60, 7, 2e9
	s.Loop.Turns = 9
	s.Loop.Lateness.Record(time.Millisecond)
	s.Sockets.Layer, s.Sockets.Received = "linux", 12
	s.Sockets.RecvBuffer.Wanted, s.Sockets.RecvBuffer.Granted = 5, 6
	s.Stamps.Arrivals[clock.Kernel], s.Stamps.Arrivals[clock.BPF] = 4, 1
	s.Refused.Faults[wire.BadTag] = 5
	s.Verdicts.Watched = time.Minute
	differ(t, jsonOf(t, s), `{
 "v": 1,
 "type": "stats",
 "t": "2026-01-02T03:04:07.000000001Z",
 "peers": {
  "watched": 3,
  "alive": 2,
  "slots": 4
 },
 "heartbeats": {
  "sent": 1152921504606846976,
  "accepted": 7,
  "missed": 0,
  "solicited": 0,
  "duplicated": 0,
  "reordered": 0,
  "moved": 0
 },
 "loop": {
  "turns": 9,
  "calls": 0,
  "pauses": 0,
  "extended": 0,
  "lateness": {
   "schema": 2,
   "zero_threshold": 9.5367431640625e-07,
   "count": 1,
   "sum_ns": 1000000,
   "max_ns": 1000000,
   "buckets": {
    "-39": 1
   }
  },
  "lateness_recent": {
   "schema": 2,
   "zero_threshold": 9.5367431640625e-07,
   "count": 0,
   "sum_ns": 0
  },
  "may_seem_dead_since": "2026-01-02T03:04:06Z"
 },
 "sockets": {
  "layer": "linux",
  "received": 12,
  "dropped": 0,
  "send_full": 0,
  "send_our_side": 0,
  "send_other": 0,
  "returned": 0,
  "foreign": 0,
  "recv_buffer": {
   "wanted": 5,
   "granted": 6
  },
  "send_buffer": {
   "wanted": 0,
   "granted": 0
  }
 },
 "stamps": {
  "refused": 0,
  "taken": 0,
  "sends_sampled": 0,
  "sends_stamped": 0,
  "sends_refused": 0,
  "follow_ups": 0,
  "follow_ups_refused": 0,
  "arrivals": {
   "bpf": 1,
   "kernel": 4
  }
 },
 "strangers": {
  "introduced": 0,
  "datagrams": 0,
  "refused": 0
 },
 "refused": {
  "stale": 0,
  "looped": 0,
  "collisions": 0,
  "faults": {
   "bad-tag": 5
  }
 },
 "messages": {
  "unknown": 0,
  "long": 0
 },
 "verdicts": {
  "transitions": 0,
  "mistakes": 0,
  "watched_ns": 60000000000
 }
}`)
	if _, err := json.Marshal(&Stats{}); err != nil {
		t.Error(err)
	}
}

func TestPeerStatsJSON(t *testing.T) {
	s := PeerStats{
		taken: taken, Name: "db-1", Tag: "rack 3", ID: 0xabc, Incarnation: 1 << 60, Addr: netip.MustParseAddrPort("192.0.2.7:7853"),
		State: Suspect, Cause: Silence, Since: 1e9, Suspicion: 4.5, Sent: 10, Received: 8, LostOut: 1, LostIn: 2, Slow: true,
		Watched: time.Second, RoundTrip: 200, LeastRoundTrip: 150, SendWait: 30, Period: 1e8, PeerPeriod: 2e8,
		LastArrival: 5e8, Granted: 3e8, MaySeemDeadSince: 3e9,
		Last: Sample{Sequence: 77, Arrival: 5e8, RoundTrip: 210, Delays: Delays{Source: clock.Kernel, Network: 40, Read: 9}},
	}
	differ(t, jsonOf(t, s), `{
 "v": 1,
 "type": "peer",
 "t": "2026-01-02T03:04:07.000000001Z",
 "peer": "db-1",
 "addr": "192.0.2.7:7853",
 "tag": "rack 3",
 "id": "0000000000000abc",
 "incarnation": "1152921504606846976",
 "state": "suspect",
 "cause": "silence",
 "since": "2026-01-02T03:04:05Z",
 "slow": true,
 "sent": 10,
 "received": 8,
 "lost_out": 1,
 "lost_in": 2,
 "duplicated": 0,
 "reordered": 0,
 "missed": 0,
 "mistakes": 0,
 "failures": 0,
 "suspicion": 4.5,
 "watched_ns": 1000000000,
 "smoothed_rtt_ns": 200,
 "least_rtt_ns": 150,
 "send_wait_ns": 30,
 "wire_delay_ns": 0,
 "period_ns": 100000000,
 "peer_period_ns": 200000000,
 "last_arrival": "2026-01-02T03:04:04.5Z",
 "granted_ns": 300000000,
 "may_seem_dead_since": "2026-01-02T03:04:07Z",
 "last": {
  "sequence": 77,
  "stamp": "kernel",
  "rtt_ns": 210,
  "sender_late_ns": 0,
  "network_ns": 40,
  "read_ns": 9
 }
}`)
	differ(t, jsonOf(t, PeerStats{Name: "db-1", State: Removed}), `{
 "v": 1,
 "type": "peer",
 "peer": "db-1",
 "state": "removed"
}`)
}

// What an engine returns has the time, and no more than was measured.
func TestStatsOfAnEngineInJSON(t *testing.T) {
	_, a, b, p := pair(t, Config{})
	for _, v := range []any{a.Stats(), p.Stats(), a.Histograms(true)} {
		if text := jsonOf(t, v); strings.Contains(text, "Histogram") || strings.Contains(text, "null") {
			t.Error(text)
		}
	}
	if text := jsonOf(t, a.Stats()); !strings.Contains(text, `"t": "20`) || !strings.Contains(text, `"may_seem_dead_since": "20`) {
		t.Error(text)
	}
	if text := jsonOf(t, p.Stats()); !strings.Contains(text, `"peer": "`+b.host.Addr().String()) || !strings.Contains(text, `"alive"`) {
		t.Error(text)
	}
	if text := jsonOf(t, b.Histograms(false)); !strings.Contains(text, `"rtt": {`) || strings.Contains(text, `"host"`) {
		t.Error(text)
	}
}
