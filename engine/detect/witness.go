// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package detect

import (
	"time"

	"systole/engine/clock"
)

// What one peer shows alone is its own: a machine that stood still once, or a stranger that
// means harm. Newcomers, which begin with what their class has shown, must not pay for it. So
// a margin counts for the class up to where enough peers, each at another time, have needed as
// much: the least of the greatest that they needed. What is beyond counts as that, so a
// single peer has its weight and no more.

// witnesses is how many peers it takes.
const witnesses = 3

// witness is a peer with the greatest margin that it needed, and the silence that showed it.
type witness struct {
	peer     uint32
	from, to clock.Instant
	margin   time.Duration // 0: nobody
}

// attest holds the witnesses of a class.
type attest [witnesses]witness

// counted returns what the margin of g counts for the class, and takes its peer for a
// witness. What is free counts without one.
func (a *attest) counted(g *Gap, margin, free time.Duration) time.Duration {
	if margin <= free {
		return margin
	}
	if !g.Failed {
		a.take(&witness{g.Peer, g.Arrival.Add(-g.Interval), g.Arrival, margin})
	}
	return min(margin, max(free, a.least().margin))
}

// take takes w in. Silences that overlap are one incident, as when a switch stood still, and
// a peer is one witness: then the greater of the two is kept.
func (a *attest) take(w *witness) {
	least, same := a.least(), (*witness)(nil)
	for i := range a {
		old := &a[i]
		if old.margin == 0 || old.peer != w.peer && (w.from >= old.to || old.from >= w.to) {
			continue
		}
		if same != nil {
			return // it joins two witnesses, and is none itself
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

// least returns the witness that needed least.
func (a *attest) least() *witness {
	least := &a[0]
	for i := range a {
		if a[i].margin < least.margin {
			least = &a[i]
		}
	}
	return least
}

// halve ages a.
func (a *attest) halve() {
	for i := range a {
		a[i].margin /= 2
	}
}
