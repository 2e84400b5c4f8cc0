package names

import (
	"net/netip"
	"slices"
	"time"
)

// Lookup is one lookup of a host.
type Lookup struct {
	Host string

	host     *host
	deadline Instant
	failing  bool // the host's last lookup failed
	overdue  bool // its deadline has passed
	lingers  bool // it holds no place
}

// Due returns a lookup to be made, nil if none is due or there is no place for it. Call it until
// it returns nil. Each ends with Answer; one that does not end is given up at its deadline.
func (b *Book) Due(now Instant) *Lookup {
	b.expire(now)
	line, due := b.nextLookup()
	if due > now {
		return nil
	}
	h := line.pop()
	l := &Lookup{Host: h.name, host: h, deadline: now.after(b.limits.Timeout + stuckGrace), failing: h.failures > 0}
	h.lookup, h.asked, h.again = l, now, false
	b.flying = append(b.flying, l)
	return l
}

// nextLookup returns the next lookup for which there is a place, and when it is due. Hosts that
// fail hold half of the places at most: each of their lookups may take all its time.
func (b *Book) nextLookup() (line *timeline[*host], due Instant) {
	if len(b.flying) >= b.limits.Concurrent {
		return nil, Never
	}
	failing := 0
	for _, l := range b.flying {
		if l.failing {
			failing++
		}
	}
	due = b.sound.next()
	if failing < max(b.limits.Concurrent/2, 1) && b.failing.next() < due {
		return &b.failing, b.failing.next()
	}
	return &b.sound, due
}

// Answer ends l with what the resolver returned. An answer that comes too late, or whose peers
// were removed, is dropped.
func (b *Book) Answer(l *Lookup, addrs []netip.Addr, err error, now Instant) {
	h := l.host
	if l.lingers {
		b.lingering--
		h.lingering--
		if h.first != nil && h.lookup == nil && h.timer.place == 0 { // it waited for that
			b.schedule(h, now)
		}
		return
	}
	b.flying = slices.DeleteFunc(b.flying, func(other *Lookup) bool { return other == l })
	if h.lookup == l {
		b.conclude(h, addrs, err, now)
	}
}

// expire gives up the lookups whose deadline has passed, and their places as far as they may linger.
func (b *Book) expire(now Instant) {
	for i := 0; i < len(b.flying) && b.flying[i].deadline <= now; {
		l := b.flying[i]
		if b.lingering < b.limits.Lingering {
			b.flying = slices.Delete(b.flying, i, i+1)
			b.lingering++
			l.lingers = true
			l.host.lingering++
		} else {
			i++
		}
		if !l.overdue {
			l.overdue = true
			if l.host.lookup == l {
				b.conclude(l.host, nil, &StuckError{l.Host, b.limits.Timeout}, now)
			}
		}
	}
}

// conclude notes what h's lookup returned and when the next one is due.
func (b *Book) conclude(h *host, addrs []netip.Addr, err error, now Instant) {
	h.lookup = nil
	if err == nil && len(addrs) == 0 {
		err = &NoAddressError{h.name}
	}
	h.err = err
	if err != nil {
		h.failures++
		b.schedule(h, now.after(h.spread(b.backoff(h.failures))))
	} else {
		h.failures = 0
		h.addrs = order(h.addrs, addrs)
		b.schedule(h, now.after(h.spread(b.limits.Every)))
	}
	if h.again {
		b.hasten(h, now)
	}
	if err != nil && len(h.addrs) > 0 {
		return // nothing is new
	}
	h.cursor = h.first
	if !h.answered {
		h.answered = true
		b.answered = append(b.answered, h)
	}
}

// backoff returns the time until a host is looked up again that failed so often in a row.
func (b *Book) backoff(failures int) time.Duration {
	return min(firstBackoff<<min(failures-1, 16), b.limits.Every)
}

// spread returns d ±10 %, always the same for a host, so that thousands are not looked up together.
func (h *host) spread(d time.Duration) time.Duration {
	const parts = 1 << 16
	return d - d/10 + d/5*time.Duration(h.hash%parts)/parts
}

// timelineOf returns the timeline that has h, unless h is being looked up or waits.
func (b *Book) timelineOf(h *host) *timeline[*host] {
	if h.failures > 0 {
		return &b.failing
	}
	return &b.sound
}

// schedule sets when h, which is not being looked up, is due. With too many stuck lookups it
// waits for one of them.
func (b *Book) schedule(h *host, due Instant) {
	if h.lingering < lingerPerHost {
		b.timelineOf(h).set(&h.timer, due)
	}
}

// hasten has h looked up at once, as often as that may be.
func (b *Book) hasten(h *host, now Instant) {
	due := max(now, h.asked.after(hastenEvery))
	switch {
	case h.lookup != nil:
		h.again = true
	case h.timer.place == 0 || due < h.timer.due:
		b.schedule(h, due)
	}
}
