// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"time"

	"systole/ringbuf"
)

// counts are the published counters of a peer since AddPeer. Some words hold two.
type counts struct {
	received   ringbuf.Word // heartbeats accepted
	lostIn     ringbuf.Word // heartbeats of the peer that never arrived
	lostMissed ringbuf.Word // ours that never arrived, as the peer reports<<32 | ours skipped or refused by the kernel
	dupReorder ringbuf.Word // duplicated<<32 | reordered
	judged     ringbuf.Word // mistakes<<32 | failures
	watched    ringbuf.Word // ns between heartbeats, added up
	progress   ringbuf.Word // the counter of the peer's application
}

// begin resets all counters.
func (c *counts) begin() {
	for _, w := range [...]*ringbuf.Word{
		&c.received, &c.lostIn, &c.lostMissed, &c.dupReorder, &c.judged, &c.watched, &c.progress,
	} {
		w.Set(0)
	}
}

// progressed records the progress counter of the peer's application.
func (c *counts) progressed(n uint64) { c.progress.Set(n) }

// accept counts an accepted heartbeat.
func (c *counts) accept() { c.received.Set(c.received.Get() + 1) }

// duplicate counts a heartbeat that arrived again.
func (c *counts) duplicate() { c.dupReorder.Set(c.dupReorder.Get() + 1<<32) }

// reorder counts a heartbeat that arrived after a later one. wasLost: it was counted as lost.
func (c *counts) reorder(wasLost bool) {
	c.dupReorder.Set(c.dupReorder.Get() + 1)
	if wasLost {
		c.lostIn.Set(c.lostIn.Get() - 1)
	}
}

// follow counts a heartbeat that arrived a gap after the previous one, with lost ones in between.
func (c *counts) follow(gap time.Duration, lost uint64) {
	c.lostIn.Set(c.lostIn.Get() + lost)
	c.watched.Add(uint64(max(gap, 0)))
}

// echo records how many of our heartbeats never arrived, as the peer reports. It returns how many more that are
// than before.
func (c *counts) echo(lost uint32) (more int64) {
	both := c.lostMissed.Get()
	if before := uint32(both >> 32); before != lost {
		c.lostMissed.Set(uint64(lost)<<32 | both&(1<<32-1))
		more = int64(int32(lost - before))
	}
	return more
}

// miss counts heartbeats that were due and not sent, up to 2^32-1.
func (c *counts) miss(n uint64) {
	both := c.lostMissed.Get()
	c.lostMissed.Set(both + min(n, 1<<32-1-both&(1<<32-1)))
}

// mistake counts a suspicion that the peer's next heartbeat refuted.
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
