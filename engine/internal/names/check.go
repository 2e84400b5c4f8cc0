package names

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"systole/engine/clock"
)

const (
	attemptDelay    = 250 * time.Millisecond // the Connection Attempt Delay of RFC 8305
	maxAttemptDelay = 2 * time.Second
	retryDelay      = 50 * time.Millisecond // after a move for which there was no room
)

// stateChanged schedules a check of a peer whose state changed.
func (t *table) stateChanged(key Key, now clock.Instant) {
	if p := t.find(key); p != nil {
		p.changed = true
		t.checks.set(&p.timer, now)
	}
}

// checkAnswer schedules a check of p against the answer for its host.
func (t *table) checkAnswer(p *peer, now clock.Instant) {
	p.answered = true
	t.checks.set(&p.timer, now)
}

// checkAll schedules a check of every peer, in the order of the slots.
func (t *table) checkAll(now clock.Instant) {
	for _, slot := range slices.Sorted(maps.Keys(t.peers)) {
		t.checks.set(&t.peers[slot].timer, now)
	}
}

// checkNext checks the peer whose check is due first, and reports whether one was due.
func (t *table) checkNext(now clock.Instant) bool {
	if t.checks.next() > now {
		return false
	}
	p := t.checks.pop()
	state, addr := t.options.Status(p.key)
	if addr.IsValid() {
		p.addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	}
	t.observe(p, state, now)
	t.choose(p, now)
	return true
}

// observe records p's state. The host of a failed peer may have another address by now.
func (t *table) observe(p *peer, state State, now clock.Instant) {
	if state == Failed && (p.changed || p.state != Failed) {
		t.lookUpSoon(p.host, now)
	}
	if state == Alive {
		p.delay = attemptDelay
	} else if p.state == Alive {
		p.silentAt = now
	}
	p.state, p.changed = state, false
}

// choose moves p if it should be watched at another address.
func (t *table) choose(p *peer, now clock.Instant) {
	answered := p.answered
	p.answered = false
	addrs := t.usable(p)
	if len(addrs) == 0 {
		if answered && p.reportable {
			p.reportable = false
			t.options.Unresolved(p.key, p.host.name, p.host.fault())
		}
		return
	}
	present := slices.IndexFunc(addrs, func(a netip.AddrPort) bool { return sameAddr(a, p.addr) })
	next := addrs[(present+1)%len(addrs)]
	switch {
	case present < 0 && (answered || p.state != Alive):
		if answered {
			p.delay = attemptDelay
		}
		t.move(p, next, false, now)
	case p.state == Alive || sameAddr(next, p.addr): // stays
	case now < p.nextAttempt():
		t.checks.set(&p.timer, p.nextAttempt())
	default:
		t.move(p, next, true, now)
	}
}

// nextAttempt returns when the next address may be tried. Suspects often recover, so their present
// address gets the delay of one more attempt.
func (p *peer) nextAttempt() clock.Instant {
	if p.state == Suspect {
		return max(p.nextAt, p.silentAt.Add(attemptDelay))
	}
	return p.nextAt
}

// move moves p to addr. If there is no room for the move, p is checked again soon.
func (t *table) move(p *peer, addr netip.AddrPort, try bool, now clock.Instant) {
	if !t.options.Move(p.key, addr, try) {
		p.answered = !try
		t.checks.set(&p.timer, now.Add(retryDelay))
		return
	}
	p.addr, p.reportable = addr, false
	p.nextAt = now.Add(p.delay)
	if p.state != Connecting {
		p.delay = min(2*p.delay, maxAttemptDelay)
	}
	t.checks.set(&p.timer, p.nextAt)
}

// fault returns why h, which was looked up, has no usable address.
func (h *host) fault() error {
	if h.err != nil {
		return h.err
	}
	return fmt.Errorf("%w among %v; is an address of that family configured, and is it not this node's own?", errUnusable, h.addrs)
}

// usable returns the addresses of p's host at which p can be watched.
func (t *table) usable(p *peer) []netip.AddrPort {
	var addrs []netip.AddrPort
	for _, a := range p.host.addrs {
		if addr := netip.AddrPortFrom(a, p.port); t.options.Usable(addr) {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// sameAddr reports whether a and b are equal but for their zones: a zone may be a name or a number.
func sameAddr(a, b netip.AddrPort) bool {
	return a.Port() == b.Port() && a.Addr().WithZone("") == b.Addr().WithZone("")
}

// order returns the addresses of an answer in the order of attempts: each once, families in turn,
// that of the first address first (RFC 8305, section 4). If the answer lists the same addresses as
// before, the order stays, because name servers rotate addresses.
func order(before, answer []netip.Addr) []netip.Addr {
	var families [2][]netip.Addr
	seen := make(map[netip.Addr]bool, len(answer))
	for _, a := range answer {
		a = a.Unmap()
		if !a.IsValid() || seen[a] {
			continue
		}
		seen[a] = true
		family := 0
		if len(families[0]) > 0 && a.Is4() != families[0][0].Is4() {
			family = 1
		}
		families[family] = append(families[family], a)
	}
	unlisted := func(a netip.Addr) bool { return !seen[a] }
	if len(before) == len(seen) && !slices.ContainsFunc(before, unlisted) {
		return before
	}
	out := make([]netip.Addr, 0, len(seen))
	for i := range len(seen) {
		for _, f := range families {
			if i < len(f) {
				out = append(out, f[i])
			}
		}
	}
	return out
}
