package ringbuf

import (
	"runtime"
	"sync"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// queue is what SPSC and MPSC have in common.
type queue interface {
	TryPush(int) bool
	PopBatch([]int) int
	Len() int
}

// spsc pops in batches.
type spsc struct{ *SPSC[int] }

func (q spsc) PopBatch(dst []int) int {
	for i := range dst {
		v, ok := q.TryPop()
		if !ok {
			return i
		}
		dst[i] = v
	}
	return len(dst)
}

// queues returns one queue of each kind.
func queues(t interface{ Fatal(...any) }, capacity int) map[string]queue {
	one, err := NewSPSC[int](capacity)
	if err != nil {
		t.Fatal(err)
	}
	many, err := NewMPSC[int](capacity)
	if err != nil {
		t.Fatal(err)
	}
	if many.Cap() != capacity {
		t.Fatal("capacity", many.Cap())
	}
	return map[string]queue{"SPSC": spsc{one}, "MPSC": many}
}

// SPSC and MPSC are bounded queues: they do what a slice does, up to their capacity.
func TestQueues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacity := 2 << rapid.IntRange(0, 4).Draw(t, "capacity")
		rings := queues(t, capacity)
		var model []int
		next := 0
		push := func(t *rapid.T) {
			next++
			room := len(model) < capacity
			for name, r := range rings {
				if r.TryPush(next) != room {
					t.Fatalf("%s: TryPush with %d of %d", name, len(model), capacity)
				}
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
				for name, r := range rings {
					n := r.PopBatch(dst)
					if n != want {
						t.Fatalf("%s: popped %d, want %d", name, n, want)
					}
					for i := range n {
						if dst[i] != model[i] {
							t.Fatalf("%s: popped %v, want %v", name, dst[:n], model[:n])
						}
					}
				}
				model = model[want:]
			},
			"": func(t *rapid.T) {
				for name, r := range rings {
					if r.Len() != len(model) {
						t.Fatalf("%s: Len %d, want %d", name, r.Len(), len(model))
					}
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

func TestSPSCUnderLoad(t *testing.T) {
	const values = 200_000
	r, err := NewSPSC[int](128)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for i := 0; i < values; {
			if r.TryPush(i) {
				i++
			} else {
				runtime.Gosched()
			}
		}
	})
	for want := 0; want < values; {
		v, ok := r.TryPop()
		if !ok {
			runtime.Gosched()
			continue
		}
		if v != want {
			t.Fatalf("got %d, want %d", v, want)
		}
		want++
	}
	group.Wait()
}

func TestCapacityIsNotClamped(t *testing.T) {
	for _, n := range []int{-1, 0, 1, 3, 100, 1<<30 + 1} {
		if _, err := NewSPSC[int](n); err == nil {
			t.Errorf("SPSC of %d was made", n)
		}
		if _, err := NewMPSC[int](n); err == nil {
			t.Errorf("MPSC of %d was made", n)
		}
	}
}

// The positions lie two cache lines apart, from each other and from what is before and behind them.
func TestLayout(t *testing.T) {
	const apart = 128
	var one SPSC[int]
	if d := unsafe.Offsetof(one.tail) - unsafe.Offsetof(one.head); d < apart || unsafe.Offsetof(one.head) < apart {
		t.Errorf("SPSC: positions %d bytes apart", d)
	}
	if d := unsafe.Offsetof(one.buf) - unsafe.Offsetof(one.tail); d < apart {
		t.Errorf("SPSC: the buffer lies %d bytes behind a position", d)
	}
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
