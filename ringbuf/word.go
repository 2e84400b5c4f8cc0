package ringbuf

import "sync/atomic"

// Word is a 64-bit word with one writer and any number of readers. The zero Word is 0.
type Word struct {
	_ [0]atomic.Uint64 // aligns v to 8 bytes, on 32-bit machines as well
	v uint64
}

// Load returns the word. A goroutine that loads a value sees all that the owner wrote before it
// set that value. Any goroutine may call it.
func (w *Word) Load() uint64 { return atomic.LoadUint64(&w.v) }

// Get returns the word without synchronisation. Only the owner calls it.
func (w *Word) Get() uint64 { return w.v }

// Set stores v. Only the owner calls it.
func (w *Word) Set(v uint64) { store(&w.v, v) }

// Add adds n. Only the owner calls it.
func (w *Word) Add(n uint64) { store(&w.v, w.v+n) }
