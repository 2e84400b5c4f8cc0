// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"time"

	"systole/engine/clock"
	"systole/engine/internal/kernelclock"
	"systole/engine/internal/network"
	"systole/wire"
)

// A follow-up tells a peer how long an earlier heartbeat to it waited in this host: from its send
// instant to the hand-off, when the network driver took it. The kernel stamps the hand-off of one
// heartbeat in Config.StampSends. The stamp lies in the error queue by the next turn, and the next
// heartbeat to the peer carries the follow-up. PTP calls this two-step. No verdict depends on it.

// samples reports whether the kernel is to stamp a heartbeat to the peer in slot. Each peer has its
// share, at its own heartbeats.
func (s *shard) samples(sequence uint64, slot uint32) bool {
	every := uint64(s.engine.cfg.StampSends)
	return every != 0 && slot != 0 && (sequence+uint64(slot))%every == 0
}

// sendStamped handles the transmit stamp of a heartbeat. The stamp is dropped if the peer, or its
// session, is another one by now.
func (s *shard) sendStamped(e *network.Returned) {
	h := &s.letter.h
	if wire.DecodeQuoted(e.Quoted, h) != wire.OK {
		s.counters.sendStampsRefused.Add(1)
		return
	}
	written := clock.Instant(h.SendInstant)
	stamp, ok := kernelclock.Convert(s.reading, e.Stamp, written, s.previous)
	if !ok {
		s.counters.sendStampsRefused.Add(1)
		return
	}
	s.counters.sendsStamped.Add(1)
	if p := s.peerOf(h.MyDiscriminator); p != nil && p.session.theirs.Get() == h.YourDiscriminator {
		s.handedOff(wire.Slot(h.MyDiscriminator), h.Sequence, stamp.At.Sub(written))
	}
}

// handedOff records how long a heartbeat to the peer in slot waited in this host, unless a later one was
// recorded, or one waits to be told. Of several whose stamps come before the next heartbeat, the first
// is kept: it waited longest, and the receiver infers the waits of the others (leaveInOrder).
func (s *shard) handedOff(slot uint32, sequence uint64, wait time.Duration) {
	c, i := s.table.at(slot)
	before := s.table.handedOffLast(slot)
	later := before == 0 || int32(uint32(sequence)-before) > 0
	if len(c.handOffs) > 0 && uint32(c.handOffs[i]) == 0 && later {
		c.handOffs[i] = sequence<<32 | uint64(max(saturate32(wait), 1))
	}
}

// followUp adds the recorded wait, if there is one, to a heartbeat to the peer in slot, unless that is
// an introduction.
func (s *shard) followUp(h *wire.Header, slot uint32) {
	c, i := s.table.at(slot)
	if len(c.handOffs) == 0 || uint32(c.handOffs[i]) == 0 || wire.Slot(h.YourDiscriminator) == 0 {
		return
	}
	ago := uint64(uint32(h.Sequence) - uint32(c.handOffs[i]>>32))
	if ago > 0 && ago < h.Sequence { // else the kernel refused that heartbeat, and h has its sequence
		h.Flags |= wire.FlagFollowUp
		h.FollowUpSequence, h.FollowUpWait = h.Sequence-ago, uint32(c.handOffs[i])
	}
	c.handOffs[i] &^= 1<<32 - 1
}

// handedOffLast returns the low half of the sequence that handedOff recorded last, 0 if there is none.
func (t *table) handedOffLast(slot uint32) uint32 {
	c, i := t.at(slot)
	if len(c.handOffs) == 0 {
		return 0
	}
	return uint32(c.handOffs[i] >> 32)
}

// followedUp reads the follow-up of a heartbeat of p, and returns it if it is believed. It believes no
// longer wait than the delay of the earlier heartbeat allows: that above the least delay, and the least
// delay itself, which is at most the least round trip.
func (s *shard) followedUp(p *peer, slot uint32, h *wire.Header) (told followUp) {
	if h.Flags&wire.FlagFollowUp == 0 {
		return told
	}
	earlier, ok := s.table.recent(slot, uint32(h.FollowUpSequence))
	wait := max(time.Duration(h.FollowUpWait), 1)
	if !ok || wait > earlier.Network+p.path.leastTrip()+followUpMargin {
		s.counters.followUpsRefused.Add(1)
		return told
	}
	s.counters.followUps.Add(1)
	earlier.waited(wait)
	c, i := s.table.at(slot)
	c.waits[i].Set(uint64(wait)<<32 | uint64(earlier.Network))
	if ago := h.Sequence - h.FollowUpSequence; ago < 1<<24 {
		told = followUp{uint32(ago), uint32(wait)}
	}
	return told
}

// slowed publishes whether p is slow, after a heartbeat and its follow-up.
func (s *shard) slowed(p *peer, slot uint32, h *wire.Header, told followUp) {
	wait, _ := s.table.wait(slot)
	period := time.Duration(h.Period) * time.Microsecond
	p.verdict.flag(slowBit, p.slow.heard(time.Duration(h.Lateness), wait, told.wait > 0, period, p.verdict.isSlow()))
}

// followUpMargin allows for the drift of both clocks while the least delay and the least round trip
// last.
const followUpMargin = time.Millisecond

// recent returns the heartbeat of the peer in slot with the low half of a sequence, if it is one of
// the last recentReach. Only the owner calls it.
func (t *table) recent(slot, sequence uint32) (Sample, bool) {
	c, i := t.at(slot)
	var words [recentReach * sampleWords]uint64
	n, _ := t.samples.Snapshot(t.sampleWindow(c, i), words[:])
	for k := n - 1; k >= 0; k-- {
		if sample := decodeSample(words[k*sampleWords:]); sample.Sequence == sequence {
			return sample, true
		}
	}
	return Sample{}, false
}

// recentReach is how many heartbeats a follow-up may be late, at most.
const recentReach = 8

// forgetWaits forgets what the peer in slot is to be told, and what it has told.
func (t *table) forgetWaits(slot uint32) {
	c, i := t.at(slot)
	c.waits[i].Set(0)
	if len(c.handOffs) > 0 {
		c.handOffs[i] = 0
	}
}

// wait returns what the peer in slot has told: SendWait and WireDelay. Any goroutine may call it.
func (t *table) wait(slot uint32) (sendWait, wireDelay time.Duration) {
	c, i := t.at(slot)
	told := c.waits[i].Load()
	return time.Duration(told >> 32), time.Duration(uint32(told))
}
