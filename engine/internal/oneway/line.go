// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

// Package oneway estimates how long each heartbeat queued on its one way to us, between hosts whose
// clocks are not synchronized.
//
// The way of a heartbeat is its arrival on our clock less its send instant on the sender's: its delay
// plus the offset of the clocks. Line is the least way as a function of time; its slope is the skew of
// the clocks. What a way has above the line is queueing. A constant asymmetry of the path cancels.
//
// Where heartbeats echo ours, the round trip tells when neither way has a queue, because no offset is in
// it. The exchange with the least round trip of each second moves the line, if it is near the least
// of all. NTP selects among the last eight exchanges likewise (RFC 5905, section 10). Without round
// trips the heartbeat with the least way of each second does, if it is near the line.
//
// Instants in ticks are modulo 2^32.
package oneway

import (
	"time"

	"systole/engine/clock"
)

// tickBits: a tick lasts 2^24 ns, 16.8 ms. 2^32 ticks are 2.3 years.
const tickBits = 24

// ticks returns an instant in ticks.
func ticks(t clock.Instant) uint32 { return uint32(t >> tickBits) }

// seconds returns the time from one instant to another, both in ticks; 0 if it is negative.
func seconds(from, to uint32) float64 { return float64(max(int32(to-from), 0)) * (1 << tickBits) / 1e9 }

// Line is the least way of a path: a straight line in time. The zero Line is none.
type Line struct {
	level int64   // the least way at the instant at, ns
	slope float32 // what our clock gains on the sender's, ns per ns
	at    uint32  // in ticks
}

// above returns what a way has above the line. It is negative for a way below the line.
func (l Line) above(way time.Duration, arrival clock.Instant) time.Duration {
	since := time.Duration(int32(ticks(arrival)-l.at))<<tickBits + time.Duration(arrival&(1<<tickBits-1))
	return way - time.Duration(l.level) - l.gained(since)
}

// gained returns what our clock gains on the sender's in a time.
func (l Line) gained(d time.Duration) time.Duration {
	return time.Duration(float64(l.slope) * float64(d))
}

// moveTo gives the line by its level at a later instant, in ticks.
func (l *Line) moveTo(at uint32) {
	if d := int32(at - l.at); d > 0 {
		l.level += int64(l.gained(time.Duration(d) << tickBits))
		l.at = at
	}
}
