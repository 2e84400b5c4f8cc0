package ringbuf

import "sync/atomic"

// Word is a 64-bit word with one writer and any number of readers. The zero Word is 0.
type Word struct{ v uint64 }

// Load returns the word. Any goroutine may call it; it sees everything that the owner
// wrote before the Set whose value it returns.
func (w *Word) Load() uint64 { return atomic.LoadUint64(&w.v) }

// Get returns the word to its owner.
func (w *Word) Get() uint64 { return w.v }

// Set stores v. Only the owner calls it.
func (w *Word) Set(v uint64) { store(&w.v, v) }

// Add adds n. Only the owner calls it.
func (w *Word) Add(n uint64) { store(&w.v, w.v+n) }
