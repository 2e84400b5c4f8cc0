package book

import (
	"systole/engine/clock"
	"systole/engine/internal/network"
)

// strangers are the admitted peers of a book, and the rates at which their prefixes are served.
type strangers struct {
	list    []stranger
	index   map[uint32]int       // of list, by slot
	atAddr  map[network.Addr]int // how many are at an address
	prefix  map[uint64]int       // admitted peers by prefix
	cursor  int                  // of list: where the search for one that gives way goes on
	admits  bucket
	answers rates
}

// stranger is an admitted peer and where it is.
type stranger struct {
	Entry
	place Place
}

// Verdict is what became of a request for admission.
type Verdict uint8

const (
	Admitted Verdict = iota
	TooFast          // the rate of admissions is used up
	Full             // nobody gives way
	Busy             // another goroutine has the book just now
)

// Room bounds the strangers.
type Room struct {
	Max, PerSecond int
	// Worth tells how much an admitted peer has to lose: 0 for one that failed or left, more for
	// one that has been heard more. It is called with the book locked.
	Worth func(Entry) uint64
}

// Admit enters a stranger. When there is no room, one that has failed or left gives way, or the
// least proven one of a prefix that has more of them than the newcomer's: it is returned, and
// its Slot is 0 if there is none.
func (b *Book) Admit(p Place, e Entry, now clock.Instant, room *Room) (gone Entry, v Verdict) {
	if !b.mu.TryLock() {
		return Entry{}, Busy
	}
	defer b.mu.Unlock()
	if !b.admits.take(now, room.PerSecond) {
		return Entry{}, TooFast
	}
	if len(b.list) >= room.Max {
		i, ok := b.least(prefixOf(&p.Addr), room)
		if !ok {
			return Entry{}, Full
		}
		gone = b.list[i].Entry
		b.forget(i)
	}
	if b.index == nil {
		b.index, b.atAddr, b.prefix = make(map[uint32]int), make(map[network.Addr]int), make(map[uint64]int)
	}
	b.welcome(p, e)
	return gone, Admitted
}

// welcome enters a stranger.
func (b *Book) welcome(p Place, e Entry) {
	e.Admitted = true
	b.put(p, e)
	b.enlist(stranger{e, p})
}

// enlist puts s on the list of strangers.
func (b *Book) enlist(s stranger) {
	b.index[s.Slot] = len(b.list)
	b.list = append(b.list, s)
	b.atAddr[s.place.Addr]++
	b.prefix[prefixOf(&s.place.Addr)]++
}

// searched is how many strangers one admission looks at.
const searched = 256

// least returns the stranger that gives way to one of prefix.
func (b *Book) least(prefix uint64, room *Room) (int, bool) {
	best, least, crowd := 0, ^uint64(0), b.prefix[prefix]+1
	for range min(searched, len(b.list)) {
		b.cursor = (b.cursor + 1) % len(b.list)
		s := &b.list[b.cursor]
		worth, many := room.Worth(s.Entry), b.prefix[prefixOf(&s.place.Addr)]
		if worth == 0 {
			return b.cursor, true
		}
		if many > crowd || many == crowd && worth < least && least != ^uint64(0) {
			best, least, crowd = b.cursor, worth, many
		}
	}
	return best, least != ^uint64(0)
}

// Forget takes a stranger off the book. It reports false if it is none any more: a caller has
// configured it.
func (b *Book) Forget(e Entry) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	i, ok := b.index[e.Slot]
	if !ok || !b.list[i].is(e) {
		return false
	}
	b.forget(i)
	return true
}

// forget takes stranger i off the book.
func (b *Book) forget(i int) {
	s := b.list[i]
	b.drop(s.place, s.Entry)
	b.unlist(i)
}

// unlist takes i off the list of strangers.
func (b *Book) unlist(i int) {
	s, last := b.list[i], len(b.list)-1
	delete(b.index, s.Slot)
	less(b.atAddr, s.place.Addr)
	less(b.prefix, prefixOf(&s.place.Addr))
	if i != last {
		b.list[i] = b.list[last]
		b.index[b.list[i].Slot] = i
	}
	b.list = b.list[:last]
}

// less counts one less under k.
func less[K comparable](counts map[K]int, k K) {
	if counts[k]--; counts[k] == 0 {
		delete(counts, k)
	}
}

// admittedAt returns a stranger at the address of p, with its id if p has one, that is not about to leave.
func (b *Book) admittedAt(p Place, gone func(Entry) bool) (Entry, bool) {
	if b.atAddr[p.Addr] > 0 {
		for _, s := range b.list {
			if s.place.Addr == p.Addr && (p.ID == 0 || p.ID == s.place.ID) && !gone(s.Entry) {
				return s.Entry, true
			}
		}
	}
	return Entry{}, false
}

// configure makes a stranger a configured peer, at the same place.
func (b *Book) configure(e Entry) {
	i := b.index[e.Slot]
	place := b.list[i].place
	b.forget(i)
	e.Admitted = false
	b.put(place, e)
}

// moved notes where a stranger is now.
func (b *Book) moved(to Place, e Entry) {
	i, ok := b.index[e.Slot]
	if !ok || !b.list[i].is(e) {
		return
	}
	s := b.list[i]
	b.unlist(i)
	b.enlist(stranger{s.Entry, to})
}

// Strangers returns how many strangers are admitted.
func (b *Book) Strangers() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.list)
}

// rates are token buckets by source prefix: as many as there are, whatever prefixes are made up. Those
// that share one share its rate.
type rates struct{ buckets []bucket }

// rateBits is the number of buckets, as a shift: a flood has to use up the rates of all of them to
// leave no answer for a prefix that it does not name.
const rateBits = 12

// take takes a token of addr's prefix.
func (r *rates) take(addr *network.Addr, now clock.Instant, rate int) bool {
	if r.buckets == nil {
		r.buckets = make([]bucket, 1<<rateBits)
	}
	const spread = 0x9E3779B97F4A7C15 // 2^64/φ: Knuth, TAOCP 6.4
	return r.buckets[prefixOf(addr)*spread>>(64-rateBits)].take(now, rate)
}

// prefixOf returns the prefix that one site may have: /24 of IPv4, /48 of IPv6.
func prefixOf(a *network.Addr) uint64 {
	b := a.Prefix()
	n := uint64(len(b))
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}
