// Package ringbuf has lock-free data structures for goroutines that share state: words with one
// writer, windows of the newest records, and a bounded queue. None allocates after it was made.
//
//	Word     one writer, many readers      64 bits
//	Layout   one writer, many readers      a window of the newest N records, never torn
//	MPSC     many producers, one consumer  bounded queue
//
// A window is a piece of the caller's memory, without pointers:
//
//	claimed │ written │ record 0          │ record 1          │ ... │ record N-1
//	1 word  │ 1 word  │ w0 w1 ... wk      │ w0 w1 ... wk      │     │
//
// The writer stores claimed = n+1, then the words of record n, then written = n+1. A reader
// loads written, copies records, then loads claimed. It leaves out each record whose place was
// claimed anew during the copy. All stores and loads are atomic, so they take effect in program
// order (see sync/atomic).
//
// A queue keeps the positions of producer and consumer two cache lines apart, because
// processors fetch lines in pairs.
package ringbuf
