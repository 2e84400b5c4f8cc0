package ringbuf

// Layout is the shape of a window: the last Records records of Words words each, kept
// in flat memory that the caller provides, so that a hundred thousand windows are
// one allocation without a pointer.
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

// Size returns the number of words a window takes.
func (l Layout) Size() int { return windowHeader + l.Records*l.Words }

// record returns where record n lies.
func (l Layout) record(mem []Word, n uint64) []Word {
	at := windowHeader + int(n&uint64(l.Records-1))*l.Words
	return mem[at : at+l.Words]
}

// Push adds a record of l.Words words, over the oldest one when the window is full.
// Only the window's owner calls it.
func (l Layout) Push(mem []Word, rec []uint64) {
	n := mem[1].Get()
	dst := l.record(mem, n)
	rec = rec[:len(dst)]
	push(&mem[0], &dst[0], &rec[0], len(dst), n)
}

// Reset empties the window, for another subject. Only the window's owner calls it. A reader that
// copies meanwhile has to find out otherwise that the subject has changed.
func (l Layout) Reset(mem []Word) {
	mem[1].Set(0)
	mem[0].Set(0)
}

// Total returns how many records were pushed since the last Reset. Any goroutine may call it.
func (l Layout) Total(mem []Word) uint64 { return mem[1].Load() }

// Snapshot copies the newest records, oldest first, into dst, which holds a whole
// number of records, and returns how many it copied and the number of records pushed
// when it began. A record that the owner overwrote meanwhile is left out, never torn.
// Any goroutine may call it; it takes no lock and does not retry.
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
	// Whatever the owner has claimed by now may be half written in our copy: record c
	// is written over record c - Records.
	claimed := mem[0].Load()
	torn := uint64(0)
	if claimed > first+uint64(l.Records) {
		torn = min(claimed-uint64(l.Records)-first, want)
	}
	n = int(want - torn)
	copy(dst, dst[int(torn)*l.Words:int(want)*l.Words])
	return n, total
}

// Last copies the newest record into dst and reports whether there is one. Any
// goroutine may call it. With Records of 2 and more it fails only if the owner
// pushed Records records during the copy; it then tries again, a few times.
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
