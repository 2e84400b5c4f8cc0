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
	rejects bool          // a middlebox sends back what comes
	slowed  clock.Instant // since when a proxy plays slowly what comes; 0: none does
	bad     bool          // in a burst of loss
	backlog time.Duration // of the queue, as of when
	when    clock.Instant
	last    clock.Instant // latest arrival so far of what keeps its order
	latest  clock.Instant // latest arrival so far
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
	if w.Tap != nil {
		w.Tap(d)
	}
	to := w.at[d.To]
	if to.host == nil {
		return // nobody has that address
	}
	p := h.pathTo(to.host, to.plane)
	d.rejected = p.rejects && !d.Refused
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
	if p.slowed != 0 {
		at = at.Add(w.now.Sub(p.slowed)) // as long again
	}
	if p.Reorder > 0 && w.random.Float64() < p.Reorder {
		at = at.Add(time.Duration(w.random.Int64N(int64(p.ReorderBy) + 1)))
	} else {
		at = max(at, p.last)
		p.last = at
	}
	d.At, p.latest = at, max(p.latest, at)
	if w.Mangle == nil || d.Refused {
		w.Post(d)
		return
	}
	for _, d := range w.Mangle(d) {
		w.Post(d)
	}
}

// refuse sends a datagram back that found no socket, as an error. An error it drops.
func (w *World) refuse(h *Host, d *Datagram) {
	if !d.Refused {
		w.carry(h, &Datagram{From: d.To, To: d.From, Data: d.Data, Refused: true})
	}
}

// pathTo returns the path from h to another host on a plane. A new one begins as the path on
// plane 0 is.
func (h *Host) pathTo(to *Host, plane int) *path {
	for len(h.paths) <= plane {
		h.paths = append(h.paths, nil)
	}
	for len(h.paths[plane]) <= to.number {
		h.paths[plane] = append(h.paths[plane], nil)
	}
	if p := h.paths[plane][to.number]; p != nil {
		return p
	}
	p := &path{Link: h.world.link}
	if plane > 0 {
		first := h.pathTo(to, 0)
		p = &path{Link: first.Link, own: first.own, cut: first.cut, rejects: first.rejects}
	}
	h.paths[plane][to.number] = p
	return p
}

// AllPlanes stands for the paths between two hosts on every plane.
const AllPlanes = -1

// pathsTo calls f for the path from h to another host on a plane, or AllPlanes.
func (h *Host) pathsTo(to *Host, plane int, f func(*path)) {
	for k := h.world.planes - 1; k >= 0; k-- { // plane 0 last: it is what new ones begin as
		if p := h.pathTo(to, k); plane == AllPlanes || plane == k {
			f(p)
		}
	}
}

// LastArrival returns when the last datagram that one host sent to another arrives, or would if the other ran;
// 0: none was sent.
func (w *World) LastArrival(from, to *Host) (at clock.Instant) {
	from.pathsTo(to, AllPlanes, func(p *path) { at = max(at, p.latest) })
	return at
}

// SetLink sets the way from one host to another, on every plane. What is on its way stays so.
func (w *World) SetLink(from, to *Host, l Link) {
	from.pathsTo(to, AllPlanes, func(p *path) { p.Link, p.own = l, true })
}

// LinkBetween returns the way from one host to another, on plane 0.
func (w *World) LinkBetween(from, to *Host) Link { return from.pathTo(to, 0).Link }

// SetLinks sets the way between all hosts that have none of their own.
func (w *World) SetLinks(l Link) {
	w.link = l
	for _, h := range w.hosts {
		for _, plane := range h.paths {
			for _, p := range plane {
				if p != nil && !p.own {
					p.Link = l
				}
			}
		}
	}
}

// Cut cuts the way from one host to another, and Heal mends it. The other way is another.
func (w *World) Cut(from, to *Host) { w.CutPlane(from, to, AllPlanes, true) }

// Heal mends what Cut cut.
func (w *World) Heal(from, to *Host) { w.CutPlane(from, to, AllPlanes, false) }

// CutPlane cuts the way from one host to another on one plane, or mends it.
func (w *World) CutPlane(from, to *Host, plane int, on bool) {
	from.pathsTo(to, plane, func(p *path) { p.cut = on })
}

// IsCut reports whether the way is cut on plane 0.
func (w *World) IsCut(from, to *Host) bool { return from.pathTo(to, 0).cut }

// Reject has a middlebox in front of to, on a plane or AllPlanes, answer what from sends there
// with port unreachable, as a REJECT rule does, or no more. The way back stays as it is.
func (w *World) Reject(from, to *Host, plane int, on bool) {
	from.pathsTo(to, plane, func(p *path) { p.rejects = on })
}

// PlaySlowly has a proxy in front of to, on a plane or AllPlanes, play what from sends there at
// half the speed from now on: as it came, in order, and ever later. With on false what comes passes
// again, and overtakes what was held back.
func (w *World) PlaySlowly(from, to *Host, plane int, on bool) {
	from.pathsTo(to, plane, func(p *path) {
		if p.slowed, p.last = 0, 0; on {
			p.slowed = w.now
		}
	})
}
