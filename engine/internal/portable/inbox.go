package portable

import (
	"sync/atomic"

	"systole/engine/internal/network"
)

// inboxSize is the number of datagrams of a ring, a power of two: two batches.
const inboxSize = 2 * network.BatchSize

// datagram is a place in the ring.
type datagram struct {
	from network.Addr
	n    int
	data [network.SlotSize]byte
}

// inbox is the ring from the goroutine that reads a socket to the loop.
type inbox struct {
	slots [inboxSize]datagram
	put   atomic.Uint32 // datagrams put so far; the reader's
	taken atomic.Uint32 // datagrams whose places are free again; the loop's
	waits atomic.Bool   // the reader waits for room
	room  chan struct{} // capacity 1
}

// next returns the place of the next datagram. It waits for room, and returns nil once closed is
// closed. Only the reader calls it.
func (b *inbox) next(closed <-chan struct{}) *datagram {
	for b.full() {
		b.waits.Store(true)
		if !b.full() {
			break // the loop made room before it could see that the reader waits
		}
		select {
		case <-b.room:
		case <-closed:
			return nil
		}
	}
	return &b.slots[b.put.Load()%inboxSize]
}

func (b *inbox) full() bool { return b.put.Load()-b.taken.Load() == inboxSize }

// add makes the place that next returned the loop's. Only the reader calls it.
func (b *inbox) add() { b.put.Add(1) }

// size returns how many datagrams were put and not released. Only the loop calls it.
func (b *inbox) size() int { return int(b.put.Load() - b.taken.Load()) }

// at returns the j-th datagram that was not released. Only the loop calls it.
func (b *inbox) at(j int) *datagram { return &b.slots[(b.taken.Load()+uint32(j))%inboxSize] }

// release frees the places of n datagrams. Only the loop calls it.
func (b *inbox) release(n int) {
	b.taken.Add(uint32(n))
	if b.waits.Load() {
		b.waits.Store(false)
		signal(b.room)
	}
}

// signal sends on a channel of capacity 1, unless a signal is there.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
