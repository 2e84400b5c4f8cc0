//go:build !amd64 || race

package ringbuf

import (
	"sync/atomic"
	"unsafe"
)

// store publishes v: a reader that loads v sees all earlier writes.
func store(p *uint64, v uint64) { atomic.StoreUint64(p, v) }

// push is the copy loop of Layout.Push: record n, of so many words, goes from src to dst.
func push(head, dst *Word, src *uint64, words int, n uint64) {
	heads := unsafe.Slice(head, windowHeader)
	heads[0].Set(n + 1)
	to, from := unsafe.Slice(dst, words), unsafe.Slice(src, words)
	for i := range to {
		to[i].Set(from[i])
	}
	heads[1].Set(n + 1)
}
