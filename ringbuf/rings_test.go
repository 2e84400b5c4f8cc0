package ringbuf

import (
	"runtime"
	"sync"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// A queue does what a slice does, up to its capacity.
func TestQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacity := 2 << rapid.IntRange(0, 4).Draw(t, "capacity")
		r, err := NewMPSC[int](capacity)
		if err != nil || r.Cap() != capacity {
			t.Fatal(r.Cap(), err)
		}
		var model []int
		next := 0
		push := func(t *rapid.T) {
			next++
			room := len(model) < capacity
			if r.TryPush(next) != room {
				t.Fatalf("TryPush with %d of %d", len(model), capacity)
			}
			if room {
				model = append(model, next)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"push": push,
			"push many": func(t *rapid.T) {
				for range rapid.IntRange(0, capacity+2).Draw(t, "batch") {
					push(t)
				}
			},
			"pop": func(t *rapid.T) {
				dst := make([]int, rapid.IntRange(0, capacity+2).Draw(t, "batch"))
				want := min(len(dst), len(model))
				n := r.PopBatch(dst)
				if n != want {
					t.Fatalf("popped %d, want %d", n, want)
				}
				for i := range n {
					if dst[i] != model[i] {
						t.Fatalf("popped %v, want %v", dst[:n], model[:n])
					}
				}
				model = model[want:]
			},
			"": func(t *rapid.T) {
				if r.Len() != len(model) {
					t.Fatalf("Len %d, want %d", r.Len(), len(model))
				}
			},
		})
	})
}

// Each producer's values arrive once and in order.
func TestMPSCUnderLoad(t *testing.T) {
	const producers, each = 4, 50_000
	r, err := NewMPSC[[2]int](256)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for p := range producers {
		group.Go(func() {
			for i := range each {
				for !r.TryPush([2]int{p, i}) {
					runtime.Gosched()
				}
			}
		})
	}
	var next [producers]int
	batch := make([][2]int, 64)
	for total := 0; total < producers*each; {
		n := r.PopBatch(batch)
		for _, v := range batch[:n] {
			if v[1] != next[v[0]] {
				t.Fatalf("producer %d: got %d, want %d", v[0], v[1], next[v[0]])
			}
			next[v[0]]++
		}
		if total += n; n == 0 {
			runtime.Gosched()
		}
	}
	group.Wait()
}

func TestCapacityIsNotClamped(t *testing.T) {
	for _, n := range []int{-1, 0, 1, 3, 100, 1<<30 + 1} {
		if _, err := NewMPSC[int](n); err == nil {
			t.Errorf("MPSC of %d was made", n)
		}
	}
}

// The positions lie two cache lines apart, from each other and from what is before and behind them.
func TestLayout(t *testing.T) {
	const apart = 128
	var many MPSC[int]
	if d := unsafe.Offsetof(many.tail) - unsafe.Offsetof(many.head); d < apart || unsafe.Offsetof(many.head) < apart {
		t.Errorf("MPSC: positions %d bytes apart", d)
	}
	if d := unsafe.Offsetof(many.cells) - unsafe.Offsetof(many.tail); d < apart {
		t.Errorf("MPSC: the cells lie %d bytes behind a position", d)
	}
	if unsafe.Sizeof(Word{}) != 8 {
		t.Error("a Word is not 8 bytes")
	}
}
