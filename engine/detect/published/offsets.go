// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package published

import (
	"systole/engine/detect"
	"systole/engine/detect/internal/silence"
)

// offsets is a window of the last n offsets, arrival - due, of a peer's heartbeats. Their mean
// gives the expected arrival. The words are part of a detector's state.
//
// An offset further than silence.OffsetStep from the window's base is not a delay of the path but a
// step of the sender's clock, or days of drift: it restarts the window.
type offsets struct{ n int }

const (
	offsetsSequence = iota // of the newest heartbeat
	offsetsBase            // the first offset of the window, ns; the others are relative to it
	offsetsSum             // sum of the relative offsets in the window, ns
	offsetsCount           // heartbeats since the window started
	offsetsRing            // the relative offsets, ns
)

// words returns the size of the state in words.
func (o offsets) words() int { return offsetsRing + o.n }

// add takes a heartbeat and returns its relative offset in ns. It reports false for a heartbeat
// that is not newer than the last.
func (o offsets) add(state []uint64, h *detect.Heartbeat) (relative int64, ok bool) {
	n := uint64(o.n)
	state = state[:offsetsRing+n]
	count := state[offsetsCount]
	if !silence.Newer(h.Sequence, count, state[offsetsSequence]) {
		return 0, false
	}
	offset := int64(h.Arrival) - (int64(h.Send) - int64(h.Late))
	relative = offset - int64(state[offsetsBase])
	if count == 0 || relative < -silence.OffsetStep || relative > silence.OffsetStep {
		state[offsetsBase], state[offsetsSum] = uint64(offset), 0
		count, relative = 0, 0
	}
	sum := int64(state[offsetsSum]) + relative
	place := offsetsRing + count%n
	if count >= n {
		sum -= int64(state[place])
	}
	state[place] = uint64(relative)
	state[offsetsSum] = uint64(sum)
	state[offsetsCount] = count + 1
	state[offsetsSequence] = h.Sequence
	return relative, true
}

// mean returns the mean relative offset in ns.
func (o offsets) mean(state []uint64) int64 {
	return int64(state[offsetsSum]) / int64(min(state[offsetsCount], uint64(o.n)))
}

// last returns the mean of the newest k relative offsets in ns. k is at most n.
func (o offsets) last(state []uint64, k int) int64 {
	count, n := state[offsetsCount], uint64(o.n)
	used := min(uint64(k), count, n)
	var sum int64
	for i := count - used; i < count; i++ {
		sum += int64(state[offsetsRing+i%n])
	}
	return sum / int64(used)
}
