package names

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

const (
	// attemptDelay is the Connection Attempt Delay of RFC 8305. It doubles to maxAttemptDelay while a
	// peer that was heard is not.
	attemptDelay    = 250 * time.Millisecond
	maxAttemptDelay = 2 * time.Second
	retryDelay      = 50 * time.Millisecond // for a move that was not taken
)

// Visit returns a peer to be looked at, false if none is due. Call Decide with what is seen of it,
// and Visit again until it returns false.
func (b *Book) Visit(now Instant) (Key, bool) {
	if b.checks.next() > now {
		return Key{}, false
	}
	return b.checks.pop().key, true
}

// checkAnswer has p answered because its host has an answer.
func (b *Book) checkAnswer(p *peer, now Instant) {
	p.answered = true
	b.checks.set(&p.timer, now)
}

// Poke has a peer looked at, because its state changed.
func (b *Book) Poke(key Key, now Instant) {
	if p := b.find(key); p != nil {
		p.poked = true
		b.checks.set(&p.timer, now)
	}
}

// VisitAll has every peer looked at, in the order of their slots.
func (b *Book) VisitAll(now Instant) {
	for _, slot := range slices.Sorted(maps.Keys(b.peers)) {
		b.checks.set(&b.peers[slot].timer, now)
	}
}

// Decide judges a peer that is in state at addr; the zero AddrPort is where it was last moved. A
// move with a valid address is to be told, and Told to be called. An error is to be reported: the
// name has never resolved; it is returned once per peer.
func (b *Book) Decide(key Key, state State, addr netip.AddrPort, now Instant) (m Move, unresolved error) {
	p := b.find(key)
	if p == nil {
		return Move{}, nil
	}
	if addr.IsValid() {
		p.addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	}
	b.observe(p, state, now)
	answered := p.answered
	p.answered, p.poked = false, false
	first, next, listed := b.choices(p)
	switch {
	case !first.IsValid():
		b.checks.remove(&p.timer)
		if answered && p.reportable {
			p.reportable = false
			return Move{}, p.host.fault()
		}
		return Move{}, nil
	case !listed && (answered || state != Well):
		if answered {
			p.delay = attemptDelay
		}
		return Move{key, first, false}, nil
	case state == Well || sameAddr(next, p.addr):
		b.checks.remove(&p.timer)
		return Move{}, nil
	}
	if at := p.tryAt(); now < at {
		b.checks.set(&p.timer, at)
		return Move{}, nil
	}
	return Move{key, next, true}, nil
}

// observe notes p's state. A peer that is Gone may have another address by now.
func (b *Book) observe(p *peer, state State, now Instant) {
	if state == Gone && (p.poked || p.state != Gone) {
		b.lookUpSoon(p.host, now)
	}
	if state == Well {
		p.delay = attemptDelay
	} else if p.state == Well {
		p.silentAt = now
	}
	p.state = state
}

// tryAt returns when the next address is to be tried. Silence may end by itself, so it has the
// delay of an attempt.
func (p *peer) tryAt() Instant {
	if p.state == Silent {
		return max(p.nextAt, p.silentAt.after(attemptDelay))
	}
	return p.nextAt
}

// choices returns p's first usable address, the one after p's present address, and whether that
// one is listed.
func (b *Book) choices(p *peer) (first, next netip.AddrPort, listed bool) {
	for _, a := range p.host.addrs {
		ap := netip.AddrPortFrom(a, p.port)
		if !b.usable(ap) {
			continue
		}
		if !first.IsValid() {
			first = ap
		}
		if listed && !next.IsValid() {
			next = ap
		}
		listed = listed || sameAddr(ap, p.addr)
	}
	if !next.IsValid() {
		next = first
	}
	return first, next, listed
}

// Told notes whether the engine took the move. One that it did not take is decided anew soon.
func (b *Book) Told(m Move, taken bool, now Instant) {
	p := b.find(m.Key)
	if p == nil {
		return
	}
	if !taken {
		p.answered = p.answered || !m.Try
		b.checks.set(&p.timer, now.after(retryDelay))
		return
	}
	p.addr, p.reportable = m.Addr, false
	p.nextAt = now.after(p.delay)
	if p.state != Connecting {
		p.delay = min(2*p.delay, maxAttemptDelay)
	}
	b.checks.set(&p.timer, p.nextAt)
}
