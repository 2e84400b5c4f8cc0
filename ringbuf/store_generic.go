//go:build !amd64 || race

package ringbuf

import (
	"sync/atomic"
	"unsafe"
)

// store publishes v: readers that see it see all that was written before.
func store(p *uint64, v uint64) { atomic.StoreUint64(p, v) }

// push is Layout.Push on the words themselves; see there.
func push(head, dst *Word, src *uint64, words int, n uint64) {
	heads := unsafe.Slice(head, windowHeader)
	heads[0].Set(n + 1)
	to, from := unsafe.Slice(dst, words), unsafe.Slice(src, words)
	for i := range to {
		to[i].Set(from[i])
	}
	heads[1].Set(n + 1)
}
