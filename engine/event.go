package engine

import (
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"systole/engine/clock"
)

// Event is a transition of a peer or, with NoCause, its present state. Events about this node are
// NodeEvents.
//
// The events of a peer are delivered in order, and the latest one is never lost. For a reader that
// falls behind, events are merged: Merged counts those skipped. The removal of a peer is delivered
// even if another peer has its slot by then. At is then an upper bound, Cause the likelier one, and
// Merged may include events of other peers that had the slot in between. Name, Tag and Addr are those of
// the event's own peer, or unset if they are kept no longer: see Peer.
type Event struct {
	Peer        Peer
	Name        string         // PeerConfig.Name; "" for a peer without one
	Tag         string         // PeerConfig.Tag
	Addr        netip.AddrPort // where heartbeats to the peer went when the event was read
	ID          uint64         // the peer's id, 0 while unknown
	Incarnation uint64         // the peer's incarnation, 0 while unknown
	From, To    State
	Cause       Cause
	At          clock.Instant // when the transition was decided
	Suspicion   float64       // of the detector at that instant
	Silence     time.Duration // since the last arrival; 0 if nothing ever arrived
	Lag         time.Duration // our own lateness: from the deadline, or the arrival, to At
	Delays      Delays        // of the last heartbeat; its SendWait is not known yet, and so in Network
	SendWait    time.Duration // of the newest heartbeat for which it is known; see PeerStats
	Slow        bool          // the peer was slow; see PeerStats
	Merged      int           // events of this peer that were skipped before this one
}

// Delays is the parts of the delay of one heartbeat, in the order of its way, up to 4.29 s each: from the
// sender's schedule to our reading, without the least recent delay of the path. So they need no
// synchronized clocks. SendWait, Host and Read are 0 if they were not measured, else at least 1 ns.
type Delays struct {
	// Source is where the arrival was stamped, at the end of Network. With clock.User that is our reading:
	// Network then has Host and Read as well.
	Source clock.Source
	// Late is from the sender's schedule to its sending.
	Late time.Duration
	// SendWait is from there to the hand-off: the wait in the sender's host. A later heartbeat tells it,
	// as the peer's Config.StampSends has it. Of heartbeats that leave together the first is told of, and
	// SendWait of the others is until that one left.
	SendWait time.Duration
	// Network is above the least recent delay of the path. It begins at the sending if SendWait was not
	// measured. Else it lacks the least SendWait, some 20 µs, which is in that least delay as well.
	Network time.Duration
	// Host is from a stamp below the socket to the socket's own stamp: the receiver's network stack. It
	// takes a Config.Arrivals that leaves the heartbeat to the socket.
	Host time.Duration
	// Read is from the socket's stamp to our reading. By design it is up to a step of the grid; see
	// Engine.Grid. A heartbeat that Config.Arrivals takes has no Read, because no time is set for its reading.
	Read time.Duration
}

// record is an Event or a NodeEvent without pointers, for the rings of subscriptions.
type record struct {
	node             bool // a NodeEvent
	nodeCause        NodeCause
	slot, generation uint32
	other, otherOf   uint32 // the other peer of an IDCollision, and its generation
	version          uint32 // of the slot's verdict; grows by one per transition
	from, to         State
	cause            Cause
	slow             bool
	suspicion        float32
	id, incarnation  uint64
	at               clock.Instant
	silence          int64
	lag              int64
	pause            int64
	delays           Delays
	sendWait         int64
}

// event returns r as an Event of e. Records have no pointers, so the words come from the peer's label.
func (r *record) event(e *Engine, merged int) Event {
	p := Peer{e, r.slot, r.generation}
	is := p.identity()
	return Event{
		Peer: p, Name: is.name, Tag: is.tag, Addr: is.addr, ID: r.id, Incarnation: r.incarnation,
		From: r.from, To: r.to, Cause: r.cause, At: r.at,
		Suspicion: float64(r.suspicion), Silence: time.Duration(r.silence), Lag: time.Duration(r.lag),
		Delays: r.delays, SendWait: time.Duration(r.sendWait), Slow: r.slow, Merged: merged,
	}
}

// identity returns who the event's peer is.
func (ev *Event) identity() identity {
	return identity{words{ev.Name, ev.Tag}, ev.Addr, ev.ID}
}

// accuses reports whether ev says that the peer is silent or gone, so that its silence and its level matter.
func (ev *Event) accuses() bool { return ev.To == Suspect || ev.To == Failed }

// String describes the event in a line for people, as in
// "db1.example:7853 [rack 4] alive → suspect: silence for 312 ms (level 7.4)".
func (ev Event) String() string {
	var b strings.Builder
	is := ev.identity()
	b.WriteString(is.text())
	switch {
	case ev.Cause == NoCause:
		fmt.Fprintf(&b, " is %v", ev.To)
	case ev.From == ev.To:
		fmt.Fprintf(&b, " stays %v: %v", ev.To, ev.Cause)
	default:
		fmt.Fprintf(&b, " %v → %v: %v", ev.From, ev.To, ev.Cause)
	}
	if ev.accuses() && ev.Silence > 0 {
		if ev.Cause != Silence {
			b.WriteString(", silent")
		}
		fmt.Fprintf(&b, " for %s (level %.1f)", inWords(ev.Silence), ev.Suspicion)
	}
	if ev.Slow {
		b.WriteString(", slow")
	}
	if ev.Merged > 0 {
		fmt.Fprintf(&b, "; %d events before it were merged", ev.Merged)
	}
	return b.String()
}

// LogValue returns the event as a group for structured logs: name, addr, tag, id (its first eight digits),
// from, to and cause, and of a peer that is suspect or failed silence and level. What is not known is not in it.
func (ev Event) LogValue() slog.Value {
	is := ev.identity()
	out := append(is.attrs(), slog.String("from", ev.From.String()), slog.String("to", ev.To.String()),
		slog.String("cause", ev.Cause.String()))
	if ev.accuses() && ev.Silence > 0 {
		out = append(out, slog.Duration("silence", ev.Silence), slog.Float64("level", math.Round(100*ev.Suspicion)/100))
	}
	if ev.Slow {
		out = append(out, slog.Bool("slow", true))
	}
	if ev.Merged > 0 {
		out = append(out, slog.Int("merged", ev.Merged))
	}
	return slog.GroupValue(out...)
}

// inWords returns a duration with three digits or so, for people.
func inWords(d time.Duration) string {
	value, unit := float64(d)/float64(time.Microsecond), " µs"
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		value, unit = d.Seconds(), " s"
	case d >= time.Millisecond:
		value, unit = float64(d)/float64(time.Millisecond), " ms"
	}
	digits := 0
	switch {
	case value < 10:
		digits = 2
	case value < 100:
		digits = 1
	}
	return strconv.FormatFloat(value, 'f', digits, 64) + unit
}
