// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"time"

	"systole/ringbuf"
)

// counts are the published counters of one peer, some of them two to a word. They count since
// AddPeer.
type counts struct {
	received   ringbuf.Word // heartbeats accepted
	lostIn     ringbuf.Word // sequences of the peer that never came
	lostMissed ringbuf.Word // sequences of ours that the peer says never came<<32 | skipped or refused by the kernel
	dupReorder ringbuf.Word // duplicated<<32 | reordered
	judged     ringbuf.Word // suspicions taken back<<32 | failures
	watched    ringbuf.Word // ns between heartbeats, added up
	progress   ringbuf.Word // the counter of the peer's application
}

// begin starts all from 0.
func (c *counts) begin() {
	for _, w := range [...]*ringbuf.Word{
		&c.received, &c.lostIn, &c.lostMissed, &c.dupReorder, &c.judged, &c.watched, &c.progress,
	} {
		w.Set(0)
	}
}

// progressed notes how far the peer's application is.
func (c *counts) progressed(n uint64) { c.progress.Set(n) }

// accept counts a heartbeat.
func (c *counts) accept() { c.received.Set(c.received.Get() + 1) }

// duplicate counts one that came again.
func (c *counts) duplicate() { c.dupReorder.Set(c.dupReorder.Get() + 1<<32) }

// reorder counts one that came after a later one; wasLost says that it had been counted as lost.
func (c *counts) reorder(wasLost bool) {
	c.dupReorder.Set(c.dupReorder.Get() + 1)
	if wasLost {
		c.lostIn.Set(c.lostIn.Get() - 1)
	}
}

// follow counts a heartbeat that came after another one by gap, with lost ones between them.
func (c *counts) follow(gap time.Duration, lost uint64) {
	c.lostIn.Set(c.lostIn.Get() + lost)
	c.watched.Add(uint64(max(gap, 0)))
}

// echo notes how many of ours never came to the peer.
func (c *counts) echo(lost uint32) {
	if both := c.lostMissed.Get(); uint32(both>>32) != lost {
		c.lostMissed.Set(uint64(lost)<<32 | both&(1<<32-1))
	}
}

// miss counts heartbeats that were due and not sent, up to 2^32-1 of them.
func (c *counts) miss(n uint64) {
	both := c.lostMissed.Get()
	c.lostMissed.Set(both + min(n, 1<<32-1-both&(1<<32-1)))
}

// mistake counts a suspicion that was taken back.
func (c *counts) mistake() { c.judged.Set(c.judged.Get() + 1<<32) }

// fail counts a failure.
func (c *counts) fail() { c.judged.Set(c.judged.Get() + 1) }

// read fills s.
func (c *counts) read(s *PeerStats) {
	out, again, judged := c.lostMissed.Load(), c.dupReorder.Load(), c.judged.Load()
	s.Received, s.LostIn, s.LostOut, s.Missed = c.received.Load(), c.lostIn.Load(), out>>32, uint64(uint32(out))
	s.Duplicated, s.Reordered = uint32(again>>32), uint32(again)
	s.Mistakes, s.Failures = judged>>32, uint64(uint32(judged))
	s.Watched, s.Progress = time.Duration(c.watched.Load()), c.progress.Load()
}
