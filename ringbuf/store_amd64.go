//go:build amd64 && !race

package ringbuf

// store publishes v: readers that see it see all that was written before.
//
//go:noescape
func store(p *uint64, v uint64)

// push is Layout.Push on the words themselves; see there.
//
//go:noescape
func push(head, dst *Word, src *uint64, words int, n uint64)
