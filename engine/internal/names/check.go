package names

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

const (
	attemptDelay    = 250 * time.Millisecond // the Connection Attempt Delay of RFC 8305
	maxAttemptDelay = 2 * time.Second
	retryDelay      = 50 * time.Millisecond // after a move for which there was no room
)

// stateChanged has a peer checked because its state changed.
func (b *Book) stateChanged(key Key, now Instant) {
	if p := b.find(key); p != nil {
		p.changed = true
		b.checks.set(&p.timer, now)
	}
}

// checkAnswer has p checked because its host has an answer.
func (b *Book) checkAnswer(p *peer, now Instant) {
	p.answered = true
	b.checks.set(&p.timer, now)
}

// checkAll has every peer checked, in the order of the slots.
func (b *Book) checkAll(now Instant) {
	for _, slot := range slices.Sorted(maps.Keys(b.peers)) {
		b.checks.set(&b.peers[slot].timer, now)
	}
}

// checkNext checks the peer whose check is due first, and reports whether one was due.
func (b *Book) checkNext(now Instant) bool {
	if b.checks.next() > now {
		return false
	}
	p := b.checks.pop()
	state, addr := b.options.Status(p.key)
	if addr.IsValid() {
		p.addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	}
	b.observe(p, state, now)
	b.choose(p, now)
	return true
}

// observe records p's state. The host of a peer that failed may have another address by now.
func (b *Book) observe(p *peer, state State, now Instant) {
	if state == Failed && (p.changed || p.state != Failed) {
		b.lookUpSoon(p.host, now)
	}
	if state == Alive {
		p.delay = attemptDelay
	} else if p.state == Alive {
		p.silentAt = now
	}
	p.state, p.changed = state, false
}

// choose moves p if it should be watched at another address.
func (b *Book) choose(p *peer, now Instant) {
	answered := p.answered
	p.answered = false
	first, next, listed := b.addrs(p)
	switch {
	case !first.IsValid():
		if answered && p.reportable {
			p.reportable = false
			b.options.Unresolved(p.key, p.host.name, p.host.fault())
		}
	case !listed && (answered || p.state != Alive):
		if answered {
			p.delay = attemptDelay
		}
		b.move(p, first, false, now)
	case p.state == Alive || sameAddr(next, p.addr):
	case now < p.nextAttempt():
		b.checks.set(&p.timer, p.nextAttempt())
	default:
		b.move(p, next, true, now)
	}
}

// addrs returns p's first usable address, the one after p's present address, and whether the present
// one is listed.
func (b *Book) addrs(p *peer) (first, next netip.AddrPort, listed bool) {
	for _, a := range p.host.addrs {
		addr := netip.AddrPortFrom(a, p.port)
		if !b.options.Usable(addr) {
			continue
		}
		if !first.IsValid() {
			first = addr
		}
		if listed && !next.IsValid() {
			next = addr
		}
		listed = listed || sameAddr(addr, p.addr)
	}
	if !next.IsValid() {
		next = first
	}
	return first, next, listed
}

// nextAttempt returns when the next address may be tried. A suspect often recovers where it is, so
// that address has the delay of an attempt first.
func (p *peer) nextAttempt() Instant {
	if p.state == Suspect {
		return max(p.nextAt, p.silentAt.after(attemptDelay))
	}
	return p.nextAt
}

// move moves p to addr, or checks p again soon if there is no room for the move.
func (b *Book) move(p *peer, addr netip.AddrPort, try bool, now Instant) {
	if !b.options.Move(p.key, addr, try) {
		p.answered = !try
		b.checks.set(&p.timer, now.after(retryDelay))
		return
	}
	p.addr, p.reportable = addr, false
	p.nextAt = now.after(p.delay)
	if p.state != Connecting {
		p.delay = min(2*p.delay, maxAttemptDelay)
	}
	b.checks.set(&p.timer, p.nextAt)
}
