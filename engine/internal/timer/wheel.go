// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

// Package timer is a hierarchical timing wheel (Varghese and Lauck, 1987, scheme 7) for
// hundreds of thousands of timers that are mostly moved or cancelled.
//
// Timers are small integers in flat arrays; setting, moving and cancelling one costs a
// few stores. Each level has 256 slots, a bit for each that is not empty, and slots 256
// times as wide as the level below; so the next deadline is found by counting zeros, and
// an hour without timers is passed in one step. Timers of an upper level move down when
// their slot's time comes, a bounded number per call.
//
// A timer never fires before its deadline and, in a call of Advance that is not cut
// short by its bound, at most one tick after it. Timers of the same tick fire in no
// particular order.
package timer

import (
	"math/bits"

	"systole/engine/clock"
)

const (
	levelBits = 8
	slots     = 1 << levelBits
	levels    = 7 // 2^56 ticks: every Instant, for ticks of 2^minShift ns and more
	minShift  = 10
	none      = ^uint32(0)
	idle      = ^uint16(0)
)

// Wheel is a timing wheel. One goroutine uses it. Choose it when deadlines are mostly
// moved before they fire; for a few timers that all fire, a heap is simpler.
type Wheel struct {
	shift  uint
	tick   uint64 // everything before this tick has been expired or moved down
	heads  [levels][slots]uint32
	used   [levels]bitmap
	timers []*[chunkTimers]node // in chunks, so that growing moves nothing
	count  int
}

// chunkTimers is how many timers are added at a time.
const chunkTimers = 512

// node is one timer: its deadline in ticks and its place in a slot's list.
type node struct {
	deadline   uint64
	next, prev uint32
	slot       uint16 // level*slots + slot; idle: not pending
	_          uint16
	_          uint32
}

// New returns a wheel whose tick is 2^shift nanoseconds, shift from 10 to 32, and whose
// time starts at now. It panics on another shift, a constant of its caller.
func New(shift uint, now clock.Instant) *Wheel {
	if shift < minShift || shift > 32 {
		panic("timer: shift is not within 10 to 32")
	}
	w := &Wheel{shift: shift, tick: uint64(now) >> shift}
	for l := range w.heads {
		for s := range w.heads[l] {
			w.heads[l][s] = none
		}
	}
	return w
}

// Grow makes room for the ids below n. Set does it as well; Grow does it beforehand.
func (w *Wheel) Grow(n int) {
	for len(w.timers)*chunkTimers < n {
		c := new([chunkTimers]node)
		for i := range c {
			c[i].slot = idle
		}
		w.timers = append(w.timers, c)
	}
}

// timer returns timer id, for which there is room.
func (w *Wheel) timer(id uint32) *node { return &w.timers[id/chunkTimers][id%chunkTimers] }

// Len returns the number of pending timers.
func (w *Wheel) Len() int { return w.count }

// Pending reports whether timer id is set and has not fired.
func (w *Wheel) Pending(id uint32) bool {
	return int(id) < len(w.timers)*chunkTimers && w.timer(id).slot != idle
}

// Set arms timer id for deadline, moving it if it is pending. A deadline that has passed,
// also one before the clock's start, fires with the next Advance.
func (w *Wheel) Set(id uint32, deadline clock.Instant) {
	w.Grow(int(id) + 1)
	n := w.timer(id)
	if n.slot != idle {
		w.unlink(id)
	} else {
		w.count++
	}
	// Rounded up, so that it never fires early.
	n.deadline = max((uint64(max(deadline, 0))+1<<w.shift-1)>>w.shift, w.tick)
	w.link(id)
}

// Cancel disarms timer id. A timer that is not pending stays so.
func (w *Wheel) Cancel(id uint32) {
	if w.Pending(id) {
		w.unlink(id)
		w.timer(id).slot = idle
		w.count--
	}
}

// link puts timer id into the slot of its deadline: the lowest level whose slots around
// the present tick reach it.
func (w *Wheel) link(id uint32) {
	n := w.timer(id)
	level := 0
	if differs := n.deadline ^ w.tick; differs != 0 {
		level = (bits.Len64(differs) - 1) / levelBits
	}
	at := n.deadline >> (uint(level) * levelBits) % slots
	n.slot = uint16(uint64(level)*slots + at)
	n.prev = none
	n.next = w.heads[level][at]
	if n.next != none {
		w.timer(n.next).prev = id
	}
	w.heads[level][at] = id
	w.used[level].set(at)
}

// unlink takes timer id out of its slot.
func (w *Wheel) unlink(id uint32) {
	n := w.timer(id)
	level, at := n.slot/slots, n.slot%slots
	if n.prev != none {
		w.timer(n.prev).next = n.next
	} else {
		w.heads[level][at] = n.next
		if n.next == none {
			w.used[level].clear(uint64(at))
		}
	}
	if n.next != none {
		w.timer(n.next).prev = n.prev
	}
}

// Advance moves the time to now and stores the ids of timers that are due in fired. It
// returns how many, and whether it stopped for its bound, which is len(fired) timers
// fired and as many moved down; then call it again. A timer in fired is no longer
// pending, so a Cancel while fired is being served comes too late to take it out.
func (w *Wheel) Advance(now clock.Instant, fired []uint32) (n int, more bool) {
	target := uint64(now) >> w.shift
	moves := len(fired)
	for w.tick <= target {
		at, level, ok := w.nextSlot()
		if !ok || at > target {
			w.tick = target
			return n, false
		}
		w.tick = at
		slot := at >> (uint(level) * levelBits) % slots
		for w.heads[level][slot] != none {
			id := w.heads[level][slot]
			if level > 0 {
				if moves == 0 {
					return n, true
				}
				moves--
				w.unlink(id)
				w.link(id)
				continue
			}
			if n == len(fired) {
				return n, true
			}
			w.unlink(id)
			w.timer(id).slot = idle
			w.count--
			fired[n] = id
			n++
		}
	}
	return n, false
}

// nextSlot returns the first tick of the next slot that holds timers, and its level.
func (w *Wheel) nextSlot() (at uint64, level int, ok bool) {
	best := ^uint64(0)
	for l := range levels {
		shift := uint(l) * levelBits
		here := w.tick >> shift
		ahead, used := w.used[l].next(here % slots)
		if !used {
			continue
		}
		// An upper slot that has begun is moved down now; on a tie the upper one goes
		// first, since it may hold timers of that very tick.
		start := max((here+ahead)<<shift, w.tick)
		if start <= best {
			best, level, ok = start, l, true
		}
	}
	return best, level, ok
}

// bitmap has a bit for each slot of a level that holds timers.
type bitmap [slots / 64]uint64

func (b *bitmap) set(i uint64)   { b[i/64] |= 1 << (i % 64) }
func (b *bitmap) clear(i uint64) { b[i/64] &^= 1 << (i % 64) }

// next returns how far the first set bit at or after from lies ahead, going round.
func (b *bitmap) next(from uint64) (ahead uint64, ok bool) {
	word := b[from/64] >> (from % 64)
	if word != 0 {
		return uint64(bits.TrailingZeros64(word)), true
	}
	ahead = 64 - from%64
	for k := uint64(1); k <= uint64(len(b)); k++ {
		if word = b[(from/64+k)%uint64(len(b))]; word != 0 {
			return ahead + uint64(bits.TrailingZeros64(word)), true
		}
		ahead += 64
	}
	return 0, false
}

// Next returns when Advance has something to do next, clock.Never if no timer is
// pending: the deadline itself, or the earlier instant at which a timer moves down.
func (w *Wheel) Next() clock.Instant {
	at, _, ok := w.nextSlot()
	if !ok {
		return clock.Never
	}
	return clock.Instant(at << w.shift)
}
