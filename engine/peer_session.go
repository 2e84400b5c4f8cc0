// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"systole/engine/clock"
	"systole/ringbuf"
	"systole/wire"
)

// session is which process a peer is, by which discriminators the datagrams between it and us are
// known (RFC 5880, 6.3), and which of them came.
type session struct {
	id          ringbuf.Word // of the process; 0: not known. Published, as the next two are
	incarnation ringbuf.Word // 0: it never proved that it hears us
	theirs      ringbuf.Word // the peer's discriminator; 0: not known
	mine        uint64       // ours for the peer; 0: the slot is free
	replay      wire.ReplayWindow
	firstSeq    uint64        // the heartbeat from which losses are counted; of a session without state, the newest
	echoed      uint64        // the highest sequence of ours that it was heard to name
	since       clock.Instant // when the last session was taken that is not stateless
	lostBefore  uint32        // losses in former sessions
	pinned      bool          // the id was given, not learned
	buried      bool          // the process has failed for good
	told        bool          // that what was buried is heard
}

// begin starts a peer that was never heard. id is 0 unless it was given. Published words are stored one by
// one: others may read them at any time.
func (n *session) begin(mine, id uint64) {
	n.id.Set(id)
	n.incarnation.Set(0)
	n.theirs.Set(0)
	n.mine, n.pinned, n.buried, n.told = mine, id != 0, false, false
	n.replay = wire.ReplayWindow{}
	n.firstSeq, n.echoed, n.since, n.lostBefore = 0, 0, 0, 0
}

// pin says whether the id is given, as that of a peer that was admitted is until it is configured.
func (n *session) pin(given bool) { n.pinned = given }

// end makes every datagram of the peer an introduction.
func (n *session) end() { n.mine = 0 }

// part makes every datagram so far an introduction, with a new discriminator of ours: the peer is
// to be found at another address, and who was at the old one is not it.
func (n *session) part(mine uint64) {
	n.mine = mine
	n.theirs.Set(0)
}

// rename goes on with another discriminator of ours.
func (n *session) rename(mine uint64) { n.mine = mine }

// is reports whether h is of this session: the slot's discriminator is right already.
func (n *session) is(h *wire.Header) bool {
	return h.MyDiscriminator == n.theirs.Get() && h.Incarnation == n.incarnation.Get() && h.Sender == n.id.Get()
}

// fresh reports whether h, of which the slot's discriminator is right, names a later heartbeat of
// ours, of sent so far, than anything before it. A recording does not.
func (n *session) fresh(h *wire.Header, incarnation, sent uint64) bool {
	return h.EchoIncarnation == incarnation && h.EchoSequence > n.echoed && h.EchoSequence <= sent
}

// same reports whether h is of the process that the session is with.
func (n *session) same(h *wire.Header) bool {
	return h.Sender == n.id.Get() && h.Incarnation == n.incarnation.Get()
}

// isBuried reports whether h is of the incarnation that failed for good.
func (n *session) isBuried(h *wire.Header) bool { return n.buried && n.same(h) }

// yields reports whether the session may give way to that of h, which is fresh: it never began, a
// new incarnation of its process follows it, its discriminator was made without state, or silent says
// that nothing comes from it any more. Another process has to be where the peer is, which here
// says: else whoever plays our heartbeats to it would have it take the peer's place.
func (n *session) yields(h *wire.Header, here, silent bool) bool {
	id, theirs := n.id.Get(), n.theirs.Get()
	switch {
	case n.isBuried(h) || h.Sender != id && (n.pinned || !here && id != 0):
		return false
	case theirs == 0 || silent:
		return true
	case h.Sender != id:
		return false
	}
	return h.Incarnation > n.incarnation.Get() || n.same(h) && n.stateless()
}

// take begins the session of h at now. What was seen of heartbeats that the process wrote before h stays
// seen: a session may have been interrupted by an answer without state.
func (n *session) take(h *wire.Header, lostIn uint64, now clock.Instant) {
	same := n.same(h)
	n.id.Set(h.Sender)
	n.incarnation.Set(h.Incarnation)
	n.theirs.Set(h.MyDiscriminator)
	n.firstSeq, n.lostBefore, n.buried, n.told = 0, uint32(lostIn), false, false
	if !same || !n.stateless() && h.Sequence <= n.replay.Highest() {
		n.replay = wire.ReplayWindow{}
	}
	if !n.stateless() {
		n.since, n.firstSeq = now, h.Sequence
	}
}

// accept takes the sequence of a heartbeat and returns the highest before it; false if it came
// before, or is too old to tell.
func (n *session) accept(sequence uint64) (highest uint64, ok bool) {
	highest = n.highest()
	if !n.stateless() {
		return highest, n.replay.Accept(sequence)
	}
	if ok = sequence > highest; ok {
		n.firstSeq = sequence
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

// countFrom has losses counted from a heartbeat on, the newest.
func (n *session) countFrom(sequence uint64) { n.firstSeq = sequence }

// heard notes which of ours the peer has heard.
func (n *session) heard(echo uint64) { n.echoed = max(n.echoed, echo) }

// bury makes the failure of the process final, if there ever was one.
func (n *session) bury() { n.buried, n.told = n.incarnation.Get() != 0, false }

// tell reports, once, that something was heard of what is buried.
func (n *session) tell() bool {
	first := !n.told
	n.told = true
	return first
}

// stateless reports whether the peer's discriminator was made without state: it answered an
// introduction, and has yet to take us for a peer of its own.
func (n *session) stateless() bool { return wire.Slot(n.theirs.Get()) == 0 }

// echo fills the part of h that says what was heard of the peer. lostIn is what never came.
func (n *session) echo(h *wire.Header, lostIn uint64) {
	h.MyDiscriminator, h.YourDiscriminator = n.mine, n.theirs.Get()
	h.EchoIncarnation, h.EchoSequence = n.incarnation.Get(), n.highest()
	h.EchoLost = uint32(lostIn) - n.lostBefore
}
