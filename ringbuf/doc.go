// Package ringbuf has the lock-free structures by which the owner of some state shows
// it to others, and hears from them: words with one writer, windows of the last records,
// and bounded rings. None allocates after it was made.
//
//	Word     one writer, many readers      64 bits: Set by the owner, Load by anybody
//	window   one writer, many readers      the last N records, never torn
//	SPSC     one producer, one consumer    bounded queue
//	MPSC     many producers, one consumer  bounded queue
//
// A window lies in memory of the caller's, without a pointer (Layout):
//
//	claimed │ written │ record 0          │ record 1          │ ... │ record N-1
//	1 word  │ 1 word  │ w0 w1 ... wk      │ w0 w1 ... wk      │     │
//
// The writer stores claimed = n+1, then the words of record n, then written = n+1. A
// reader loads written, copies records, then loads claimed: what was claimed meanwhile
// may have been overwritten under it, and is left out. Stores become visible in their
// order (release), loads are done in theirs (acquire), as sync/atomic says.
//
// The rings keep the producers' and the consumer's positions two cache lines apart, since
// processors fetch lines in pairs.
package ringbuf
