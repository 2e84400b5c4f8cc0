package names

import (
	"math/bits"
	"sync/atomic"
)

// MaxSlots is above every Key's Slot.
const MaxSlots = 1 << 20

// poked is a set of slots to which any goroutine adds without waiting and from which one takes.
// A bit per slot: it never overflows, and who is added again and again is taken once.
type poked struct {
	used   [chunks / 64]atomic.Uint64 // which chunks have bits
	chunks [chunks]atomic.Pointer[chunk]
}

const (
	chunkSlots = 4096
	chunks     = MaxSlots / chunkSlots
)

// chunk is the bits of some slots. It is made with the first of its slots that has a name.
type chunk [chunkSlots / 64]atomic.Uint64

// grow makes room for slot. Any goroutine may call it.
func (s *poked) grow(slot uint32) {
	if at := &s.chunks[slot/chunkSlots]; at.Load() == nil {
		at.CompareAndSwap(nil, new(chunk))
	}
}

// add adds slot and reports whether there is room for it: whether it may have a name. The bit
// is set before the mark of its chunk, so that who takes the mark finds the bit.
func (s *poked) add(slot uint32) bool {
	if slot >= MaxSlots {
		return false
	}
	at := slot / chunkSlots
	c := s.chunks[at].Load()
	if c == nil {
		return false
	}
	c[slot%chunkSlots/64].Or(1 << (slot % 64))
	s.used[at/64].Or(1 << (at % 64))
	return true
}

// take calls f with each slot of the set, in their order, and leaves the set empty.
func (s *poked) take(f func(slot uint32)) {
	for i := range s.used {
		for marks := s.used[i].Swap(0); marks != 0; marks &= marks - 1 {
			at := i*64 + bits.TrailingZeros64(marks)
			c := s.chunks[at].Load()
			for word := range c {
				for b := c[word].Swap(0); b != 0; b &= b - 1 {
					f(uint32(at*chunkSlots + word*64 + bits.TrailingZeros64(b)))
				}
			}
		}
	}
}
