package sim

import (
	"math/rand/v2"
	"time"

	"systole/engine/clock"
)

// Link is the way from one host to another, one way. The zero value takes no time and loses
// nothing. Datagrams keep their order but for those that Reorder picks.
type Link struct {
	Delay Distribution
	// Loss is the probability that a datagram is lost, each by itself.
	Loss float64
	// Burst loses in runs.
	Burst Burst
	// Duplicate is the probability that a datagram comes twice, the second after a delay
	// of its own. Reorder is that of one being held back by up to ReorderBy, while others
	// overtake it. Truncate is that of losing its end.
	Duplicate, Reorder, Truncate float64
	ReorderBy                    time.Duration
	Queue                        Queue
}

// Burst is the Gilbert-Elliott model: with each datagram the link turns bad with
// probability Enter, or good again with Leave, and while it is bad loses with Loss, where
// 0 means all.
type Burst struct{ Enter, Leave, Loss float64 }

// Queue is a buffer in front of a line of Rate bytes per second that holds Depth of
// traffic: bufferbloat. Others offer Load of the line's rate, so above 1 the queue fills,
// every datagram waits behind it, and when it is full the excess is lost. Rate 0: no queue.
type Queue struct {
	Rate  float64
	Depth time.Duration
	Load  float64
}

// path is a link at work.
type path struct {
	Link
	own     bool // set for this pair
	cut     bool
	bad     bool          // in a burst of loss
	backlog time.Duration // of the queue, as of when
	when    clock.Instant
	last    clock.Instant // latest arrival so far
}

// headers is what the line carries of a datagram besides its data: Ethernet, IPv4 and UDP.
const headers = 14 + 20 + 8

// loses reports whether the link loses the next datagram.
func (p *path) loses(r *rand.Rand) bool {
	if b := p.Burst; b.Enter > 0 {
		turn := b.Enter
		if p.bad {
			turn = b.Leave
		}
		if r.Float64() < turn {
			p.bad = !p.bad
		}
		if p.bad && r.Float64() < orDefault(b.Loss, 1) {
			return true
		}
	}
	return p.Loss > 0 && r.Float64() < p.Loss
}

// wait returns how long a datagram of size waits in the queue, and whether it has room.
func (p *path) wait(r *rand.Rand, now clock.Instant, size int) (time.Duration, bool) {
	q := p.Queue
	if q.Rate == 0 {
		return 0, true
	}
	grown := float64(p.backlog) + (q.Load-1)*float64(now.Sub(p.when))
	p.backlog, p.when = time.Duration(min(max(grown, 0), float64(q.Depth))), now
	own := time.Duration(float64(size+headers) / q.Rate * 1e9)
	full := p.backlog+own > q.Depth
	if full && (q.Load <= 1 || r.Float64() < (q.Load-1)/q.Load) {
		return 0, false
	}
	p.backlog = min(p.backlog+own, q.Depth)
	return p.backlog, true
}

// carry takes d onto the way from h to its destination, at the present instant.
func (w *World) carry(h *Host, d *Datagram) {
	to := w.at[d.To]
	if to == nil {
		return // nobody has that address
	}
	p := h.pathTo(to)
	if p.cut || p.loses(w.random) {
		return
	}
	queued, ok := p.wait(w.random, w.now, len(d.Data))
	if !ok {
		return
	}
	if p.Truncate > 0 && len(d.Data) > 0 && w.random.Float64() < p.Truncate {
		d.Data = d.Data[:w.random.IntN(len(d.Data))]
	}
	w.deliver(p, d, queued)
	if p.Duplicate > 0 && w.random.Float64() < p.Duplicate {
		twin := *d
		w.deliver(p, &twin, queued)
	}
}

// deliver sets when d arrives, and posts it.
func (w *World) deliver(p *path, d *Datagram, queued time.Duration) {
	at := w.now.Add(queued + p.Delay.draw(w.random))
	if p.Reorder > 0 && w.random.Float64() < p.Reorder {
		at = at.Add(time.Duration(w.random.Int64N(int64(p.ReorderBy) + 1)))
	} else {
		at = max(at, p.last)
		p.last = at
	}
	d.At = at
	if w.Mangle == nil || d.Refused {
		w.Post(d)
		return
	}
	for _, d := range w.Mangle(d) {
		w.Post(d)
	}
}

// pathTo returns the path from h to another host.
func (h *Host) pathTo(to *Host) *path {
	for len(h.paths) <= to.number {
		h.paths = append(h.paths, nil)
	}
	if h.paths[to.number] == nil {
		h.paths[to.number] = &path{Link: h.world.link}
	}
	return h.paths[to.number]
}

// SetLink sets the way from one host to another. What is on its way stays so.
func (w *World) SetLink(from, to *Host, l Link) {
	p := from.pathTo(to)
	p.Link, p.own = l, true
}

// LinkBetween returns the way from one host to another.
func (w *World) LinkBetween(from, to *Host) Link { return from.pathTo(to).Link }

// SetLinks sets the way between all hosts that have none of their own.
func (w *World) SetLinks(l Link) {
	w.link = l
	for _, h := range w.hosts {
		for _, p := range h.paths {
			if p != nil && !p.own {
				p.Link = l
			}
		}
	}
}

// Cut cuts the way from one host to another, and Heal mends it. The other way is another.
func (w *World) Cut(from, to *Host) { from.pathTo(to).cut = true }

// Heal mends what Cut cut.
func (w *World) Heal(from, to *Host) { from.pathTo(to).cut = false }

// IsCut reports whether the way is cut.
func (w *World) IsCut(from, to *Host) bool { return from.pathTo(to).cut }
