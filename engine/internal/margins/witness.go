// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package margins

import (
	"time"

	"systole/engine/clock"
)

// A single peer must not raise the margins with which new peers of its class begin: its machine may
// have stalled once, or it may be a hostile stranger. So a margin counts for the class only up to
// what three peers have needed, each at another time. The part beyond is cut.

// witnessCount is the number of peers that must have needed a margin.
const witnessCount = 3

// witness is a peer with the greatest margin that it needed, and the silence in which it did.
type witness struct {
	peer     uint32
	from, to clock.Instant
	margin   time.Duration // 0: this place is empty
}

// witnesses are the peers of a class that needed the greatest margins.
type witnesses [witnessCount]witness

// counted returns the part of margin, that of g, which counts for the class, and makes g's peer a
// witness. Margins up to free count without witnesses.
func (a *witnesses) counted(g *Gap, margin, free time.Duration) time.Duration {
	if margin <= free {
		return margin
	}
	if !g.Failed {
		a.take(&witness{g.Peer, g.Arrival.Add(-g.Interval), g.Arrival, margin})
	}
	return min(margin, max(free, a.least().margin))
}

// take adds w in place of the least witness, if w needed more. Silences that overlap are one
// incident, such as a stalled switch, and a peer is one witness: in both cases the greater of the
// two stays.
func (a *witnesses) take(w *witness) {
	least, same := a.least(), (*witness)(nil)
	for i := range a {
		old := &a[i]
		if old.margin == 0 || old.peer != w.peer && (w.from >= old.to || old.from >= w.to) {
			continue
		}
		if same != nil {
			return // w is one incident with each of two witnesses
		}
		same = old
	}
	if same != nil {
		least = same
	}
	if w.margin > least.margin {
		*least = *w
	}
}

// least returns the witness with the least margin.
func (a *witnesses) least() *witness {
	least := &a[0]
	for i := range a {
		if a[i].margin < least.margin {
			least = &a[i]
		}
	}
	return least
}

// halve ages a.
func (a *witnesses) halve() {
	for i := range a {
		a[i].margin /= 2
	}
}
