package names

import "container/heap"

// timer is when something is due, and its place in a queue.
type timer[T any] struct {
	due   Instant
	place int // index plus one; 0: in no queue
	of    T
}

// pending reports whether t is in a queue.
func (t *timer[T]) pending() bool { return t.place > 0 }

// timeline holds timers, the earliest first. It is a heap.Interface.
type timeline[T any] []*timer[T]

// set puts t into the queue, or moves it.
func (q *timeline[T]) set(t *timer[T], due Instant) {
	t.due = due
	if t.pending() {
		heap.Fix(q, t.place-1)
		return
	}
	heap.Push(q, t)
}

// remove takes t out if it is pending.
func (q *timeline[T]) remove(t *timer[T]) {
	if t.pending() {
		heap.Remove(q, t.place-1)
	}
}

// next returns when the first timer is due, Never if there is none.
func (q timeline[T]) next() Instant {
	if len(q) == 0 {
		return Never
	}
	return q[0].due
}

// pop takes the first timer out.
func (q *timeline[T]) pop() T { return heap.Pop(q).(*timer[T]).of }

func (q timeline[T]) Len() int           { return len(q) }
func (q timeline[T]) Less(i, j int) bool { return q[i].due < q[j].due }
func (q timeline[T]) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i+1, j+1
}

func (q *timeline[T]) Push(x any) {
	*q = append(*q, x.(*timer[T]))
	(*q)[len(*q)-1].place = len(*q)
}

func (q *timeline[T]) Pop() any {
	last := len(*q) - 1
	t := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	t.place = 0
	return t
}
