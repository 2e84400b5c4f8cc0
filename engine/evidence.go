// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"systole/engine/clock"
	"systole/ringbuf"
)

// shownEvidence is what a shard publishes for those who judge its peers elsewhere: up to
// when it has heard everything, and what it stood still. A few plain stores per turn,
// and none per heartbeat.
type shownEvidence struct {
	readTo   ringbuf.Word // clock.Instant: what had arrived until then is published
	paused   ringbuf.Word // pauses.total
	pausedTo ringbuf.Word // pauses.to; stored before paused
}

// showRead publishes up to when the sockets were read for certain. To be certain up to now may
// take a system call, which is made where Peer.Poll asks. Like putOff, it gives
// sockets that could not be read empty a little longer.
func (s *shard) showRead() {
	if s.readAsked {
		s.readAsked = !s.isSure()
		s.unfinished = s.unfinished || s.readAsked
	}
	to := s.sure
	if s.drained != s.now {
		to = s.drained - clock.Instant(maxUndrained)
	}
	if to > clock.Instant(s.shown.readTo.Get()) {
		s.shown.readTo.Set(uint64(to))
	}
}

// forget makes the detector forget the peer in slot, for its readers as well: a new peer,
// or a new life, is not judged by what came before it.
func (s *shard) forget(slot uint32) {
	state := s.state(slot)
	s.table.detector.Reset(state)
	s.showSummary(slot, state)
}
