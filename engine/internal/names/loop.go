package names

import (
	"context"
	"net/netip"
	"time"
)

// loop does what is due until the Runner is closed.
func (r *Runner) loop() {
	defer close(r.ended)
	again := time.NewTimer(0)
	defer again.Stop()
	for r.ctx.Err() == nil {
		now := r.now()
		r.accept(now)
		for l := r.book.Due(now); l != nil; l = r.book.Due(now) {
			go r.lookUp(l)
		}
		r.visit(now, visitsPerRound)
		r.publish()
		if next := r.book.Next(); next != Never {
			again.Reset(time.Duration(next - r.now()))
		} else {
			again.Stop()
		}
		select {
		case <-r.ctx.Done():
		case <-r.wake:
		case <-again.C:
		}
	}
}

// now returns the instant of the loop: the time since the Runner began.
func (r *Runner) now() Instant { return Instant(time.Since(r.beginning)) }

// lookUp makes one lookup in a goroutine of its own.
func (r *Runner) lookUp(l *Lookup) {
	ctx, cancel := context.WithTimeout(r.ctx, r.book.limits.Timeout)
	addrs, err := r.resolver.LookupNetIP(ctx, "ip", l.Host)
	cancel()
	r.mu.Lock()
	r.returned = append(r.returned, answer{l, addrs, err})
	r.mu.Unlock()
	r.rouse()
}

// Turn does what is due at now, lookups included, and returns when something is due next, unless
// Add, Remove or Poke is called before. Lookups are made here, one after the other, and should
// return at once; their context has no deadline. One goroutine calls it, of a Runner made by New.
func (r *Runner) Turn(now Instant) (next Instant) {
	for more := true; more; {
		r.accept(now)
		l := r.book.Due(now)
		if more = l != nil; more {
			addrs, err := r.resolver.LookupNetIP(r.ctx, "ip", l.Host)
			r.accept(now) // meanwhile its peer may have been removed
			r.book.Answer(l, addrs, err, now)
		}
		more = r.visit(now, visitsPerRound) || more
	}
	r.publish()
	return r.book.Next()
}

// accept enters into the Book what others have left for it.
func (r *Runner) accept(now Instant) {
	r.mu.Lock()
	changes, order, returned := r.changes, r.order, r.returned
	if len(order) > 0 {
		r.changes, r.order = make(map[uint32]change), nil
	}
	r.returned = nil
	r.mu.Unlock()
	for _, slot := range order {
		switch c := changes[slot]; {
		case c.host != "":
			r.book.Add(c.key, c.host, c.port, now)
		case c.vacant:
			r.book.drop(r.book.peers[slot])
		default:
			r.book.Remove(c.key)
		}
	}
	for _, a := range returned {
		r.book.Answer(a.lookup, a.addrs, a.err, now)
	}
	r.poked.take(func(slot uint32) { r.book.Poke(slot, now) })
}

// visit looks at the peers that are due, n at most, and reports whether there may be more.
func (r *Runner) visit(now Instant, n int) bool {
	for range n {
		key, ok := r.book.Visit(now)
		if !ok {
			return false
		}
		state, addr := r.options.Look(key)
		m, err := r.book.Decide(key, state, addr, now)
		if err != nil && r.options.Unresolved != nil {
			r.options.Unresolved(key, r.book.hostOf(key), err)
		}
		if m.Addr != (netip.AddrPort{}) {
			r.book.Told(m, r.options.Tell(m), now)
		}
	}
	return true
}

// hostOf returns the host of a peer in the Book.
func (b *Book) hostOf(key Key) string { return b.find(key).host.name }

// publish makes the present figures readable.
func (r *Runner) publish() {
	s := Stats{
		Peers: len(r.book.peers), Hosts: len(r.book.hosts), Flying: len(r.book.flying), Lingering: r.book.lingering,
		Lookups: r.book.lookups, Failures: r.book.failures, Stuck: r.book.stuck,
	}
	r.mu.Lock()
	r.stats = s
	r.mu.Unlock()
}
