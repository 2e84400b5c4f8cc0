package names

import (
	"hash/fnv"
	"net/netip"
)

// Book is which peers have names, what the names stood for, and what is due. One goroutine uses
// it. A call costs the logarithm of the number of peers, and as much as the answer is long.
type Book struct {
	limits Limits
	usable func(netip.AddrPort) bool

	hosts map[string]*host
	peers map[uint32]*peer // by slot

	sound, failing timeline[*host] // when to look them up; failing: the last lookup failed
	flying         []*Lookup       // that hold a place, in the order of their deadlines
	lingering      int             // lookups that are stuck and hold no place

	visits   timeline[*peer] // when to look at them
	answered []*host         // whose peers are to be looked at, from host.cursor on
}

// host is a name without its port.
type host struct {
	name     string
	hash     uint64
	timer    timer[*host]
	lookup   *Lookup // whose answer is awaited
	asked    Instant // when that or the last one began
	again    bool    // look up at once, after that one
	failures int     // in a row
	err      error   // of the last lookup
	addrs    []netip.Addr

	lingering int
	first     *peer // the list of its peers
	cursor    *peer // the next one to be looked at because of an answer
	answered  bool  // is in Book.answered
}

// peer is a peer with a name.
type peer struct {
	key        Key
	host       *host
	port       uint16
	next, prev *peer // of the same host
	timer      timer[*peer]

	state    State
	silentAt Instant        // when it was first seen not Well, after it was
	at       netip.AddrPort // where it is watched
	nextAt   Instant        // when the next address may be tried
	delay    Instant        // after that, until the one after it
	poked    bool           // look at it because of its state
	checked  bool           // look at it because of an answer: where it is must be listed
	resolved bool           // was moved once
	reported bool           // that it does not resolve
}

// NewBook returns an empty Book. Addresses that usable refuses are passed over; nil refuses none.
func NewBook(limits Limits, usable func(netip.AddrPort) bool) *Book {
	if usable == nil {
		usable = func(netip.AddrPort) bool { return true }
	}
	return &Book{limits: limits.orDefaults(), usable: usable, hosts: make(map[string]*host), peers: make(map[uint32]*peer)}
}

// Add enters a peer. It takes the place of an earlier one with that slot.
func (b *Book) Add(key Key, name string, port uint16, now Instant) {
	b.drop(b.peers[key.Slot])
	h := b.hosts[name]
	if h == nil {
		f := fnv.New64a()
		f.Write([]byte(name))
		h = &host{name: name, hash: f.Sum64(), asked: -Instant(hastenEvery), timer: timer[*host]{due: Never}}
		h.timer.of = h
		b.hosts[name] = h
	}
	p := &peer{key: key, host: h, port: port, next: h.first, delay: Instant(attemptDelay)}
	p.timer.of = p
	if h.first != nil {
		h.first.prev = p
	}
	h.first = p
	b.peers[key.Slot] = p
	b.hasten(h, now)
	if len(h.addrs) > 0 || h.err != nil { // known already, or known to fail
		p.checked = true
		b.visits.set(&p.timer, now)
	}
}

// Remove takes a peer out. What a lookup for it returns is dropped.
func (b *Book) Remove(key Key) { b.drop(b.find(key)) }

// find returns the peer, nil if it is not in the Book.
func (b *Book) find(key Key) *peer {
	if p := b.peers[key.Slot]; p != nil && p.key == key {
		return p
	}
	return nil
}

// drop takes p out, if there is one, and its host with the last of its peers.
func (b *Book) drop(p *peer) {
	if p == nil {
		return
	}
	delete(b.peers, p.key.Slot)
	b.visits.remove(&p.timer)
	h := p.host
	if h.cursor == p {
		h.cursor = p.next
	}
	if p.next != nil {
		p.next.prev = p.prev
	}
	if p.prev != nil {
		p.prev.next = p.next
	} else {
		h.first = p.next
	}
	if h.first == nil {
		b.timelineOf(h).remove(&h.timer)
		h.lookup = nil
		delete(b.hosts, h.name)
	}
}

// Next returns when something is due: a lookup for which there is a place, a stuck one to give
// up, a peer to look at. Never is nothing.
func (b *Book) Next() Instant {
	if len(b.answered) > 0 {
		return 0
	}
	next := b.visits.next()
	if _, due := b.nextLookup(); due < next {
		next = due
	}
	for _, l := range b.flying {
		if !l.overdue {
			return min(next, l.deadline)
		}
	}
	return next
}
