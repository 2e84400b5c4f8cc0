package ringbuf

import (
	"sync"
	"sync/atomic"
	"testing"
)

func BenchmarkWordSet(b *testing.B) {
	var w Word
	for i := uint64(0); b.Loop(); i++ {
		w.Set(i)
	}
}

func BenchmarkAtomicStore(b *testing.B) {
	var w atomic.Uint64
	for i := uint64(0); b.Loop(); i++ {
		w.Store(i)
	}
}

func BenchmarkWindowPush(b *testing.B) {
	l := Layout{Records: 8, Words: 4}
	mem, rec := make([]Word, l.Size()), make([]uint64, 4)
	for b.Loop() {
		l.Push(mem, rec)
	}
}

func BenchmarkWindowPushMutex(b *testing.B) {
	var mu sync.Mutex
	var mem [8][4]uint64
	for i := uint64(0); b.Loop(); i++ {
		mu.Lock()
		mem[i%8] = [4]uint64{i, i, i, i}
		mu.Unlock()
	}
}

func BenchmarkWindowSnapshot(b *testing.B) {
	l := Layout{Records: 8, Words: 4}
	mem, dst := make([]Word, l.Size()), make([]uint64, 32)
	for range 8 {
		l.Push(mem, dst[:4])
	}
	for b.Loop() {
		l.Snapshot(mem, dst)
	}
}

// mutexRing is a queue behind a mutex, for comparison.
type mutexRing struct {
	mu         sync.Mutex
	buf        [1024]uint64
	head, tail uint64
}

func (r *mutexRing) push(v uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tail-r.head == 1024 {
		return false
	}
	r.buf[r.tail%1024] = v
	r.tail++
	return true
}

func (r *mutexRing) pop() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tail == r.head {
		return false
	}
	r.head++
	return true
}

// BenchmarkQueue passes values through a queue, 64 in and 64 out, on one goroutine: the cost of the
// operations without contention.
func BenchmarkQueue(b *testing.B) {
	const size = 64
	var batch [size]uint64
	b.Run("MPSC", func(b *testing.B) {
		r, _ := NewMPSC[uint64](1024)
		for i := 0; i < b.N; i += size {
			for range size {
				r.TryPush(1)
			}
			r.PopBatch(batch[:])
		}
	})
	b.Run("channel", func(b *testing.B) {
		c := make(chan uint64, 1024)
		for i := 0; i < b.N; i += size {
			for range size {
				c <- 1
			}
			for range size {
				<-c
			}
		}
	})
	b.Run("mutex", func(b *testing.B) {
		var r mutexRing
		for i := 0; i < b.N; i += size {
			for range size {
				r.push(1)
			}
			for range size {
				r.pop()
			}
		}
	})
}
