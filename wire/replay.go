package wire

// ReplayWindow refuses sequences that were seen before, or are too old to tell, after
// RFC 6479 and RFC 4303, 3.4.3. The zero value is ready and has seen nothing. It is for
// one incarnation of one sender, and for one goroutine.
type ReplayWindow struct {
	highest uint64
	seen    uint64 // bit i: highest - i was seen
}

// replaySpan is how far behind the highest a sequence may come.
const replaySpan = 64

// Highest returns the highest sequence accepted, 0 if none was.
func (w *ReplayWindow) Highest() uint64 { return w.highest }

// Accept takes sequence and reports whether it was new.
func (w *ReplayWindow) Accept(sequence uint64) bool {
	if sequence > w.highest {
		if ahead := sequence - w.highest; ahead < replaySpan {
			w.seen = w.seen<<ahead | 1
		} else {
			w.seen = 1
		}
		w.highest = sequence
		return true
	}
	behind := w.highest - sequence
	if sequence == 0 || behind >= replaySpan || w.seen>>behind&1 == 1 {
		return false
	}
	w.seen |= 1 << behind
	return true
}
