package main

import (
	"fmt"
	"strings"
	"time"

	"systole/engine"
	"systole/engine/clock"
	"systole/wire"
)

// status returns what SIGQUIT of serve prints: a block for each peer, as routers print their BFD peers,
// then totals and where it stamps.
func status(e *engine.Engine, stamps jsonStamps) string {
	var b strings.Builder
	now := statusTime{clock.Now(), time.Now()}
	peers := e.Snapshot(nil)
	for i := range peers {
		now.peer(&b, &peers[i])
	}
	fmt.Fprintf(&b, "%s\n", census(peers))
	total := e.Stats()
	totals(&b, &total)
	fmt.Fprintf(&b, "stamps: %v\n", stamps)
	return b.String()
}

// statusTime is the time of a status by both clocks.
type statusTime struct {
	now  clock.Instant
	wall time.Time
}

// since returns how long an instant is ago, and when that was.
func (t statusTime) since(at clock.Instant) (time.Duration, string) {
	ago := t.now.Sub(at)
	return ago, t.wall.Add(-ago).Format(time.DateTime)
}

// peer writes the block of a peer.
func (t statusTime) peer(b *strings.Builder, s *engine.PeerStats) {
	fmt.Fprintf(b, "%s\n", statusName(s))
	if s.ID != 0 {
		fmt.Fprintf(b, "  id %s, incarnation %d\n", shortID(s.ID), s.Incarnation)
	}
	direction := "up"
	switch s.State {
	case engine.Connecting:
		direction = "waiting"
	case engine.Suspect, engine.Failed, engine.Left, engine.Removed:
		direction = "down"
	}
	ago, when := t.since(s.Since)
	fmt.Fprintf(b, "  %v%s; %s for %v, since %s, because of %v\n", s.State, slowText(s.Slow), direction, ago.Round(time.Millisecond), when, s.Cause)
	periods := "periods are not agreed yet"
	if s.Period > 0 && s.PeerPeriod > 0 {
		periods = fmt.Sprintf("we send once per %v, the peer once per %v", s.Period, s.PeerPeriod)
	}
	fmt.Fprintf(b, "  %s; detection time %s\n", periods, measured(s.Granted))
	if s.LastArrival != 0 {
		heard, _ := t.since(s.LastArrival)
		fmt.Fprintf(b, "  last heard %v ago; suspicion %.2f\n", round(heard), s.Suspicion)
	}
	fmt.Fprintf(b, "  round trip %s, the least %s\n", measured(s.RoundTrip), measured(s.LeastRoundTrip))
	fmt.Fprintf(b, "  sent %d, received %d; %s\n", s.Sent, s.Received, statusLoss(s))
	fmt.Fprintf(b, "  suspected wrongly %s, failed %s\n", times(s.Mistakes), times(s.Failures))
}

// statusName returns the first line of a block: the name of the peer and its address.
func statusName(s *engine.PeerStats) string {
	switch {
	case s.Name == "":
		return s.Addr.String()
	case s.Addr.IsValid():
		return s.Name + " (" + s.Addr.String() + ")"
	}
	return s.Name
}

// statusLoss says what was lost each way. What was sent to a peer that is not alive, since it was last heard, is
// not known.
func statusLoss(s *engine.PeerStats) string {
	if s.Received == 0 || s.State == engine.Alive || s.State == engine.OneWay {
		return lostText(s, &sendings{answered: s.Sent})
	}
	return fmt.Sprintf("lost out %d until it was last heard, lost in %v", s.LostOut, lossIn(s))
}

// census returns how many peers are in which state.
func census(peers []engine.PeerStats) string {
	count := make(map[engine.State]int)
	for i := range peers {
		count[peers[i].State]++
	}
	noun := "peers"
	if len(peers) == 1 {
		noun = "peer"
	}
	text := fmt.Sprintf("%d %s", len(peers), noun)
	separator := ": "
	for s := engine.Unknown; s <= engine.Removed; s++ {
		if n := count[s]; n > 0 {
			text += fmt.Sprintf("%s%d %v", separator, n, s)
			separator = ", "
		}
	}
	return text
}

// totals writes the figures of the engine.
func totals(b *strings.Builder, s *engine.Stats) {
	fmt.Fprintf(b, "sent %d heartbeats, received %d datagrams, accepted %d heartbeats\n", s.Heartbeats.Sent, s.Sockets.Received, s.Heartbeats.Accepted)
	fmt.Fprintf(b, "refused datagrams: %s\n", refused(s))
	fmt.Fprintf(b, "dropped by the kernel: %d; heartbeats not sent in time: %d; pauses of this node: %d\n", s.Sockets.Dropped, s.Heartbeats.Missed, s.Loop.Pauses)
	late := &s.Loop.Lateness
	fmt.Fprintf(b, "turns late by p50 %v, p99 %v, max %v\n", round(late.Quantile(0.5)), round(late.Quantile(0.99)), round(late.Quantile(1)))
	for _, text := range s.Shortages() {
		fmt.Fprintf(b, "%s\n", text)
	}
}

// refused returns the numbers of refused datagrams by cause, those above 0.
func refused(s *engine.Stats) string {
	var parts []string
	add := func(name string, n uint64) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", name, n))
		}
	}
	for f := range wire.NumFaults {
		add(f.String(), s.Refused.Faults[f])
	}
	add("strangers", s.Strangers.Refused)
	add("stale", s.Refused.Stale)
	add("duplicated", s.Heartbeats.Duplicated)
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
