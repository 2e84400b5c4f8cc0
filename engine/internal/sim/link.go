package sim

import (
	"math/rand/v2"
	"time"

	"systole/engine/clock"
	"systole/engine/enginetest/netmodel"
)

// path is the state of a link between two hosts on one plane.
type path struct {
	netmodel.Link
	losses  netmodel.Losses
	own     bool          // Link was set for this pair of hosts
	cut     bool          // loses everything
	rejects bool          // a middlebox answers port unreachable
	slowed  clock.Instant // world time since which a proxy delays ever more; 0: none does
	backlog time.Duration // of the queue, at when
	when    clock.Instant
	last    clock.Instant // latest arrival of datagrams that keep their order
	latest  clock.Instant // latest arrival of all datagrams
}

// pathKey names one path of a host.
type pathKey struct {
	to    *Host
	plane int
}

// headers is the size of the Ethernet, IPv4 and UDP headers of a datagram.
const headers = 14 + 20 + 8

// wait returns how long a datagram of size bytes waits in the queue, and false if the queue drops it.
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

// carry sends d over the link from h to its destination.
func (w *World) carry(h *Host, d *Datagram) {
	if w.Tap != nil {
		w.Tap(d)
	}
	to := w.at[d.To]
	if to.host == nil {
		return // no host holds the address
	}
	p := h.pathTo(to.host, to.plane)
	d.rejected = p.rejects && !d.Refused
	if p.cut || p.losses.Next(&p.Link, w.random) {
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

// deliver sets the arrival time of d and posts d.
func (w *World) deliver(p *path, d *Datagram, queued time.Duration) {
	at := w.now.Add(queued + p.Delay.Draw(w.random))
	if p.slowed != 0 {
		at = at.Add(w.now.Sub(p.slowed)) // half the speed: the delay grows with time
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

// refuse returns a datagram to its sender as an ICMP error. Errors are not answered.
func (w *World) refuse(h *Host, d *Datagram) {
	if !d.Refused {
		w.carry(h, &Datagram{From: d.To, To: d.From, Data: d.Data, Refused: true})
	}
}

// pathTo returns the path from h to another host on a plane. A new path is a copy of the one on
// plane 0.
func (h *Host) pathTo(to *Host, plane int) *path {
	key := pathKey{to, plane}
	if p := h.paths[key]; p != nil {
		return p
	}
	p := &path{Link: h.world.link}
	if plane > 0 {
		first := h.pathTo(to, 0)
		p = &path{Link: first.Link, own: first.own, cut: first.cut, rejects: first.rejects}
	}
	h.paths[key] = p
	return p
}

// AllPlanes stands for the paths between two hosts on every plane.
const AllPlanes = -1

// pathsTo calls f for the path from h to another host on a plane, or AllPlanes.
func (h *Host) pathsTo(to *Host, plane int, f func(*path)) {
	for k := h.world.planes - 1; k >= 0; k-- { // plane 0 last: new paths copy it
		if p := h.pathTo(to, k); plane == AllPlanes || plane == k {
			f(p)
		}
	}
}

// LastArrival returns the latest arrival time of the datagrams that one host sent to another, 0 if it
// sent none.
func (w *World) LastArrival(from, to *Host) (at clock.Instant) {
	from.pathsTo(to, AllPlanes, func(p *path) { at = max(at, p.latest) })
	return at
}

// SetLink sets the link from one host to another, on every plane. Datagrams on their way are not
// affected.
func (w *World) SetLink(from, to *Host, l netmodel.Link) {
	from.pathsTo(to, AllPlanes, func(p *path) { p.Link, p.own = l, true })
}

// LinkBetween returns the link from one host to another, on plane 0.
func (w *World) LinkBetween(from, to *Host) netmodel.Link { return from.pathTo(to, 0).Link }

// SetLinks sets the link between all hosts for which SetLink was not called.
func (w *World) SetLinks(l netmodel.Link) {
	w.link = l
	for _, h := range w.hosts {
		for _, p := range h.paths {
			if !p.own {
				p.Link = l
			}
		}
	}
}

// Links returns the link between all hosts for which SetLink was not called.
func (w *World) Links() netmodel.Link { return w.link }

// Cut cuts the link from one host to another, on every plane, until Heal. The other direction stays.
func (w *World) Cut(from, to *Host) { w.CutPlane(from, to, AllPlanes, true) }

// Heal ends Cut.
func (w *World) Heal(from, to *Host) { w.CutPlane(from, to, AllPlanes, false) }

// CutPlane cuts the link from one host to another on one plane; with on false, it ends that.
func (w *World) CutPlane(from, to *Host, plane int, on bool) {
	from.pathsTo(to, plane, func(p *path) { p.cut = on })
}

// Reject makes a middlebox on the link from one host to another answer port unreachable, as a REJECT
// rule does, on a plane or AllPlanes; with on false, it ends that. The other direction stays.
func (w *World) Reject(from, to *Host, plane int, on bool) {
	from.pathsTo(to, plane, func(p *path) { p.rejects = on })
}

// PlaySlowly makes a proxy on the link from one host to another forward datagrams at half the speed: in
// order, and ever later, on a plane or AllPlanes. With on false later datagrams pass at once, and
// overtake those held back.
func (w *World) PlaySlowly(from, to *Host, plane int, on bool) {
	from.pathsTo(to, plane, func(p *path) {
		if p.slowed, p.last = 0, 0; on {
			p.slowed = w.now
		}
	})
}
