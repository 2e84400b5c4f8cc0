package engine

import (
	"math/bits"
	"sync/atomic"
)

// slotSet is a set of slots of the peer table. Shards mark slots, and one reader takes them.
type slotSet struct {
	chunks [maxChunks]atomic.Pointer[slotBits]
	marked atomic.Bool // some bit in chunks is set
	next   uint32      // the reader's position in the words of chunks
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

// take removes one slot and returns it, false if the set is empty. The table has the given number of
// slots.
func (d *slotSet) take(slots uint32) (uint32, bool) {
	if !d.marked.Load() {
		return 0, false
	}
	if slot, ok := d.search(slots); ok {
		return slot, true
	}
	// Clear marked before the last search, so that no concurrent mark is missed.
	d.marked.Store(false)
	slot, ok := d.search(slots)
	if ok {
		d.marked.Store(true) // there may be others
	}
	return slot, ok
}

// search looks at every word once, and removes the first slot that it finds.
func (d *slotSet) search(slots uint32) (uint32, bool) {
	words := (slots + 63) / 64
	for range words {
		if d.next >= words {
			d.next = 0
		}
		if c := d.chunks[d.next*64>>chunkBits].Load(); c != nil {
			word := &c[d.next%(chunkPeers/64)]
			if w := word.Load(); w != 0 {
				bit := uint32(bits.TrailingZeros64(w))
				word.And(^(uint64(1) << bit))
				return d.next*64 + bit, true
			}
		}
		d.next++
	}
	return 0, false
}
