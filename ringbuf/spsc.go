package ringbuf

import (
	"fmt"
	"sync/atomic"
)

// SPSC is a bounded ring from one producer to one consumer.
type SPSC[T any] struct {
	_    [128]byte
	head atomic.Uint64 // next to pop; the consumer's
	tail uint64        // the consumer's copy of pushed
	_    [128 - 16]byte
	push atomic.Uint64 // next to push; the producer's
	seen uint64        // the producer's copy of head
	_    [128 - 16]byte
	buf  []T
	mask uint64
}

// NewSPSC returns a ring for capacity values, a power of two.
func NewSPSC[T any](capacity int) (*SPSC[T], error) {
	if err := powerOfTwo(capacity); err != nil {
		return nil, err
	}
	return &SPSC[T]{buf: make([]T, capacity), mask: uint64(capacity - 1)}, nil
}

// powerOfTwo refuses capacities that are none.
func powerOfTwo(n int) error {
	if n < 2 || n > 1<<30 || n&(n-1) != 0 {
		return fmt.Errorf("ringbuf: capacity %d is not a power of two from 2 to 2^30", n)
	}
	return nil
}

// TryPush adds v and reports false if the ring is full. Only the producer calls it.
func (r *SPSC[T]) TryPush(v T) bool {
	at := r.push.Load()
	if at-r.seen > r.mask {
		if r.seen = r.head.Load(); at-r.seen > r.mask {
			return false
		}
	}
	r.buf[at&r.mask] = v
	r.push.Store(at + 1)
	return true
}

// PushBatch adds as many of values as there is room for, in order, and returns how many.
// Only the producer calls it.
func (r *SPSC[T]) PushBatch(values []T) int {
	at := r.push.Load()
	if at+uint64(len(values))-r.seen > r.mask+1 {
		r.seen = r.head.Load()
	}
	n := min(len(values), int(r.mask+1-(at-r.seen)))
	for i, v := range values[:n] {
		r.buf[(at+uint64(i))&r.mask] = v
	}
	r.push.Store(at + uint64(n))
	return n
}

// PopBatch takes up to len(dst) values, oldest first, and returns how many. Only the
// consumer calls it.
func (r *SPSC[T]) PopBatch(dst []T) int {
	at := r.head.Load()
	if at+uint64(len(dst)) > r.tail {
		r.tail = r.push.Load()
	}
	n := min(len(dst), int(r.tail-at))
	for i := range dst[:n] {
		dst[i] = r.buf[(at+uint64(i))&r.mask]
	}
	r.head.Store(at + uint64(n))
	return n
}

// TryPop takes the oldest value. Only the consumer calls it.
func (r *SPSC[T]) TryPop() (v T, ok bool) {
	at := r.head.Load()
	if at == r.tail {
		if r.tail = r.push.Load(); at == r.tail {
			return v, false
		}
	}
	v = r.buf[at&r.mask]
	r.head.Store(at + 1)
	return v, true
}

// Len returns how many values wait, as of a moment ago. Any goroutine may call it.
func (r *SPSC[T]) Len() int {
	head := r.head.Load() // first, so that the difference is not negative
	return int(r.push.Load() - head)
}

// Cap returns the capacity.
func (r *SPSC[T]) Cap() int { return len(r.buf) }
