package names

import (
	"net/netip"
	"slices"
	"time"

	"systole/engine/clock"
)

// table holds the peers with names, their hosts, and what is due. One goroutine uses it.
type table struct {
	options              Options
	maxLookups, maxStuck int

	hosts map[string]*host
	peers map[uint32]*peer // by slot

	healthy, failing queue[*host] // hosts to look up, by whether the last lookup failed
	checks           queue[*peer] // peers to check

	inFlight []*lookup // in the order of their deadlines
	stuck    int       // lookups past their deadlines
}

// host is a name without its port.
type host struct {
	name     string
	timer    timer[*host]
	lookup   *lookup       // in flight, nil if none is
	earliest clock.Instant // of the next lookup by lookUpSoon
	again    bool          // look up soon after the one in flight
	stuck    int           // lookups past their deadlines
	failures int           // in a row
	err      error         // of the last lookup
	addrs    []netip.Addr  // of the last answer that had any
	peers    []*peer
}

// peer is a peer with a name.
type peer struct {
	key   Key
	host  *host
	port  uint16
	index int // in host.peers
	timer timer[*peer]

	state      State
	addr       netip.AddrPort // where it is watched
	silentAt   clock.Instant  // when a check first found it no longer Alive
	nextAt     clock.Instant  // when the next address may be tried
	delay      time.Duration  // from nextAt to the address after that
	changed    bool           // the state changed since the last check
	answered   bool           // the host was answered since the last check
	reportable bool           // no usable address so far, and not reported
}

// newTable returns an empty table.
func newTable(options Options) *table {
	return &table{
		options: options, maxLookups: maxLookups, maxStuck: maxStuck,
		hosts: make(map[string]*host), peers: make(map[uint32]*peer),
	}
}

// add adds a peer, in place of an earlier one with that slot.
func (t *table) add(key Key, name string, port uint16, now clock.Instant) {
	t.drop(t.peers[key.Slot])
	h := t.hosts[name]
	if h == nil {
		h = &host{name: name}
		h.timer.of = h
		t.hosts[name] = h
	}
	p := &peer{key: key, host: h, port: port, index: len(h.peers), delay: attemptDelay, reportable: true}
	p.timer.of = p
	h.peers = append(h.peers, p)
	t.peers[key.Slot] = p
	t.lookUpSoon(h, now)
	if len(h.addrs) > 0 || h.err != nil {
		t.checkAnswer(p, now)
	}
}

// remove removes a peer. The result of a lookup for it is dropped.
func (t *table) remove(key Key) { t.drop(t.find(key)) }

// find returns a peer, nil if it is not in the table.
func (t *table) find(key Key) *peer {
	if p := t.peers[key.Slot]; p != nil && p.key == key {
		return p
	}
	return nil
}

// drop removes p, unless it is nil, and the host with its last peer.
func (t *table) drop(p *peer) {
	if p == nil {
		return
	}
	delete(t.peers, p.key.Slot)
	t.checks.remove(&p.timer)
	h, last := p.host, len(p.host.peers)-1
	h.peers[p.index] = h.peers[last]
	h.peers[p.index].index = p.index
	h.peers = slices.Delete(h.peers, last, last+1)
	if last == 0 {
		t.queueOf(h).remove(&h.timer)
		h.lookup = nil
		delete(t.hosts, h.name)
	}
}

// next returns when a lookup, the deadline of one or the check of a peer is due, clock.Never if
// nothing is.
func (t *table) next() clock.Instant {
	_, due := t.nextLookup()
	next := min(due, t.checks.next())
	if len(t.inFlight) > 0 {
		next = min(next, t.inFlight[0].deadline)
	}
	return next
}
