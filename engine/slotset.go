package engine

import (
	"math/bits"
	"sync/atomic"
)

// slotSet is a set of slots of the peer table. Shards mark slots, and one reader takes them.
type slotSet struct {
	chunks [maxChunks]atomic.Pointer[slotBits]
	marked atomic.Bool // some bit in chunks is set
	next   uint32      // the reader's: the slot after the last one that was taken
}

// slotBits is the bits of one chunk of the table.
type slotBits [chunkPeers / 64]atomic.Uint64

// reserve allocates the bits of the chunk that slot is in, and returns them. Any goroutine may call it.
func (d *slotSet) reserve(slot uint32) *slotBits {
	p := &d.chunks[slot>>chunkBits]
	c := p.Load()
	for c == nil {
		p.CompareAndSwap(nil, new(slotBits))
		c = p.Load()
	}
	return c
}

// mark adds a slot. It allocates only in a chunk that is not reserved. Any goroutine may call it.
func (d *slotSet) mark(slot uint32) {
	place := slot & (chunkPeers - 1)
	d.reserve(slot)[place/64].Or(1 << (place % 64))
	d.marked.Store(true)
}

// take removes one slot and returns it, false if the set is empty. slots is the number of slots of the
// table, which may grow meanwhile.
func (d *slotSet) take(slots *atomic.Uint32) (uint32, bool) {
	if !d.marked.Load() {
		return 0, false
	}
	if slot, ok := d.search(slots.Load()); ok {
		return slot, true
	}
	// Clear marked before the last search, so that no concurrent mark is missed.
	d.marked.Store(false)
	slot, ok := d.search(slots.Load())
	if ok {
		d.marked.Store(true) // there may be others
	}
	return slot, ok
}

// search looks at every slot once, beginning after the last one that was taken, and removes the first
// that it finds. So a slot that is marked again and again keeps no other waiting.
func (d *slotSet) search(slots uint32) (uint32, bool) {
	for range (slots+63)/64 + 1 { // of the first word, the slots before the beginning come last
		if d.next >= slots {
			d.next = 0
		}
		if c := d.chunks[d.next>>chunkBits].Load(); c != nil {
			word := &c[d.next/64%(chunkPeers/64)]
			if w := word.Load() >> (d.next % 64); w != 0 {
				slot := d.next + uint32(bits.TrailingZeros64(w))
				word.And(^(uint64(1) << (slot % 64)))
				d.next = slot + 1
				return slot, true
			}
		}
		d.next = (d.next/64 + 1) * 64
	}
	return 0, false
}
