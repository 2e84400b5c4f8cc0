package ringbuf

// Layout is the shape of a window: the newest Records records of Words words each. The caller
// provides the memory, so a hundred thousand windows are one allocation without pointers.
//
// Records is a power of two, Words at least 1. The memory is Size words, zero at first:
//
//	0        claimed: records begun
//	1        written: records finished
//	2...     Records × Words, record n at n mod Records
type Layout struct {
	Records, Words int
}

const windowHeader = 2

// Size returns the number of words in a window.
func (l Layout) Size() int { return windowHeader + l.Records*l.Words }

// record returns the words of record n.
func (l Layout) record(mem []Word, n uint64) []Word {
	at := windowHeader + int(n&uint64(l.Records-1))*l.Words
	return mem[at : at+l.Words]
}

// Push adds a record of l.Words words. It overwrites the oldest record of a full window. Only the
// window's owner calls it.
func (l Layout) Push(mem []Word, rec []uint64) {
	n := mem[1].Get()
	dst := l.record(mem, n)
	rec = rec[:len(dst)]
	push(&mem[0], &dst[0], &rec[0], len(dst), n)
}

// Reset empties the window, so that another subject can use it. Only the window's owner calls it. A
// reader that copies at the same time may get records of both subjects: Reset does not tell it.
func (l Layout) Reset(mem []Word) {
	mem[1].Set(0)
	mem[0].Set(0)
}

// Total returns the number of records pushed since the last Reset. Any goroutine may call it.
func (l Layout) Total(mem []Word) uint64 { return mem[1].Load() }

// Snapshot copies the newest records, oldest first, into dst, which holds a whole number of
// records. It returns the number of copied records, and that of all records pushed before the
// call. It leaves out records that the owner overwrites during the copy, so none is torn. Any
// goroutine may call it; it takes no lock and does not retry.
func (l Layout) Snapshot(mem []Word, dst []uint64) (n int, total uint64) {
	total = mem[1].Load()
	want := min(uint64(len(dst)/l.Words), uint64(l.Records), total)
	first := total - want
	for k := range want {
		src := l.record(mem, first+k)
		out := dst[int(k)*l.Words:]
		for i := range src {
			out[i] = src[i].Load()
		}
	}
	// Record c overwrites record c - Records: the copies of records below claimed - Records may
	// be torn.
	claimed := mem[0].Load()
	torn := uint64(0)
	if claimed > first+uint64(l.Records) {
		torn = min(claimed-uint64(l.Records)-first, want)
	}
	n = int(want - torn)
	copy(dst, dst[int(torn)*l.Words:int(want)*l.Words])
	return n, total
}

// Last copies the newest record into dst and reports whether it did: false if the window is empty,
// or if the owner overwrote the record during each of 16 copies, which takes Records pushes each
// time. Any goroutine may call it.
func (l Layout) Last(mem []Word, dst []uint64) bool {
	for range lastTries {
		if n, total := l.Snapshot(mem, dst[:l.Words]); n == 1 {
			return true
		} else if total == 0 {
			return false
		}
	}
	return false
}

const lastTries = 16
