package ringbuf

import (
	"runtime"
	"sync"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// ring is what SPSC and MPSC have in common.
type ring interface {
	TryPush(int) bool
	PushBatch([]int) int
	PopBatch([]int) int
	Len() int
	Cap() int
}

// both makes one ring of each kind.
func both(t interface{ Fatal(...any) }, capacity int) map[string]ring {
	one, err := NewSPSC[int](capacity)
	if err != nil {
		t.Fatal(err)
	}
	many, err := NewMPSC[int](capacity)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]ring{"SPSC": one, "MPSC": many}
}

// A ring is a bounded queue.
func TestRingIsAQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacity := 2 << rapid.IntRange(0, 4).Draw(t, "capacity")
		rings := both(t, capacity)
		var model []int
		next := 0
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
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
			},
			"push batch": func(t *rapid.T) {
				batch := make([]int, rapid.IntRange(0, capacity+2).Draw(t, "batch"))
				for i := range batch {
					next++
					batch[i] = next
				}
				want := min(len(batch), capacity-len(model))
				for name, r := range rings {
					if n := r.PushBatch(batch); n != want {
						t.Fatalf("%s: PushBatch took %d, want %d", name, n, want)
					}
				}
				model = append(model, batch[:want]...)
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
					if r.Len() != len(model) || r.Cap() != capacity {
						t.Fatalf("%s: Len %d of %d, want %d of %d", name, r.Len(), r.Cap(), len(model), capacity)
					}
				}
			},
		})
	})
}

// Many producers: nothing lost, nothing twice, each producer's values in order.
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

// The two ends' positions lie two cache lines apart, and so does what is before them.
func TestLayout(t *testing.T) {
	const apart = 128
	var one SPSC[int]
	if d := unsafe.Offsetof(one.push) - unsafe.Offsetof(one.head); d < apart || unsafe.Offsetof(one.head) < apart {
		t.Errorf("SPSC: positions %d bytes apart", d)
	}
	if d := unsafe.Offsetof(one.buf) - unsafe.Offsetof(one.push); d < apart {
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
