package names

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

const (
	maxLookups      = 32  // at once
	maxStuck        = 256 // lookups past their deadlines, which do not count among maxLookups
	maxStuckPerHost = 4

	lookupInterval = 5 * time.Second        // between the lookups of a host
	firstBackoff   = 250 * time.Millisecond // after the first failure; it doubles to lookupInterval
	minInterval    = time.Second            // between a lookup and one that was asked for
	lookupTimeout  = 2 * time.Second
	lookupGrace    = 100 * time.Millisecond // for a resolver to return after its context has ended
)

var (
	errNoAddress = errors.New("the answer has no address")
	errStuck     = fmt.Errorf("the resolver ignores its context, which ended after %v; let it return then", lookupTimeout)
	errUnusable  = errors.New("no address is usable; is an address of that family configured, and is it not this node's own?")
)

// lookup is one lookup of a host.
type lookup struct {
	host     *host
	deadline Instant
	failing  bool // the host's last lookup failed
	stuck    bool // the deadline has passed
}

// startLookup returns a lookup to make, nil if none is due or too many are running. The caller ends
// each with endLookup.
func (b *Book) startLookup(now Instant) *lookup {
	b.expire(now)
	queue, due := b.nextLookup()
	if due > now {
		return nil
	}
	h := queue.pop()
	l := &lookup{host: h, deadline: now.after(lookupTimeout + lookupGrace), failing: h.failures > 0}
	h.lookup, h.earliest, h.again = l, now.after(minInterval), false
	b.inFlight = append(b.inFlight, l)
	return l
}

// nextLookup returns when the next lookup is due, and the queue that has its host. Hosts that fail
// get half of the places, for each of their lookups may last until its deadline. Stuck lookups
// beyond maxStuck are among them.
func (b *Book) nextLookup() (queue *timeline[*host], due Instant) {
	failing := max(b.stuck-b.maxStuck, 0)
	if len(b.inFlight)+failing >= b.maxLookups {
		return nil, Never
	}
	for _, l := range b.inFlight {
		if l.failing {
			failing++
		}
	}
	if failing < b.maxLookups/2 && b.failing.next() < b.healthy.next() {
		return &b.failing, b.failing.next()
	}
	return &b.healthy, b.healthy.next()
}

// endLookup ends l with what the resolver returned. The result is dropped if the deadline has passed
// or the host has no peer any more.
func (b *Book) endLookup(l *lookup, addrs []netip.Addr, err error, now Instant) {
	h := l.host
	if l.stuck {
		b.stuck--
		h.stuck--
		if len(h.peers) > 0 && h.lookup == nil && !h.timer.pending() {
			b.schedule(h, now)
		}
		return
	}
	b.inFlight = slices.DeleteFunc(b.inFlight, func(other *lookup) bool { return other == l })
	if h.lookup == l {
		b.conclude(h, addrs, err, now)
	}
}

// expire gives up lookups whose deadline has passed.
func (b *Book) expire(now Instant) {
	for len(b.inFlight) > 0 && b.inFlight[0].deadline <= now {
		l := b.inFlight[0]
		b.inFlight = slices.Delete(b.inFlight, 0, 1)
		l.stuck = true
		b.stuck++
		l.host.stuck++
		if l.host.lookup == l {
			b.conclude(l.host, nil, errStuck, now)
		}
	}
}

// conclude records the result of h's lookup and schedules the next one.
func (b *Book) conclude(h *host, addrs []netip.Addr, err error, now Instant) {
	h.lookup = nil
	if err == nil && len(addrs) == 0 {
		err = errNoAddress
	}
	h.err = err
	if err != nil {
		h.failures++
	} else {
		h.failures = 0
		h.addrs = order(h.addrs, addrs)
	}
	b.schedule(h, now.after(h.interval()))
	if h.again {
		b.lookUpSoon(h, now)
	}
	if err != nil && len(h.addrs) > 0 {
		return // nothing is new
	}
	for _, p := range h.peers {
		b.checkAnswer(p, now)
	}
}

// interval returns the time until the next lookup of h: ±10 % by the hash of its name, so that hosts
// that were added together are not looked up together.
func (h *host) interval() time.Duration {
	d := lookupInterval
	if h.failures > 0 {
		d = min(firstBackoff<<min(h.failures-1, 16), d)
	}
	const parts = 1 << 16
	return d - d/10 + d/5*time.Duration(h.hash%parts)/parts
}

// lookUpSoon schedules a lookup of h now, or minInterval after the last one began.
func (b *Book) lookUpSoon(h *host, now Instant) {
	due := max(now, h.earliest)
	switch {
	case h.lookup != nil:
		h.again = true
	case !h.timer.pending() || due < h.timer.due:
		b.schedule(h, due)
	}
}

// schedule sets when h, which is not being looked up, is due. A host with too many stuck lookups
// waits until one of them returns.
func (b *Book) schedule(h *host, due Instant) {
	if h.stuck < maxStuckPerHost {
		b.queueOf(h).set(&h.timer, due)
	}
}

// queueOf returns the queue for h.
func (b *Book) queueOf(h *host) *timeline[*host] {
	if h.failures > 0 {
		return &b.failing
	}
	return &b.healthy
}

// fault returns why a host that was looked up has no address for a peer.
func (h *host) fault() error {
	if h.err != nil {
		return h.err
	}
	return fmt.Errorf("%w: %v", errUnusable, h.addrs)
}
