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

// A deadline before now, or before the clock's start, fires with the next Advance.
func TestPastDeadlinesFireAtOnce(t *testing.T) {
	const now = clock.Instant(1 << 30)
	for _, at := range []clock.Instant{now, now - 1, 1, 0, -1, -1 << 63} {
		w := New(testShift, now)
		w.Set(3, at)
		fired := make([]uint32, 1)
		if n, _ := w.Advance(now, fired); n != 1 || fired[0] != 3 {
			t.Errorf("deadline %d: %d timers fired at %d", at, n, now)
		}
	}
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

// Timers that move down a level are part of the bound too: a call that finds a thousand of
// them in a slot that has begun moves a bounded number, and the rest in later calls.
func TestMovingDownIsBounded(t *testing.T) {
	w := New(testShift, 0)
	const timers, bound = 1000, 64
	const slot = clock.Instant(1) << (testShift + 2*levelBits) // a slot of the third level
	for id := range uint32(timers) {
		w.Set(id, slot+slot/2)
	}
	fired := make([]uint32, bound)
	calls := 1
	for more := true; more; calls++ {
		var n int
		if n, more = w.Advance(slot, fired); n != 0 {
			t.Fatalf("%d timers fired before their deadline", n)
		}
	}
	if least := timers / bound; calls < least {
		t.Errorf("%d timers moved down in %d calls, expected at least %d", timers, calls, least)
	}
}

// Sleeping until Next wakes no more than once per level before the deadline, and then at
// its tick: neither earlier nor later.
func TestNextIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := clock.Instant(rapid.Int64Range(0, 1<<50).Draw(t, "start"))
		w := New(testShift, now)
		at := now + clock.Instant(rapid.OneOf(rapid.Int64Range(1, 1<<20), rapid.Int64Range(1, 1<<50)).Draw(t, "in"))
		w.Set(0, at)
		fired := make([]uint32, 1)
		for wakes := 1; ; wakes++ {
			now = w.Next()
			n, more := w.Advance(now, fired)
			for more {
				n, more = w.Advance(now, fired)
			}
			if n == 1 {
				break
			}
			if wakes > levels {
				t.Fatalf("%d wakes for a timer at %d, now %d", wakes, at, now)
			}
		}
		if now < at || now >= at+1<<testShift {
			t.Fatalf("fired at %d, %v after the deadline", now, now.Sub(at))
		}
	})
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

// The benchmarks run with the timers of 100,000 peers' worth of one kind, a second ahead.
const benchTimers = 100_000

func benchWheel() *Wheel {
	w := New(16, 0)
	for id := range uint32(benchTimers) {
		w.Set(id, clock.Instant(id)*10_000)
	}
	return w
}

// BenchmarkSetAndExpire is one timer's whole cycle: armed for a second, moved down, fired.
func BenchmarkSetAndExpire(b *testing.B) {
	w := benchWheel()
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

// BenchmarkMove moves a pending timer, in an order that no cache foresees.
func BenchmarkMove(b *testing.B) {
	w := benchWheel()
	now := clock.Instant(0)
	for i := uint64(0); b.Loop(); i++ {
		now += 10_000
		w.Set(uint32(i*2_654_435_761%benchTimers), now+clock.Instant(time.Second))
	}
}

// BenchmarkCancelAndSet takes a pending timer out and arms it anew.
func BenchmarkCancelAndSet(b *testing.B) {
	w := benchWheel()
	for i := uint64(0); b.Loop(); i++ {
		id := uint32(i * 2_654_435_761 % benchTimers)
		w.Cancel(id)
		w.Set(id, clock.Instant(time.Second))
	}
}
