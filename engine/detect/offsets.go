// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package detect

import "time"

// offsets are the last n offsets, arrival - due, of a peer's heartbeats: the base of
// every expected arrival. Its words are part of a detector's state.
//
// An arrival more than offsetStep off the window's base is a step of the sender's clock,
// or days of drift, and not a path: the window then starts anew with it.
type offsets struct{ n int }

const (
	offsetsSequence = iota // of the newest heartbeat
	offsetsBase            // an offset that the others are told against
	offsetsSum             // of the offsets in the window, each less the base
	offsetsCount           // heartbeats taken since the window started
	offsetsRing            // the window
)

// offsetStep is how far an offset may lie from the window's base: no datagram is older
// than the maximum segment lifetime (RFC 9293, 3.4.3). It also keeps the sum from
// overflowing, whatever a sender says its clock is.
const offsetStep = int64(2 * time.Minute)

// words returns the size of the state.
func (o offsets) words() int { return offsetsRing + o.n }

// add takes a heartbeat and returns its offset against the base. It reports false for
// one that is not newer than the last.
func (o offsets) add(state []uint64, h *Heartbeat) (relative int64, ok bool) {
	n := uint64(o.n)
	state = state[:offsetsRing+n]
	count := state[offsetsCount]
	if !newer(h, count, state[offsetsSequence]) {
		return 0, false
	}
	offset := int64(h.Arrival) - (int64(h.Send) - int64(h.Late))
	relative = offset - int64(state[offsetsBase])
	if count == 0 || relative < -offsetStep || relative > offsetStep {
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

// mean returns the mean offset against the base.
func (o offsets) mean(state []uint64) int64 {
	return int64(state[offsetsSum]) / int64(min(state[offsetsCount], uint64(o.n)))
}

// last returns the mean of the newest k offsets, at most of the window.
func (o offsets) last(state []uint64, k int) int64 {
	count, n := state[offsetsCount], uint64(o.n)
	used := min(uint64(k), count, n)
	var sum int64
	for i := count - used; i < count; i++ {
		sum += int64(state[offsetsRing+i%n])
	}
	return sum / int64(used)
}
