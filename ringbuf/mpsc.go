package ringbuf

import "sync/atomic"

// MPSC is a bounded ring from many producers to one consumer: Vyukov's bounded queue,
// with a sequence per cell.
type MPSC[T any] struct {
	_     [128]byte
	head  atomic.Uint64 // next to pop; the consumer's
	_     [128 - 8]byte
	tail  atomic.Uint64 // next to push; the producers'
	_     [128 - 8]byte
	cells []cell[T]
	mask  uint64
}

// cell holds a value. turn is the position that may be pushed here, plus one once it is.
type cell[T any] struct {
	turn  atomic.Uint64
	value T
}

// NewMPSC returns a ring for capacity values, a power of two.
func NewMPSC[T any](capacity int) (*MPSC[T], error) {
	if err := powerOfTwo(capacity); err != nil {
		return nil, err
	}
	r := &MPSC[T]{cells: make([]cell[T], capacity), mask: uint64(capacity - 1)}
	for i := range r.cells {
		r.cells[i].turn.Store(uint64(i))
	}
	return r, nil
}

// TryPush adds v and reports false if the ring is full. Any goroutine may call it.
func (r *MPSC[T]) TryPush(v T) bool {
	at := r.tail.Load()
	for {
		c := &r.cells[at&r.mask]
		switch turn := c.turn.Load(); {
		case turn == at:
			if r.tail.CompareAndSwap(at, at+1) {
				c.value = v
				c.turn.Store(at + 1)
				return true
			}
			at = r.tail.Load()
		case turn < at:
			return false
		default:
			at = r.tail.Load()
		}
	}
}

// PushBatch adds as many of values as there is room for, in order, and returns how many.
// Values of other producers may lie between them. Any goroutine may call it.
func (r *MPSC[T]) PushBatch(values []T) int {
	for i, v := range values {
		if !r.TryPush(v) {
			return i
		}
	}
	return len(values)
}

// PopBatch takes up to len(dst) values, oldest first, and returns how many. Only the
// consumer calls it.
func (r *MPSC[T]) PopBatch(dst []T) int {
	at := r.head.Load()
	n := 0
	for n < len(dst) {
		c := &r.cells[at&r.mask]
		if c.turn.Load() != at+1 {
			break
		}
		var zero T
		dst[n], c.value = c.value, zero
		c.turn.Store(at + r.mask + 1)
		at++
		n++
	}
	if n > 0 {
		r.head.Store(at)
	}
	return n
}

// Len returns how many values wait, as of a moment ago, counting those that a producer is
// about to finish. Any goroutine may call it.
func (r *MPSC[T]) Len() int {
	head := r.head.Load() // first, so that the difference is not negative
	return int(r.tail.Load() - head)
}

// Cap returns the capacity.
func (r *MPSC[T]) Cap() int { return len(r.cells) }
