package ringbuf

import (
	"fmt"
	"sync/atomic"
)

// SPSC is a bounded queue from one producer to one consumer.
type SPSC[T any] struct {
	_        [128]byte
	head     atomic.Uint64 // next to pop; the consumer's
	tailSeen uint64        // the consumer's copy of tail
	_        [128 - 16]byte
	tail     atomic.Uint64 // next to push; the producer's
	headSeen uint64        // the producer's copy of head
	_        [128 - 16]byte
	buf      []T
	mask     uint64
}

// NewSPSC returns a queue for capacity values: a power of two from 2 to 2^30.
func NewSPSC[T any](capacity int) (*SPSC[T], error) {
	if err := powerOfTwo(capacity); err != nil {
		return nil, err
	}
	return &SPSC[T]{buf: make([]T, capacity), mask: uint64(capacity - 1)}, nil
}

// powerOfTwo returns an error unless n is a capacity.
func powerOfTwo(n int) error {
	if n < 2 || n > 1<<30 || n&(n-1) != 0 {
		return fmt.Errorf("ringbuf: capacity %d is not a power of two from 2 to 2^30", n)
	}
	return nil
}

// TryPush adds v and reports false if the queue is full. Only the producer calls it.
func (r *SPSC[T]) TryPush(v T) bool {
	at := r.tail.Load()
	if at-r.headSeen > r.mask {
		if r.headSeen = r.head.Load(); at-r.headSeen > r.mask {
			return false
		}
	}
	r.buf[at&r.mask] = v
	r.tail.Store(at + 1)
	return true
}

// TryPop takes the oldest value; ok is false if the queue is empty. Only the consumer calls it.
func (r *SPSC[T]) TryPop() (v T, ok bool) {
	at := r.head.Load()
	if at == r.tailSeen {
		if r.tailSeen = r.tail.Load(); at == r.tailSeen {
			return v, false
		}
	}
	v = r.buf[at&r.mask]
	r.head.Store(at + 1)
	return v, true
}

// Len returns the number of values in the queue. It may be out of date on return. Any goroutine
// may call it.
func (r *SPSC[T]) Len() int {
	head := r.head.Load() // before tail, so that the difference is not negative
	return int(r.tail.Load() - head)
}
