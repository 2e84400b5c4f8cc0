package engine

import (
	"encoding/json"
	"fmt"
	"time"

	"systole/engine/clock"
	"systole/wire"
)

// MarshalJSON returns the figures as an object of version 1 of the JSON form. Within a version keys are only added.
//
//	v       1, the version
//	type    "stats"
//	t       when Engine.Stats was called by the wall clock: RFC 3339 with nanoseconds, in UTC
//
// The other keys are the subjects, each an object whose keys are the names of its fields in snake case: for instance
// peers.watched, heartbeats.sent and loop.calls. Counts are numbers, also if they are 0. Besides,
//
//	loop.may_seem_dead_since        is an instant like t; absent if nothing was sent
//	loop.lateness, loop.lateness_recent  are histograms; see histogram.Histogram.MarshalJSON
//	sockets.recv_buffer, sockets.send_buffer  are objects of wanted and granted, in bytes
//	stamps.arrivals                 is an object of counts above 0 by source: user, kernel, nic, bpf
//	refused.faults                  is an object of counts above 0 by the fault's name
//	verdicts.watched_ns             is in nanoseconds
func (s Stats) MarshalJSON() ([]byte, error) {
	arrivals := counts64(s.Stamps.Arrivals[:], func(i int) string { return clock.Source(i).String() })
	faults := counts64(s.Refused.Faults[:], func(i int) string { return wire.Fault(i).String() })
	loop := any(s.Loop)
	if at := s.Loop.MaySeemDeadSince; at != 0 {
		loop = extended{loop, "may_seem_dead_since", wallText(s.taken, at)}
	}
	return json.Marshal(struct {
		jsonHead
		Peers      any      `json:"peers"`
		Heartbeats any      `json:"heartbeats"`
		Loop       any      `json:"loop"`
		Sockets    any      `json:"sockets"`
		Stamps     extended `json:"stamps"`
		Strangers  any      `json:"strangers"`
		Refused    extended `json:"refused"`
		Messages   any      `json:"messages"`
		Verdicts   any      `json:"verdicts"`
	}{
		jsonHead{jsonVersion, "stats", wallText(s.taken, s.taken.Now)}, s.Peers, s.Heartbeats, loop, s.Sockets,
		extended{s.Stamps, "arrivals", arrivals},
		s.Strangers, extended{s.Refused, "faults", faults}, s.Messages, s.Verdicts,
	})
}

// extended is an object with a key more.
type extended struct {
	object any
	key    string
	value  any
}

// MarshalJSON returns the object with its further key at the end.
func (x extended) MarshalJSON() ([]byte, error) {
	object, err := json.Marshal(x.object)
	if err != nil {
		return nil, err
	}
	value, err := json.Marshal(x.value)
	if err != nil {
		return nil, err
	}
	separator := ","
	if len(object) == len("{}") {
		separator = ""
	}
	return fmt.Appendf(object[:len(object)-1], "%s%q:%s}", separator, x.key, value), nil
}

// counts64 returns the counts above 0, by name.
func counts64(counts []uint64, name func(int) string) map[string]uint64 {
	named := make(map[string]uint64)
	for i, n := range counts {
		if n > 0 {
			named[name(i)] = n
		}
	}
	return named
}

// wallText returns an instant by the wall clock, as of a reading of both clocks: RFC 3339 in UTC. It returns "" for
// an instant or a reading of 0, which is not known.
func wallText(r clock.Reading, at clock.Instant) string {
	if at == 0 || r.Wall == 0 {
		return ""
	}
	return time.Unix(0, r.Wall).Add(at.Sub(r.Now)).UTC().Format(time.RFC3339Nano)
}

// peerStatsJSON is the JSON form of PeerStats. PeerStats.MarshalJSON lists the keys.
type peerStatsJSON struct {
	jsonHead
	jsonWho
	State            State       `json:"state"`
	*peerFiguresJSON             // nil if nothing is known
	Last             *sampleJSON `json:"last,omitempty"`
}

// peerFiguresJSON is the figures of a peer.
type peerFiguresJSON struct {
	Cause            Cause   `json:"cause"`
	Since            string  `json:"since,omitempty"`
	Degraded         bool    `json:"degraded,omitempty"`
	Slow             bool    `json:"slow,omitempty"`
	Sent             uint64  `json:"sent"`
	Received         uint64  `json:"received"`
	LostOut          uint64  `json:"lost_out"`
	LostIn           uint64  `json:"lost_in"`
	Duplicated       uint32  `json:"duplicated"`
	Reordered        uint32  `json:"reordered"`
	Missed           uint64  `json:"missed"`
	Mistakes         uint64  `json:"mistakes"`
	Failures         uint64  `json:"failures"`
	Suspicion        float64 `json:"suspicion"`
	WatchedNS        int64   `json:"watched_ns"`
	SmoothedRTTNS    int64   `json:"smoothed_rtt_ns,omitempty"`
	LeastRTTNS       int64   `json:"least_rtt_ns,omitempty"`
	SendWaitNS       int64   `json:"send_wait_ns,omitempty"`
	WireDelayNS      *int64  `json:"wire_delay_ns,omitempty"`
	PeriodNS         int64   `json:"period_ns,omitempty"`
	PeerPeriodNS     int64   `json:"peer_period_ns,omitempty"`
	Progress         uint64  `json:"progress,omitempty"`
	LastArrival      string  `json:"last_arrival,omitempty"`
	GrantedNS        int64   `json:"granted_ns,omitempty"`
	MaySeemDeadSince string  `json:"may_seem_dead_since,omitempty"`
}

// sampleJSON is the JSON form of the last heartbeat.
type sampleJSON struct {
	Sequence  uint32 `json:"sequence"`
	Stamp     string `json:"stamp"`
	RTTNS     int64  `json:"rtt_ns,omitempty"`
	SenderNS  int64  `json:"sender_late_ns"`
	SendNS    int64  `json:"send_wait_ns,omitempty"`
	NetworkNS int64  `json:"network_ns"`
	HostNS    int64  `json:"host_ns,omitempty"`
	ReadNS    int64  `json:"read_ns,omitempty"`
}

// MarshalJSON returns the figures as an object of version 1 of the JSON form. Within a version keys are only added.
// A key is absent if its value is not known or was not measured; counts are present also if they are 0. Keys that
// end in _ns are in nanoseconds. Instants are by the wall clock: RFC 3339 with nanoseconds, in UTC.
//
//	v                    1, the version
//	type                 "peer"
//	t                    when Peer.Stats was called
//	peer                 the peer's name or, if it has none, its address, or "id" and half its id
//	addr                 Addr
//	tag                  Tag
//	id                   ID in 16 hexadecimal digits: a string, because it may exceed 2^53
//	incarnation          Incarnation in decimal digits, a string as well
//	state, cause         State and Cause, by name
//	since                Since
//	degraded, slow       Degraded and Slow; absent if false
//	sent, received, lost_out, lost_in, duplicated, reordered, missed, mistakes, failures   the counts
//	suspicion            Suspicion
//	watched_ns           Watched
//	smoothed_rtt_ns, least_rtt_ns    RoundTrip and LeastRoundTrip
//	send_wait_ns, wire_delay_ns      SendWait and WireDelay
//	period_ns, peer_period_ns        Period and PeerPeriod
//	progress             Progress; absent if 0
//	last_arrival         LastArrival
//	granted_ns           Granted
//	may_seem_dead_since  MaySeemDeadSince
//	last                 Last: sequence, stamp (user, kernel, nic or bpf), rtt_ns, sender_late_ns, send_wait_ns,
//	                     network_ns, host_ns, read_ns
//
// Of a peer that was removed, or that its loop has not seen yet, there is v, type, state, and who it is or was.
func (s PeerStats) MarshalJSON() ([]byte, error) {
	is := identity{words{s.Name, s.Tag}, s.Addr, s.ID}
	line := peerStatsJSON{
		jsonHead: jsonHead{jsonVersion, "peer", wallText(s.taken, s.taken.Now)}, jsonWho: is.json(s.Incarnation), State: s.State,
	}
	if s.taken.Wall == 0 {
		return json.Marshal(line)
	}
	line.peerFiguresJSON = s.figures()
	if l := &s.Last; s.LastArrival != 0 {
		line.Last = &sampleJSON{
			l.Sequence, l.Source.String(), int64(l.RoundTrip), int64(l.Late), int64(l.SendWait), int64(l.Network), int64(l.Host), int64(l.Read),
		}
	}
	return json.Marshal(line)
}

// figures returns the figures of s in their JSON form.
func (s *PeerStats) figures() *peerFiguresJSON {
	f := &peerFiguresJSON{
		Cause: s.Cause, Since: wallText(s.taken, s.Since), Degraded: s.Degraded, Slow: s.Slow,
		Sent: s.Sent, Received: s.Received, LostOut: s.LostOut, LostIn: s.LostIn,
		Duplicated: s.Duplicated, Reordered: s.Reordered, Missed: s.Missed,
		Mistakes: s.Mistakes, Failures: s.Failures, Suspicion: s.Suspicion, WatchedNS: int64(s.Watched),
		SmoothedRTTNS: int64(s.RoundTrip), LeastRTTNS: int64(s.LeastRoundTrip), SendWaitNS: int64(s.SendWait),
		PeriodNS: int64(s.Period), PeerPeriodNS: int64(s.PeerPeriod), Progress: s.Progress,
		LastArrival: wallText(s.taken, s.LastArrival), GrantedNS: int64(s.Granted),
		MaySeemDeadSince: wallText(s.taken, s.MaySeemDeadSince),
	}
	if s.SendWait > 0 {
		delay := int64(s.WireDelay)
		f.WireDelayNS = &delay
	}
	return f
}
