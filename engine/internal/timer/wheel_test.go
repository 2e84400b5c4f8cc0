package timer

import (
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"

	"systole/engine/clock"
)

const testShift = 10

// The wheel behaves as a set of deadlines: never early, at most a tick late, nothing
// lost, nothing twice, whatever is set, moved, cancelled and however time jumps.
func TestWheelIsASetOfDeadlines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := clock.Instant(rapid.Int64Range(0, 1<<45).Draw(t, "start"))
		w := New(testShift, now)
		model := make(map[uint32]clock.Instant)
		fired := make([]uint32, rapid.IntRange(1, 8).Draw(t, "bound"))
		id := rapid.Uint32Range(0, 40)
		jump := rapid.OneOf(rapid.Int64Range(0, 1<<13), rapid.Int64Range(0, 1<<24), rapid.Int64Range(0, 1<<42))
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				k := id.Draw(t, "id")
				at := now + clock.Instant(jump.Draw(t, "in")-100)
				at = max(at, 0)
				w.Set(k, at)
				model[k] = at
			},
			"cancel": func(t *rapid.T) {
				k := id.Draw(t, "id")
				w.Cancel(k)
				delete(model, k)
			},
			"advance": func(t *rapid.T) {
				now += clock.Instant(jump.Draw(t, "by"))
				for more, calls := true, 0; more; calls++ {
					var n int
					n, more = w.Advance(now, fired)
					for _, k := range fired[:n] {
						at, ok := model[k]
						if !ok {
							t.Fatalf("timer %d fired and was not set", k)
						}
						if at > now {
							t.Fatalf("timer %d fired %v early", k, at.Sub(now))
						}
						delete(model, k)
					}
					if calls > 10_000 {
						t.Fatal("Advance does not end")
					}
				}
				for k, at := range model {
					if at+1<<testShift <= now {
						t.Fatalf("timer %d is %v late", k, now.Sub(at))
					}
				}
			},
			"": func(t *rapid.T) {
				if w.Len() != len(model) {
					t.Fatalf("Len = %d, model has %d", w.Len(), len(model))
				}
				next := w.Next()
				for k, at := range model {
					if !w.Pending(k) {
						t.Fatalf("timer %d is not pending", k)
					}
					if next > max(at, now)+1<<testShift {
						t.Fatalf("Next = %v is past the deadline %v of %d", next, at, k)
					}
				}
				if len(model) == 0 && next != clock.Never {
					t.Fatalf("Next = %v without timers", next)
				}
			},
		})
	})
}

// A slot with very many timers is expired over several calls.
func TestAdvanceIsBounded(t *testing.T) {
	w := New(testShift, 0)
	const timers = 1000
	for id := range uint32(timers) {
		w.Set(id, 1<<20)
	}
	fired := make([]uint32, 64)
	calls, total := 0, 0
	for more := true; more; calls++ {
		var n int
		n, more = w.Advance(1<<20, fired)
		total += n
	}
	if total != timers || calls < timers/64 {
		t.Errorf("%d timers in %d calls", total, calls)
	}
}

// An empty century is passed in one step.
func TestAdvanceSkipsEmptyTime(t *testing.T) {
	w := New(testShift, 0)
	w.Set(7, clock.Instant(100*365*24*time.Hour))
	fired := make([]uint32, 1)
	for calls := 0; ; calls++ {
		n, _ := w.Advance(w.Next(), fired)
		if n == 1 {
			break
		}
		if calls > 2*levels {
			t.Fatal("too many steps")
		}
	}
}

func TestNodeIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(node{}); size > 24 {
		t.Errorf("a timer takes %d bytes", size)
	}
}

func TestNoAllocs(t *testing.T) {
	w := New(testShift, 0)
	w.Grow(1024)
	fired := make([]uint32, 64)
	now := clock.Instant(0)
	allocs := testing.AllocsPerRun(1000, func() {
		now += 1 << testShift
		w.Set(uint32(now)%1024, now+1<<20)
		w.Advance(now, fired)
	})
	if allocs != 0 {
		t.Errorf("%v allocations per run", allocs)
	}
}

func BenchmarkSetAndExpire(b *testing.B) {
	const timers = 100_000
	w := New(16, 0)
	for id := range uint32(timers) {
		w.Set(id, clock.Instant(id)*10_000)
	}
	fired := make([]uint32, 2048)
	now := clock.Instant(0)
	for i := 0; i < b.N; {
		now += 1 << 22
		n, _ := w.Advance(now, fired)
		for _, id := range fired[:n] {
			w.Set(id, now+clock.Instant(time.Second))
		}
		i += n
	}
}
