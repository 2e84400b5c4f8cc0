package engine

import (
	"fmt"
	"math/bits"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/clock"
	"systole/ringbuf"
	"systole/wire"
)

// counters is the counters of one shard. Its owner adds, any goroutine reads.
type counters struct {
	turns, sent, missed, stampsRefused          ringbuf.Word
	stamped                                     [clock.Sources]ringbuf.Word
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
	accepted, lastSent, peers                   ringbuf.Word
	receiveErrors                               ringbuf.Word
	received                                    ringbuf.Word
	sendsSampled, sendsStamped                  ringbuf.Word
	sendStampsRefused                           ringbuf.Word
	followUps, followUpsRefused                 ringbuf.Word
	faults                                      [wire.NumFaults]ringbuf.Word
	lateness                                    [latenessBuckets]ringbuf.Word
	latest                                      ringbuf.Word // greatest lateness, ns
}

// fault counts a refused datagram.
func (c *counters) fault(f wire.Fault) { c.faults[f].Add(1) }

// sendError counts a heartbeat that the kernel refused to send.
func (c *counters) sendError(errno unix.Errno) {
	switch {
	case ourSide(errno) == LocalNoBuffer:
		c.sendFull.Add(1)
	case ourSide(errno) != NoCause:
		c.sendOurSide.Add(1)
	default:
		c.sendOther.Add(1)
	}
}

// Lateness is counted in buckets of a quarter octave, from 1 µs up, so that quantiles are at most a
// fifth too high.
const (
	latenessSub     = 4
	latenessOctaves = 24 // 1 µs to 16 s
	latenessBuckets = latenessSub * latenessOctaves
)

// latenessBucket returns the bucket of d.
func latenessBucket(d time.Duration) int {
	us := uint64(max(d, 0)) >> 10
	if us < latenessSub {
		return int(us)
	}
	octave := bits.Len64(us) - 3
	return min(octave*latenessSub+int(us>>octave), latenessBuckets-1)
}

// latenessLimit returns the upper end of bucket i.
func latenessLimit(i int) time.Duration {
	if i < latenessSub {
		return time.Duration(i+1) << 10
	}
	octave := i/latenessSub - 1
	return time.Duration(i%latenessSub+latenessSub+1) << octave << 10
}

// turn counts a turn that began late by the given time.
func (c *counters) turn(late time.Duration) {
	c.turns.Add(1)
	c.lateness[latenessBucket(late)].Add(1)
	if uint64(late) > c.latest.Get() {
		c.latest.Set(uint64(late))
	}
}

// Quantiles summarizes durations measured since Open.
type Quantiles struct {
	Count         uint64
	P50, P99, Max time.Duration
}

// Stats is the figures of an engine. Counters count since Open, over all shards.
//
// Each received datagram is counted once more by its outcome: Received is the sum of Accepted,
// Duplicated, Stale, Introduced, Strangers, RefusedStrangers, Looped, Collisions and all Faults.
type Stats struct {
	Peers    int    // peers watched
	Slots    int    // slots of the peer table, used or free
	Sent     uint64 // heartbeats written
	Received uint64 // datagrams read
	Accepted uint64 // heartbeats accepted from peers
	Turns    uint64
	Calls    uint64 // system calls of the loops

	// Lateness is how late turns began. A late loop accuses no peer; see LocalPause.
	Lateness Quantiles
	Pauses   uint64 // turns so late that deadlines were moved
	Missed   uint64 // heartbeats skipped because their time had passed
	// Dropped counts datagrams that the kernel dropped because a receive buffer was
	// full. Extended counts verdicts that were put off because of that.
	Dropped, Extended uint64
	Solicited         uint64 // heartbeats that asked a silent peer to answer

	// Stamped counts datagrams of peers by where their arrival was stamped. Those of clock.User have no stamp:
	// their arrival is the turn's. StampsRefused counts implausible stamps. Taken counts heartbeats that
	// Config.Arrivals took.
	Stamped              [clock.Sources]uint64
	StampsRefused, Taken uint64

	// SendsSampled counts heartbeats that the kernel was asked to stamp when the driver takes them
	// (Config.StampSends). SendsStamped counts plausible stamps, SendStampsRefused implausible ones. The
	// others still wait in a queue, were dropped, or went to a driver that takes no stamps. Hand-offs that
	// Config.Arrivals tells count in the last two.
	SendsSampled, SendsStamped, SendStampsRefused uint64
	// FollowUps counts heartbeats that told how long an earlier one waited in the peer's host.
	// FollowUpsRefused counts those that were not believed: the earlier one is not among the last
	// heartbeats of the peer, or came sooner than that.
	FollowUps, FollowUpsRefused uint64

	// Introduced counts datagrams that did not prove that their sender receives ours: first contacts,
	// restarted processes, forgeries. They changed no peer, and each got at most one answer.
	Introduced       uint64
	Strangers        uint64                 // from senders that were not added
	RefusedStrangers uint64                 // from strangers beyond the bounds of Accept
	Stale            uint64                 // of a session that is over, or that may not begin
	Duplicated       uint64                 // received before
	Reordered        uint64                 // accepted after a later one
	Moved            uint64                 // changes of a peer's address
	Looped           uint64                 // our own datagrams
	Collisions       uint64                 // with our id, from another process
	UnknownMessages  uint64                 // messages of types that no carrier has; skipped
	LongMessages     uint64                 // messages longer than the Room of their carrier; skipped
	Faults           [wire.NumFaults]uint64 // refused datagrams, by fault

	SendFull    uint64 // sends refused for lack of buffer: ENOBUFS, EAGAIN
	SendOurSide uint64 // sends refused by another fault of our side, such as no route
	SendOther   uint64 // sends refused for other reasons
	Returned    uint64 // entries of the error queues
	Foreign     uint64 // of these, not proven to quote a heartbeat to a peer's present address

	Transitions uint64
	Mistakes    uint64 // suspicions taken back: the peer was heard again in the same incarnation
	// Watched is the time that peers were watched and heard, added up over all peers.
	// Watched / Mistakes is the observed mean time between mistakes about one peer.
	Watched time.Duration
	// MaySeemDeadSince is when the kernel last accepted a heartbeat for sending.
	MaySeemDeadSince clock.Instant

	RecvBuffer, SendBuffer Buffer // of the smallest socket
}

// Buffer is the size of a socket buffer in bytes: as requested, and as the kernel granted it.
type Buffer struct{ Wanted, Granted int }

// Shortages describes each buffer that the kernel granted less of than requested, and the remedy. It
// returns nil if there is none.
func (s *Stats) Shortages() []string {
	var out []string
	for _, b := range []struct {
		Buffer
		name, sysctl string
	}{{s.RecvBuffer, "receive", "net.core.rmem_max"}, {s.SendBuffer, "send", "net.core.wmem_max"}} {
		if b.Granted < b.Wanted {
			out = append(out, fmt.Sprintf("%s buffer: %d of %d bytes; raise %s or give CAP_NET_ADMIN",
				b.name, b.Granted, b.Wanted, b.sysctl))
		}
	}
	return out
}

// Stats returns the figures of e. Any goroutine may call it.
func (e *Engine) Stats() Stats {
	var s Stats
	var lateness [latenessBuckets]uint64
	for _, shard := range e.shards {
		c := &shard.counters
		for _, f := range c.fields(&s) {
			*f.sum += f.word.Load()
		}
		for i := range lateness {
			lateness[i] += c.lateness[i].Load()
		}
		for i := range s.Faults {
			s.Faults[i] += c.faults[i].Load()
		}
		for i := range s.Stamped {
			s.Stamped[i] += c.stamped[i].Load()
		}
		s.Slots = max(int(e.table.slots.Load())-1, 0) // slot 0 is not used
		s.Peers += int(c.peers.Load())
		s.Watched += time.Duration(c.watched.Load())
		s.Lateness.Max = max(s.Lateness.Max, time.Duration(c.latest.Load()))
		s.MaySeemDeadSince = max(s.MaySeemDeadSince, clock.Instant(c.lastSent.Load()))
		s.Calls += shard.net.Calls()
		recv, send := shard.net.Buffers()
		s.RecvBuffer, s.SendBuffer = Buffer(recv), Buffer(send)
	}
	s.Lateness.read(lateness[:])
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
	return []counterField{
		{&c.received, &s.Received}, {&c.introduced, &s.Introduced},
		{&c.sent, &s.Sent}, {&c.accepted, &s.Accepted}, {&c.turns, &s.Turns},
		{&c.pauses, &s.Pauses}, {&c.missed, &s.Missed}, {&c.dropped, &s.Dropped},
		{&c.extended, &s.Extended}, {&c.solicited, &s.Solicited},
		{&c.stampsRefused, &s.StampsRefused}, {&c.taken, &s.Taken},
		{&c.sendsSampled, &s.SendsSampled}, {&c.sendsStamped, &s.SendsStamped},
		{&c.sendStampsRefused, &s.SendStampsRefused},
		{&c.followUps, &s.FollowUps}, {&c.followUpsRefused, &s.FollowUpsRefused},
		{&c.strangers, &s.Strangers}, {&c.refusedStrangers, &s.RefusedStrangers},
		{&c.stale, &s.Stale}, {&c.duplicated, &s.Duplicated}, {&c.reordered, &s.Reordered},
		{&c.moved, &s.Moved}, {&c.looped, &s.Looped}, {&c.collisions, &s.Collisions},
		{&c.unknownMessages, &s.UnknownMessages}, {&c.longMessages, &s.LongMessages},
		{&c.sendFull, &s.SendFull}, {&c.sendOurSide, &s.SendOurSide}, {&c.sendOther, &s.SendOther},
		{&c.errorsQueued, &s.Returned}, {&c.errorsForeign, &s.Foreign}, {&c.transitions, &s.Transitions},
		{&c.mistakes, &s.Mistakes},
	}
}

// read sets q from the counts of all buckets, and from q.Max.
func (q *Quantiles) read(buckets []uint64) {
	for _, n := range buckets {
		q.Count += n
	}
	q.P50 = min(quantile(buckets, (q.Count+1)/2), q.Max)
	q.P99 = min(quantile(buckets, (99*q.Count+99)/100), q.Max)
}

// quantile returns the upper end of the bucket with the rank-th smallest value.
func quantile(buckets []uint64, rank uint64) time.Duration {
	var below uint64
	for i, n := range buckets {
		if below += n; below >= rank && rank > 0 {
			return latenessLimit(i)
		}
	}
	return 0
}
