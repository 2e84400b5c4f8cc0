package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"systole/engine"
)

// Words for people, in lines of ping and figures of serve.

// notMeasured stands for a figure that there is none of.
const notMeasured = "not measured"

// measured returns a duration, or that it was not measured.
func measured(d time.Duration) string {
	if d == 0 {
		return notMeasured
	}
	return round(d).String()
}

// times returns how often something happened.
func times(n uint64) string {
	switch n {
	case 0:
		return "never"
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return strconv.FormatUint(n, 10) + " times"
}

// percent returns a share of 0 to 1 in per cent.
func percent(share float64) string { return strconv.FormatFloat(share*100, 'g', 3, 64) + " %" }

// shortID returns an id for people: half its digits, or all digits of a small id, as a program or a person
// chooses it.
func shortID(id uint64) string {
	if id>>32 == 0 {
		return strconv.FormatUint(id, 16)
	}
	return fmt.Sprintf("%016x", id)[:8]
}

// sendings follows what was sent to a peer, and whether somebody was there to count what was lost.
type sendings struct {
	sent, received, incarnation uint64 // when last looked at
	answered                    uint64 // sent when the peer was last heard
	gone                        uint64 // of these, sent before it was there, or since the process before it ended
}

// take takes the present figures.
func (q *sendings) take(s *engine.PeerStats) {
	if s.Received != q.received {
		switch {
		case q.received == 0:
			// What was under way when the peer was first heard is answered.
			q.gone = q.sent - min(q.sent, firstContact+uint64(s.RoundTrip/max(s.Period, time.Millisecond)))
		case s.Incarnation != q.incarnation:
			q.gone += q.sent - q.answered
		}
		q.answered, q.incarnation = s.Sent, s.Incarnation // a new incarnation is there before its first heartbeat counts
	}
	q.sent, q.received = s.Sent, s.Received
}

// loss is what became of the heartbeats in one direction.
type loss struct {
	lost, of   uint64 // of so many it is known whether they were lost
	unanswered uint64 // sent while nobody was there to tell
}

// share returns the share of lost heartbeats, false if nothing is known.
func (l loss) share() (float64, bool) {
	if l.of == 0 {
		return 0, false
	}
	return float64(l.lost) / float64(l.of), true
}

// String returns the loss in per cent, with how many of how many.
func (l loss) String() string {
	share, ok := l.share()
	if !ok {
		return notMeasured
	}
	return fmt.Sprintf("%s (%d of %d)", percent(share), l.lost, l.of)
}

// lossOut returns what is known of our heartbeats. Until the peer was last heard, the peer counts what it did
// not receive. What was sent to an alive peer since is on its way.
func lossOut(s *engine.PeerStats, q *sendings) loss {
	if s.Received == 0 {
		return loss{unanswered: s.Sent}
	}
	l := loss{lost: s.LostOut, of: max(q.answered-q.gone, s.LostOut), unanswered: q.gone}
	if s.State != engine.Alive && s.State != engine.OneWay {
		l.unanswered += s.Sent - min(q.answered, s.Sent)
	}
	return l
}

// lossIn returns what is known of the peer's heartbeats.
func lossIn(s *engine.PeerStats) loss {
	if s.Received == 0 {
		return loss{}
	}
	return loss{lost: s.LostIn, of: s.Received + s.LostIn}
}

// exchanged says how many heartbeats went each way, and how often each side sends: periods may differ.
func exchanged(s *engine.PeerStats) string {
	out := fmt.Sprintf("sent %d", s.Sent)
	if s.Period > 0 {
		out += fmt.Sprintf(", one per %v", s.Period)
	}
	if s.Received == 0 {
		return out + "; received none"
	}
	out += fmt.Sprintf("; received %d", s.Received)
	if s.PeerPeriod > 0 {
		out += fmt.Sprintf(", one per %v", s.PeerPeriod)
	}
	return out
}

// lostText says what was lost each way.
func lostText(s *engine.PeerStats, q *sendings) string {
	out := lossOut(s, q)
	switch {
	case s.Received == 0 && s.Sent == 0:
		return "nothing was sent"
	case s.Received == 0:
		return fmt.Sprintf("100 %% unanswered (%d of %d), never heard", s.Sent, s.Sent)
	case out.unanswered > 0:
		return fmt.Sprintf("lost out %v, %d unanswered; lost in %v", out, out.unanswered, lossIn(s))
	}
	return fmt.Sprintf("lost out %v, lost in %v", out, lossIn(s))
}

// troubles says how often and how long the peer was down, why, and how often this node was wrong about it;
// "" if there was nothing of it.
func troubles(s *engine.PeerStats, h *history, downtime time.Duration) string {
	var parts []string
	if h.downs > 0 {
		text := fmt.Sprintf("down %s, for %v in all", times(uint64(h.downs)), round(downtime))
		if h.downs == 1 {
			text = fmt.Sprintf("down once, for %v", round(downtime))
		}
		if h.certain {
			text += " so far"
		}
		parts = append(parts, text+", because of "+h.cause.String())
	}
	if h.restarts > 0 {
		parts = append(parts, "restarted "+times(uint64(h.restarts)))
	}
	if s.Mistakes > 0 {
		parts = append(parts, "suspected wrongly "+times(s.Mistakes))
	}
	if s.Failures > 0 {
		parts = append(parts, "failed "+times(s.Failures))
	}
	return strings.Join(parts, "; ")
}
