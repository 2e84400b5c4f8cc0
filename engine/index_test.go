package engine

import (
	"testing"

	"pgregory.net/rapid"
)

// The index is a map. Small ids collide on purpose, so that probe runs and the
// backward shift of remove are exercised.
func TestIndexIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x index
		model := make(map[uint64]uint32)
		id := rapid.Uint64Range(1, 64)
		t.Repeat(map[string]func(*rapid.T){
			"insert": func(t *rapid.T) {
				k, slot := id.Draw(t, "id"), rapid.Uint32Range(0, 1000).Draw(t, "slot")
				x.insert(k, slot)
				model[k] = slot
			},
			"remove": func(t *rapid.T) {
				k := id.Draw(t, "id")
				x.remove(k)
				delete(model, k)
			},
			"": func(t *rapid.T) {
				if x.used != len(model) {
					t.Fatalf("%d used, model has %d", x.used, len(model))
				}
				for k := uint64(1); k <= 64; k++ {
					want, ok := model[k]
					if !ok {
						want = noSlot
					}
					if got := x.lookup(k); got != want {
						t.Fatalf("lookup(%d) = %d, want %d", k, got, want)
					}
				}
			},
		})
	})
}

func TestIndexStaysThreeQuartersFull(t *testing.T) {
	var x index
	for id := uint64(1); id <= 100_000; id++ {
		x.insert(id, uint32(id))
	}
	if 4*x.used > 3*len(x.cells) {
		t.Errorf("%d of %d cells used", x.used, len(x.cells))
	}
	for id := uint64(1); id <= 100_000; id++ {
		if x.lookup(id) != uint32(id) {
			t.Fatalf("id %d lost in growth", id)
		}
	}
}

func BenchmarkIndexLookup(b *testing.B) {
	var x index
	for id := uint64(1); id <= 4096; id++ {
		x.insert(id*0x9E37, uint32(id))
	}
	id := uint64(0)
	for b.Loop() {
		id = id%4096 + 1
		if x.lookup(id*0x9E37) == noSlot {
			b.Fatal("lost")
		}
	}
}
