package engine

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
)

// What is marked is taken, each slot in its turn: one that is marked at once again waits for all others.
func TestSlotsAreTakenInTurn(t *testing.T) {
	for _, slots := range []uint32{0, 1, 2, 63, 64, 65, 130, 256, 257, 1000} {
		var d slotSet
		var size atomic.Uint32
		size.Store(slots)
		if slot, ok := d.take(&size); ok {
			t.Errorf("slot %d of an empty set", slot)
		}
		r := rand.New(rand.NewPCG(uint64(slots), 1))
		marked := make(map[uint32]bool)
		for slot := range slots {
			if r.IntN(3) == 0 {
				d.mark(slot)
				marked[slot] = true
			}
		}
		for range 3 {
			taken := make(map[uint32]bool)
			for range marked {
				slot, ok := d.take(&size)
				if !ok || taken[slot] || !marked[slot] {
					t.Fatalf("slot %d of %d, %v, after %d of %d", slot, slots, ok, len(taken), len(marked))
				}
				taken[slot] = true
				d.mark(slot)
			}
		}
		for range marked {
			d.take(&size)
		}
		if slot, ok := d.take(&size); ok {
			t.Errorf("slot %d remains of %d", slot, slots)
		}
	}
}
