package sim

import "systole/engine/clock"

// event is a scheduled event.
type event struct {
	at       clock.Instant
	class    class
	serial   uint64
	datagram *Datagram
	host     *Host
	do       func()
}

// class orders the events of one instant: processes turn last, so that they see all the others.
type class uint8

const (
	classCall class = iota
	classLeave
	classArrive
	classTurn
)

// before reports whether e happens before o.
func (e *event) before(o *event) bool {
	if e.at != o.at {
		return e.at < o.at
	}
	if e.class != o.class {
		return e.class < o.class
	}
	return e.serial < o.serial
}

// queue is a binary heap of events. It is not a container/heap, which would allocate per event.
type queue []event

// push inserts e.
func (q *queue) push(e event) {
	*q = append(*q, e)
	heap := *q
	for i := len(heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if !heap[i].before(&heap[parent]) {
			return
		}
		heap[i], heap[parent] = heap[parent], heap[i]
		i = parent
	}
}

// pop removes and returns the earliest event.
func (q *queue) pop() event {
	heap := *q
	first, last := heap[0], len(heap)-1
	heap[0], heap[last] = heap[last], event{}
	heap = heap[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if heap[child].before(&heap[least]) {
				least = child
			}
		}
		if least == i {
			break
		}
		heap[i], heap[least] = heap[least], heap[i]
		i = least
	}
	*q = heap
	return first
}
