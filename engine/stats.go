package engine

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"systole/engine/clock"
	"systole/engine/histogram"
	"systole/engine/internal/network"
	"systole/ringbuf"
	"systole/wire"
)

// counters is the counters of one shard. Its owner adds, any goroutine reads.
type counters struct {
	turns, sent, missed, stampsRefused          ringbuf.Word
	stamped                                     [clock.BPF + 1]ringbuf.Word
	introduced, strangers, refusedStrangers     ringbuf.Word
	taken                                       ringbuf.Word
	stale, duplicated, reordered, moved         ringbuf.Word
	looped, collisions                          ringbuf.Word
	unknownMessages, longMessages               ringbuf.Word
	solicited, extended, pauses                 ringbuf.Word
	transitions, refusedTransitions, nodeEvents ringbuf.Word
	mistakes, watched                           ringbuf.Word
	errorsQueued, errorsForeign, dropped        ringbuf.Word
	sendFull, sendOurSide, sendOther            ringbuf.Word
	accepted, lastSent, peers, alive            ringbuf.Word
	receiveErrors                               ringbuf.Word
	received                                    ringbuf.Word
	sendsSampled, sendsStamped                  ringbuf.Word
	sendStampsRefused                           ringbuf.Word
	followUps, followUpsRefused                 ringbuf.Word
	faults                                      [wire.NumFaults]ringbuf.Word
	lateness                                    distribution
}

// fault counts a refused datagram.
func (c *counters) fault(f wire.Fault) { c.faults[f].Add(1) }

// sendError counts a heartbeat that the kernel refused to send.
func (c *counters) sendError(why network.Refusal) {
	switch {
	case why == network.NoBuffer:
		c.sendFull.Add(1)
	case ourSide(why) != NoCause:
		c.sendOurSide.Add(1)
	default:
		c.sendOther.Add(1)
	}
}

// turn counts a turn that began late by the given time, in a span.
func (c *counters) turn(late time.Duration, span uint64) {
	c.turns.Add(1)
	c.lateness.record(late, span)
}

// Stats is the figures of an engine, over all shards, by subject. Counters count since Open; nothing resets.
// Any two readings can be subtracted.
//
// Each received datagram is counted once more by its outcome: Sockets.Received is the sum of
// Heartbeats.Accepted, Heartbeats.Duplicated, Strangers.Introduced, Strangers.Datagrams, Strangers.Refused,
// Refused.Stale, Refused.Looped, Refused.Collisions and all of Refused.Faults.
type Stats struct {
	// Peers is the peer table at this moment.
	Peers struct {
		Watched int `json:"watched"` // peers, added and admitted
		Alive   int `json:"alive"`   // peers that are Alive or OneWay
		Slots   int `json:"slots"`   // slots of the table, used or free
	}
	// Heartbeats is what was exchanged with peers.
	Heartbeats struct {
		Sent       uint64 `json:"sent"`       // heartbeats, and answers to strangers, given to the kernel, also those that it refused: see Sockets
		Accepted   uint64 `json:"accepted"`   // heartbeats of peers that were believed
		Missed     uint64 `json:"missed"`     // heartbeats that were skipped because their time had passed
		Solicited  uint64 `json:"solicited"`  // heartbeats that asked a silent peer to answer
		Duplicated uint64 `json:"duplicated"` // datagrams that had been received before
		Reordered  uint64 `json:"reordered"`  // heartbeats accepted after a later one
		Moved      uint64 `json:"moved"`      // changes of a peer's address
	}
	// Loop is how the owner loops ran.
	Loop struct {
		Turns    uint64 `json:"turns"`    // turns of the loops
		Calls    uint64 `json:"calls"`    // system calls of the loops
		Pauses   uint64 `json:"pauses"`   // turns so late that deadlines were moved
		Extended uint64 `json:"extended"` // verdicts that were put off because a receive buffer had overflowed
		// Lateness is how late turns began. A late loop accuses no peer; see LocalPause. LatenessRecent is of
		// the last minute: 60 to 90 s.
		Lateness       histogram.Histogram `json:"lateness"`
		LatenessRecent histogram.Histogram `json:"lateness_recent"`
		// MaySeemDeadSince is when the kernel last accepted a heartbeat for sending: from then on peers have heard
		// nothing of this node, whatever it believes of itself.
		MaySeemDeadSince clock.Instant `json:"-"`
	}
	// Sockets is what the kernel took and gave.
	Sockets struct {
		// Layer is "linux" for the sockets of Linux, "portable" for those of all other systems, and
		// "simulated" in a simulated world. Portable sockets have no stamps, no errors that the network
		// returns, and no count of Dropped.
		Layer       string `json:"layer"`
		Received    uint64 `json:"received"`      // datagrams that were read
		Dropped     uint64 `json:"dropped"`       // datagrams that the kernel dropped because a receive buffer was full
		SendFull    uint64 `json:"send_full"`     // sends refused for lack of buffer: ENOBUFS, EAGAIN
		SendOurSide uint64 `json:"send_our_side"` // sends refused by another fault of our side, such as no route
		SendOther   uint64 `json:"send_other"`    // sends refused for other reasons
		Returned    uint64 `json:"returned"`      // entries of the error queues
		Foreign     uint64 `json:"foreign"`       // of these, not proven to quote a heartbeat to a peer's present address
		// RecvBuffer and SendBuffer are the buffers of the smallest socket in bytes: as requested, and as the
		// kernel granted them.
		RecvBuffer struct {
			Wanted  int `json:"wanted"`
			Granted int `json:"granted"`
		} `json:"recv_buffer"`
		SendBuffer struct {
			Wanted  int `json:"wanted"`
			Granted int `json:"granted"`
		} `json:"send_buffer"`
	}
	// Stamps is where instants come from.
	Stamps struct {
		// Arrivals counts datagrams of peers by where their arrival was stamped. Those of clock.User have no
		// stamp: their arrival is the turn's.
		Arrivals [clock.BPF + 1]uint64 `json:"-"`
		Refused  uint64                `json:"refused"` // stamps of arrivals that were implausible
		Taken    uint64                `json:"taken"`   // heartbeats that Config.Arrivals took
		// SendsSampled counts heartbeats that the kernel was asked to stamp when the driver takes them
		// (Config.StampSends). Those without a stamp still wait in a queue, were dropped, or went to a driver
		// that takes no stamps.
		SendsSampled uint64 `json:"sends_sampled"`
		SendsStamped uint64 `json:"sends_stamped"` // plausible stamps of hand-offs, also of those that Config.Arrivals tells
		SendsRefused uint64 `json:"sends_refused"` // implausible stamps of hand-offs, also of those that Config.Arrivals tells
		FollowUps    uint64 `json:"follow_ups"`    // heartbeats that told how long an earlier one waited in the peer's host
		// FollowUpsRefused counts heartbeats that told a wait that was not believed: the earlier heartbeat is
		// not among the last ones of the peer, or came sooner than that.
		FollowUpsRefused uint64 `json:"follow_ups_refused"`
	}
	// Strangers is datagrams that did not prove that their sender receives ours. They changed no peer, and each
	// got at most one answer.
	Strangers struct {
		Introduced uint64 `json:"introduced"` // first contacts, restarted processes, forgeries
		Datagrams  uint64 `json:"datagrams"`  // from senders that were not added and are not admitted
		Refused    uint64 `json:"refused"`    // from strangers beyond the bounds of Accept
	}
	// Refused is other datagrams that changed no peer.
	Refused struct {
		Stale      uint64                 `json:"stale"`      // of a session that is over, or that may not begin
		Looped     uint64                 `json:"looped"`     // our own
		Collisions uint64                 `json:"collisions"` // with our id, from another process
		Faults     [wire.NumFaults]uint64 `json:"-"`          // malformed or not authentic, by fault
	}
	// Messages is messages that were not delivered.
	Messages struct {
		Unknown uint64 `json:"unknown"` // of types that no carrier has; skipped
		Long    uint64 `json:"long"`    // longer than the Room of their carrier; skipped
	}
	// Verdicts is what was decided about peers.
	Verdicts struct {
		Transitions uint64 `json:"transitions"` // changes of state
		Mistakes    uint64 `json:"mistakes"`    // suspicions taken back: the peer was heard again in the same incarnation
		// Watched is the time that peers were watched and heard, added up over all peers.
		// Watched / Mistakes is the observed mean time between mistakes about one peer.
		Watched time.Duration `json:"watched_ns"`
	}

	taken clock.Reading // when they were read
}

// Shortages describes each buffer that the kernel granted less of than requested, and the remedy where
// this system has one. It returns nil if there is none.
func (s *Stats) Shortages() []string {
	var out []string
	for _, b := range []struct {
		network.Buffer
		name, sysctl string
	}{
		{network.Buffer(s.Sockets.RecvBuffer), "receive", "net.core.rmem_max"},
		{network.Buffer(s.Sockets.SendBuffer), "send", "net.core.wmem_max"},
	} {
		if b.Granted < b.Wanted {
			out = append(out, fmt.Sprintf("%s buffer: %d of %d bytes", b.name, b.Granted, b.Wanted)+
				moreBuffer(runtime.GOOS, s.Sockets.Layer, b.sysctl))
		}
	}
	return out
}

// moreBuffer says how to have a system grant a larger buffer, "" if that is not known. sysctl is the
// limit on Linux.
func moreBuffer(system, layer, sysctl string) string {
	switch {
	case system == "linux" && layer == "linux":
		return "; raise " + sysctl + " or give CAP_NET_ADMIN"
	case system == "linux":
		return "; raise " + sysctl // package net does not use the privilege
	case system == "darwin" || system == "freebsd":
		return "; raise kern.ipc.maxsockbuf"
	}
	return ""
}

// Stats returns the figures of e. Any goroutine may call it. It delays no loop.
func (e *Engine) Stats() Stats {
	s := Stats{taken: e.reading()}
	recent := recentFrom(s.taken.Now)
	s.Peers.Slots = max(int(e.table.slots.Load())-1, 0) // slot 0 is not used
	for _, shard := range e.shards {
		c := &shard.counters
		for _, f := range c.fields(&s) {
			*f.sum += f.word.Load()
		}
		for i := range s.Refused.Faults {
			s.Refused.Faults[i] += c.faults[i].Load()
		}
		for i := range s.Stamps.Arrivals {
			s.Stamps.Arrivals[i] += c.stamped[i].Load()
		}
		c.lateness.addTo(&s.Loop.Lateness, 0)
		c.lateness.addTo(&s.Loop.LatenessRecent, recent)
		s.Peers.Watched += int(c.peers.Load())
		s.Peers.Alive += int(c.alive.Load())
		s.Verdicts.Watched += time.Duration(c.watched.Load())
		s.Loop.MaySeemDeadSince = max(s.Loop.MaySeemDeadSince, clock.Instant(c.lastSent.Load()))
		s.Loop.Calls += shard.net.Calls()
		recv, send := shard.net.Buffers()
		k := &s.Sockets
		k.RecvBuffer.Wanted, k.RecvBuffer.Granted = recv.Wanted, recv.Granted
		k.SendBuffer.Wanted, k.SendBuffer.Granted = send.Wanted, send.Granted
	}
	s.Sockets.Layer = e.layer()
	return s
}

// Snapshot appends the figures of every watched peer to dst, as Peers has them, and returns it. The
// figures of one peer are of one instant, those of different peers are not. Any goroutine may call
// it; it takes about a microsecond per peer and delays no loop.
func (e *Engine) Snapshot(dst []PeerStats) []PeerStats {
	dst = slices.Grow(dst, int(e.table.slots.Load()))
	for p := range e.Peers() {
		if s := p.Stats(); s.State != Removed {
			dst = append(dst, s)
		}
	}
	return dst
}

// counterField is a counter of a shard and its sum in Stats.
type counterField struct {
	word *ringbuf.Word
	sum  *uint64
}

// fields pairs the counters with their sums.
func (c *counters) fields(s *Stats) []counterField {
	h, l, k, t, m := &s.Heartbeats, &s.Loop, &s.Sockets, &s.Stamps, &s.Messages
	return []counterField{
		{&c.sent, &h.Sent}, {&c.accepted, &h.Accepted}, {&c.missed, &h.Missed}, {&c.solicited, &h.Solicited},
		{&c.duplicated, &h.Duplicated}, {&c.reordered, &h.Reordered}, {&c.moved, &h.Moved},
		{&c.turns, &l.Turns}, {&c.pauses, &l.Pauses}, {&c.extended, &l.Extended},
		{&c.received, &k.Received}, {&c.dropped, &k.Dropped}, {&c.sendFull, &k.SendFull},
		{&c.sendOurSide, &k.SendOurSide}, {&c.sendOther, &k.SendOther},
		{&c.errorsQueued, &k.Returned}, {&c.errorsForeign, &k.Foreign},
		{&c.stampsRefused, &t.Refused}, {&c.taken, &t.Taken},
		{&c.sendsSampled, &t.SendsSampled}, {&c.sendsStamped, &t.SendsStamped}, {&c.sendStampsRefused, &t.SendsRefused},
		{&c.followUps, &t.FollowUps}, {&c.followUpsRefused, &t.FollowUpsRefused},
		{&c.introduced, &s.Strangers.Introduced}, {&c.strangers, &s.Strangers.Datagrams},
		{&c.refusedStrangers, &s.Strangers.Refused},
		{&c.stale, &s.Refused.Stale}, {&c.looped, &s.Refused.Looped}, {&c.collisions, &s.Refused.Collisions},
		{&c.unknownMessages, &m.Unknown}, {&c.longMessages, &m.Long},
		{&c.transitions, &s.Verdicts.Transitions}, {&c.mistakes, &s.Verdicts.Mistakes},
	}
}
