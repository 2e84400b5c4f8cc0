package names

import (
	"container/heap"
	"slices"

	"systole/engine/clock"
)

// timer is an element of a queue.
type timer[T any] struct {
	due   clock.Instant
	place int // index in the queue plus one, 0 if in none
	of    T
}

// pending reports whether t is in a queue.
func (t *timer[T]) pending() bool { return t.place > 0 }

// queue is a heap of timers, the earliest first.
type queue[T any] []*timer[T]

// set puts t into the queue, or moves t within it.
func (q *queue[T]) set(t *timer[T], due clock.Instant) {
	q.remove(t)
	t.due = due
	heap.Push(q, t)
}

// remove takes t out of the queue if it is pending.
func (q *queue[T]) remove(t *timer[T]) {
	if t.pending() {
		heap.Remove(q, t.place-1)
	}
}

// next returns when the first timer is due, clock.Never if none is.
func (q queue[T]) next() clock.Instant {
	if len(q) == 0 {
		return clock.Never
	}
	return q[0].due
}

// pop takes the first timer out.
func (q *queue[T]) pop() T { return heap.Pop(q).(*timer[T]).of }

func (q queue[T]) Len() int           { return len(q) }
func (q queue[T]) Less(i, j int) bool { return q[i].due < q[j].due }
func (q queue[T]) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i+1, j+1
}

func (q *queue[T]) Push(x any) {
	*q = append(*q, x.(*timer[T]))
	(*q)[len(*q)-1].place = len(*q)
}

func (q *queue[T]) Pop() any {
	last := len(*q) - 1
	t := (*q)[last]
	*q = slices.Delete(*q, last, last+1)
	t.place = 0
	return t
}
