// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"systole/engine/clock"
	"systole/engine/internal/antireplay"
	"systole/ringbuf"
	"systole/wire"
)

// session is one incarnation of the peer's process together with both discriminators (RFC 5880,
// section 6.3), and the record of which heartbeats of that process have arrived.
//
// A session is stateless while theirs is a cookie: the process answered our introduction without
// keeping state, and sends nothing but answers until it sees its cookie returned.
type session struct {
	id          ringbuf.Word // of the process; 0: unknown. Published, like the next two
	incarnation ringbuf.Word // 0: no process has proved yet that it hears us
	theirs      ringbuf.Word // the peer's discriminator; 0: unknown
	mine        uint64       // our discriminator for the peer; 0: the slot is free
	replay      antireplay.Window
	firstSeq    uint64        // losses are counted from this heartbeat on; stateless: the highest sequence
	echoed      uint64        // our highest sequence that the peer has echoed
	since       clock.Instant // start of the last session that was not stateless
	lostBefore  uint32        // losses in former sessions
	pinned      bool          // the id was configured, not learned
	watched     bool          // Config.Arrivals watches the session
	told        bool          // the peer has echoed a heartbeat in this session
}

// begin resets the session for a peer that was never heard. id is 0 unless it was configured. The
// published words are set one by one because other goroutines may read them at any time.
func (n *session) begin(mine, id uint64) {
	n.id.Set(id)
	n.incarnation.Set(0)
	n.theirs.Set(0)
	n.mine, n.pinned = mine, id != 0
	n.replay = antireplay.Window{}
	n.firstSeq, n.echoed, n.since, n.lostBefore, n.told = 0, 0, 0, 0, false
}

// pin sets whether the id is fixed: configured, or that of an admitted peer.
func (n *session) pin(fixed bool) { n.pinned = fixed }

// end releases our discriminator: from now on the peer's datagrams are introductions.
func (n *session) end() { n.mine = 0 }

// part replaces our discriminator and forgets the peer's, because the peer has another address:
// the process at the old address must not pass for the peer.
func (n *session) part(mine uint64) {
	n.mine = mine
	n.theirs.Set(0)
}

// rename replaces our discriminator within the session.
func (n *session) rename(mine uint64) { n.mine = mine }

// watch sets whether Config.Arrivals watches the session.
func (n *session) watch(is bool) { n.watched = is }

// is reports whether h belongs to the session. The caller has compared our discriminator.
func (n *session) is(h *wire.Header) bool {
	return h.MyDiscriminator == n.theirs.Get() && n.same(h)
}

// same reports whether h comes from the session's process.
func (n *session) same(h *wire.Header) bool {
	return h.Sender == n.id.Get() && h.Incarnation == n.incarnation.Get()
}

// take replaces the session by that of h at the instant now. The replay window stays where an answer
// only interrupted the session, so that heartbeats from before the answer are still refused.
func (n *session) take(h *wire.Header, lostIn uint64, now clock.Instant) {
	same := n.same(h)
	n.id.Set(h.Sender)
	n.incarnation.Set(h.Incarnation)
	n.theirs.Set(h.MyDiscriminator)
	n.firstSeq, n.lostBefore, n.told = 0, uint32(lostIn), false
	if !same || !n.stateless() && h.Sequence <= n.replay.Highest() {
		n.replay = antireplay.Window{}
	}
	if !n.stateless() {
		n.since, n.firstSeq = now, h.Sequence
	}
}

// accept records the sequence of a heartbeat and returns the highest sequence before it. It reports
// false if the heartbeat is a duplicate or too old to tell.
func (n *session) accept(sequence uint64) (highest uint64, ok bool) {
	highest = n.highest()
	switch {
	case !n.stateless():
		ok = n.replay.Accept(sequence)
	case sequence > highest:
		n.firstSeq, ok = sequence, true
	}
	return highest, ok
}

// highest returns the highest sequence of the session, 0 if there is none.
func (n *session) highest() uint64 {
	if n.stateless() {
		return n.firstSeq
	}
	return n.replay.Highest()
}

// countFrom starts the count of losses at a heartbeat, the newest one.
func (n *session) countFrom(sequence uint64) { n.firstSeq = sequence }

// heard records the sequence of ours that a heartbeat echoes. It returns by how much that is later than the one
// before. counted is false for the first echo of a session: what went before was sent to nobody who counted.
func (n *session) heard(echo uint64) (advance uint64, counted bool) {
	before := n.echoed
	n.echoed = max(before, echo)
	counted, n.told = n.told, true
	return n.echoed - before, counted
}

// stateless reports whether the peer's discriminator is a cookie.
func (n *session) stateless() bool { return wire.Slot(n.theirs.Get()) == 0 }

// echo fills the discriminators and the echo of h. lostIn is how many heartbeats never arrived.
func (n *session) echo(h *wire.Header, lostIn uint64) {
	h.MyDiscriminator, h.YourDiscriminator = n.mine, n.theirs.Get()
	h.EchoIncarnation, h.EchoSequence = n.incarnation.Get(), n.highest()
	h.EchoLost = uint32(lostIn) - n.lostBefore
}
