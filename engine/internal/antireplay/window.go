// Package antireplay tells sequences that are new from those that were seen before.
package antireplay

// Window refuses sequences that were seen before, or are too old to tell, after
// RFC 6479 and RFC 4303, 3.4.3. The zero value is ready and has seen nothing. It is for
// one incarnation of one sender, and for one goroutine.
type Window struct {
	highest uint64
	seen    uint64 // bit i: highest - i was seen
}

// span is how far behind the highest a sequence may come.
const span = 64

// Highest returns the highest sequence accepted, 0 if none was.
func (w *Window) Highest() uint64 { return w.highest }

// Accept takes sequence and reports whether it was new.
func (w *Window) Accept(sequence uint64) bool {
	if sequence > w.highest {
		if ahead := sequence - w.highest; ahead < span {
			w.seen = w.seen<<ahead | 1
		} else {
			w.seen = 1
		}
		w.highest = sequence
		return true
	}
	behind := w.highest - sequence
	if sequence == 0 || behind >= span || w.seen>>behind&1 == 1 {
		return false
	}
	w.seen |= 1 << behind
	return true
}
