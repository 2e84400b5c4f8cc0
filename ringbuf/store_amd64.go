//go:build amd64 && !race

package ringbuf

// store publishes v: a reader that loads v sees all earlier writes.
//
//go:noescape
func store(p *uint64, v uint64)

// push is the copy loop of Layout.Push: record n, of so many words, goes from src to dst.
//
//go:noescape
func push(head, dst *Word, src *uint64, words int, n uint64)
