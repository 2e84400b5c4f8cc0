package names

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"time"

	"systole/engine/clock"
)

const (
	maxLookups      = 32
	maxStuck        = 256 // that do not count among maxLookups
	maxStuckPerHost = 4

	lookupInterval = 5 * time.Second
	firstBackoff   = 250 * time.Millisecond // after a failure; it doubles to lookupInterval
	minInterval    = time.Second            // from a lookup to one by lookUpSoon
	lookupTimeout  = 2 * time.Second
	lookupGrace    = 100 * time.Millisecond // for the resolver to return after the timeout
)

var (
	errNoAddress = errors.New("the answer has no address")
	errStuck     = fmt.Errorf("the resolver ignores its context, which ended after %v", lookupTimeout)
	errUnusable  = errors.New("no usable address")
)

// lookup is one lookup of a host.
type lookup struct {
	host     *host
	deadline clock.Instant
}

// startLookup returns a lookup to make, nil if none is due or too many run. Each ends with endLookup.
func (t *table) startLookup(now clock.Instant) *lookup {
	t.expire(now)
	q, due := t.nextLookup()
	if due > now {
		return nil
	}
	l := &lookup{q.pop(), now.Add(lookupTimeout + lookupGrace)}
	l.host.lookup, l.host.earliest, l.host.again = l, now.Add(minInterval), false
	t.inFlight = append(t.inFlight, l)
	return l
}

// nextLookup returns when the next lookup is due, and the queue of its host. Failing hosts, and with
// them stuck lookups beyond maxStuck, get half of the places: their lookups may last until the
// deadline.
func (t *table) nextLookup() (q *queue[*host], due clock.Instant) {
	failing := max(t.stuck-t.maxStuck, 0)
	if len(t.inFlight)+failing >= t.maxLookups {
		return nil, clock.Never
	}
	for _, l := range t.inFlight {
		if l.host.failures > 0 {
			failing++
		}
	}
	if failing < t.maxLookups/2 && t.failing.next() < t.healthy.next() {
		return &t.failing, t.failing.next()
	}
	return &t.healthy, t.healthy.next()
}

// expire gives up lookups whose deadlines have passed.
func (t *table) expire(now clock.Instant) {
	for len(t.inFlight) > 0 && t.inFlight[0].deadline <= now {
		l := t.inFlight[0]
		t.inFlight = slices.Delete(t.inFlight, 0, 1)
		t.stuck++
		l.host.stuck++
		t.conclude(l, nil, errStuck, now)
	}
}

// endLookup ends l with the result of the resolver. The result is dropped if the deadline has passed
// or the host was dropped.
func (t *table) endLookup(l *lookup, addrs []netip.Addr, err error, now clock.Instant) {
	if i := slices.Index(t.inFlight, l); i >= 0 {
		t.inFlight = slices.Delete(t.inFlight, i, i+1)
		t.conclude(l, addrs, err, now)
		return
	}
	h := l.host
	t.stuck--
	h.stuck--
	if len(h.peers) > 0 && h.lookup == nil && !h.timer.pending() {
		t.schedule(h, now)
	}
}

// conclude records the result of l and schedules the next lookup of its host.
func (t *table) conclude(l *lookup, addrs []netip.Addr, err error, now clock.Instant) {
	h := l.host
	if h.lookup != l {
		return
	}
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
	t.schedule(h, now.Add(h.interval()))
	if h.again {
		t.lookUpSoon(h, now)
	}
	if err != nil && len(h.addrs) > 0 {
		return
	}
	for _, p := range h.peers {
		t.checkAnswer(p, now)
	}
}

// interval returns the time to the next lookup of h. It varies with the hash of the name, so that
// hosts that were added together are not looked up together.
func (h *host) interval() time.Duration {
	d := lookupInterval
	if h.failures > 0 {
		d = min(firstBackoff<<min(h.failures-1, 16), d)
	}
	f := fnv.New64a()
	f.Write([]byte(h.name))
	const parts = 1 << 16
	return d - d/10 + d/5*time.Duration(f.Sum64()%parts)/parts
}

// lookUpSoon schedules a lookup of h now, or minInterval after the last one began.
func (t *table) lookUpSoon(h *host, now clock.Instant) {
	due := max(now, h.earliest)
	switch {
	case h.lookup != nil:
		h.again = true
	case !h.timer.pending() || due < h.timer.due:
		t.schedule(h, due)
	}
}

// schedule sets when h, which has no lookup in flight, is due. A host with too many stuck lookups is
// not due until one of them returns.
func (t *table) schedule(h *host, due clock.Instant) {
	if h.stuck < maxStuckPerHost {
		t.queueOf(h).set(&h.timer, due)
	}
}

// queueOf returns the queue that has h when a lookup is scheduled.
func (t *table) queueOf(h *host) *queue[*host] {
	if h.failures > 0 {
		return &t.failing
	}
	return &t.healthy
}
