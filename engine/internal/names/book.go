package names

import (
	"hash/fnv"
	"net/netip"
	"time"
)

// Book holds the peers that have names, their hosts and what is due. One goroutine uses it. Apart
// from answers, which cost as much as a host has peers, a call costs the logarithm of the number of
// peers.
type Book struct {
	options              Options
	maxLookups, maxStuck int

	hosts map[string]*host
	peers map[uint32]*peer // by slot

	healthy, failing timeline[*host] // hosts to look up, by whether the last lookup failed
	checks           timeline[*peer] // peers to check

	inFlight []*lookup // in the order of their deadlines
	stuck    int       // lookups past their deadlines
}

// host is a name without its port.
type host struct {
	name     string
	hash     uint64
	timer    timer[*host]
	lookup   *lookup // in flight, nil if none is
	earliest Instant // when the next lookup may begin
	again    bool    // another lookup was asked for during the present one
	stuck    int     // lookups past their deadlines
	failures int     // in a row
	err      error   // of the last lookup
	addrs    []netip.Addr
	peers    []*peer
}

// peer is a peer with a name.
type peer struct {
	key   Key
	host  *host
	port  uint16
	place int // in host.peers
	timer timer[*peer]

	state      State
	addr       netip.AddrPort // where it is watched
	silentAt   Instant        // when it was first seen not to be Alive any more
	nextAt     Instant        // when the next address may be tried
	delay      time.Duration  // from then to the address after that
	changed    bool           // its state has changed
	answered   bool           // its host has a new answer
	reportable bool           // its host has never resolved, which was not reported yet
}

// NewBook returns an empty Book.
func NewBook(options Options) *Book {
	return &Book{
		options: options, maxLookups: maxLookups, maxStuck: maxStuck,
		hosts: make(map[string]*host), peers: make(map[uint32]*peer),
	}
}

// Add adds a peer, in place of an earlier one with that slot.
func (b *Book) Add(key Key, name string, port uint16, now Instant) {
	b.drop(b.peers[key.Slot])
	h := b.hosts[name]
	if h == nil {
		h = newHost(name)
		b.hosts[name] = h
	}
	p := &peer{key: key, host: h, port: port, place: len(h.peers), delay: attemptDelay, reportable: true}
	p.timer.of = p
	h.peers = append(h.peers, p)
	b.peers[key.Slot] = p
	b.lookUpSoon(h, now)
	if len(h.addrs) > 0 || h.err != nil {
		b.checkAnswer(p, now)
	}
}

// newHost returns a host that was not looked up yet.
func newHost(name string) *host {
	f := fnv.New64a()
	f.Write([]byte(name))
	h := &host{name: name, hash: f.Sum64()}
	h.timer.of = h
	return h
}

// Remove removes a peer. The result of a lookup for it is dropped.
func (b *Book) Remove(key Key) { b.drop(b.find(key)) }

// find returns a peer, nil if it is not in the Book.
func (b *Book) find(key Key) *peer {
	if p := b.peers[key.Slot]; p != nil && p.key == key {
		return p
	}
	return nil
}

// drop removes p, if there is one, and its host with the last of its peers.
func (b *Book) drop(p *peer) {
	if p == nil {
		return
	}
	delete(b.peers, p.key.Slot)
	b.checks.remove(&p.timer)
	h, last := p.host, len(p.host.peers)-1
	h.peers[p.place] = h.peers[last]
	h.peers[p.place].place = p.place
	h.peers = h.peers[:last]
	if last == 0 {
		b.queueOf(h).remove(&h.timer)
		h.lookup = nil
		delete(b.hosts, h.name)
	}
}

// Next returns when something is due: a lookup, the deadline of one, or the check of a peer. Never
// means nothing.
func (b *Book) Next() Instant {
	_, due := b.nextLookup()
	next := min(due, b.checks.next())
	if len(b.inFlight) > 0 {
		next = min(next, b.inFlight[0].deadline)
	}
	return next
}
