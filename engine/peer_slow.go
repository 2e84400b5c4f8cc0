// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import "time"

// slow is the delay that arises at the peer's side: its lateness, and the wait in its host that it told
// last. The peer is slow when the smoothed delay exceeds a quarter of its period, until that falls below
// an eighth. No verdict depends on it.
type slow struct {
	delay  uint32 // smoothed, ns
	untold uint32 // heartbeats since a wait was told
}

// maxUntold is for how many heartbeats a told wait counts. The peer may have ceased to tell its waits.
const maxUntold = 256

// begin resets for a new peer or session.
func (q *slow) begin() { q.delay, q.untold = 0, 0 }

// heard records a heartbeat of a peer with a period, and returns whether the peer is slow. It was if is. wait
// is the wait that the peer told last, told whether this heartbeat told it. The gain of 1/8 is that of RFC
// 6298.
func (q *slow) heard(late, wait time.Duration, told bool, period time.Duration, is bool) bool {
	if q.untold++; told {
		q.untold = 0
	}
	if q.untold > maxUntold {
		wait = 0
	}
	q.delay = uint32((7*uint64(q.delay) + uint64(saturate32(late+wait))) / 8)
	limit := period / 4
	if is {
		limit = period / 8
	}
	return time.Duration(q.delay) > limit
}
