package ringbuf

import "sync/atomic"

// store publishes v: readers that see it see all that was written before.
func store(p *uint64, v uint64) { atomic.StoreUint64(p, v) }
