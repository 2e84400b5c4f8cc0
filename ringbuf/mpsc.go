package ringbuf

import (
	"fmt"
	"sync/atomic"
)

// MPSC is a bounded queue from many producers to one consumer: Vyukov's bounded MPMC queue, with a
// sequence per cell.
type MPSC[T any] struct {
	_     [128]byte
	head  atomic.Uint64 // next to pop; the consumer's
	_     [128 - 8]byte
	tail  atomic.Uint64 // next to push; the producers'
	_     [128 - 8]byte
	cells []cell[T]
	mask  uint64
}

// cell is a place for one value.
type cell[T any] struct {
	sequence atomic.Uint64 // empty: the position of the next value here; full: that plus 1
	value    T
}

// NewMPSC returns a queue for capacity values: a power of two from 2 to 2^30.
func NewMPSC[T any](capacity int) (*MPSC[T], error) {
	if capacity < 2 || capacity > 1<<30 || capacity&(capacity-1) != 0 {
		return nil, fmt.Errorf("ringbuf: capacity %d is not a power of two from 2 to 2^30", capacity)
	}
	r := &MPSC[T]{cells: make([]cell[T], capacity), mask: uint64(capacity - 1)}
	for i := range r.cells {
		r.cells[i].sequence.Store(uint64(i))
	}
	return r, nil
}

// TryPush adds v and reports false if the queue is full. Any goroutine may call it.
func (r *MPSC[T]) TryPush(v T) bool {
	at := r.tail.Load()
	for {
		c := &r.cells[at&r.mask]
		switch sequence := c.sequence.Load(); {
		case sequence == at:
			if r.tail.CompareAndSwap(at, at+1) {
				c.value = v
				c.sequence.Store(at + 1)
				return true
			}
			at = r.tail.Load()
		case sequence < at:
			return false
		default:
			at = r.tail.Load()
		}
	}
}

// PopBatch takes up to len(dst) values, oldest first, and returns their number. Only the
// consumer calls it.
func (r *MPSC[T]) PopBatch(dst []T) int {
	at := r.head.Load()
	n := 0
	for n < len(dst) {
		c := &r.cells[at&r.mask]
		if c.sequence.Load() != at+1 {
			break
		}
		var zero T
		dst[n], c.value = c.value, zero
		c.sequence.Store(at + r.mask + 1)
		at++
		n++
	}
	if n > 0 {
		r.head.Store(at)
	}
	return n
}

// Len returns the number of values in the queue, including those that producers are still
// writing. It may be out of date on return. Any goroutine may call it.
func (r *MPSC[T]) Len() int {
	head := r.head.Load() // before tail, so that the difference is not negative
	return int(r.tail.Load() - head)
}

// Cap returns the capacity.
func (r *MPSC[T]) Cap() int { return len(r.cells) }
