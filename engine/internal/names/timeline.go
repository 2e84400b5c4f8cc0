package names

import "container/heap"

// timer is an instant at which something is due, and its place in a timeline.
type timer[T any] struct {
	due   Instant
	place int // in the heap plus one; 0: not in it
	of    T
}

// timeline is a set of timers, the earliest at hand. Each call costs the logarithm of its size.
type timeline[T any] struct{ heap timers[T] }

// set puts t into the timeline, or moves it.
func (l *timeline[T]) set(t *timer[T], due Instant) {
	t.due = due
	if t.place != 0 {
		heap.Fix(&l.heap, t.place-1)
		return
	}
	heap.Push(&l.heap, t)
}

// remove takes t out, if it is in it.
func (l *timeline[T]) remove(t *timer[T]) {
	if t.place != 0 {
		heap.Remove(&l.heap, t.place-1)
	}
}

// next returns when the earliest is due, Never if there is none.
func (l *timeline[T]) next() Instant {
	if len(l.heap) == 0 {
		return Never
	}
	return l.heap[0].due
}

// pop takes the earliest out. There is one.
func (l *timeline[T]) pop() T { return heap.Pop(&l.heap).(*timer[T]).of }

// timers is a heap.Interface.
type timers[T any] []*timer[T]

func (h timers[T]) Len() int           { return len(h) }
func (h timers[T]) Less(i, j int) bool { return h[i].due < h[j].due }
func (h timers[T]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}

// Push implements heap.Interface.
func (h *timers[T]) Push(x any) {
	t := x.(*timer[T])
	*h = append(*h, t)
	t.place = len(*h)
}

// Pop implements heap.Interface.
func (h *timers[T]) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.place = 0
	return t
}
