// Package book is an engine's address book: which peers are watched at which address, and which
// of them are strangers that it has admitted. A shard asks it about a datagram without a
// discriminator of ours, never about a heartbeat of a known peer.
//
// Any goroutine may use a Book. Each call holds its lock for a few map operations.
package book

import (
	"sync"
	"time"

	"systole/engine/clock"
	"systole/engine/internal/network"
)

// Place is what peers are found by. An ID of 0 stands for whoever is at the address.
type Place struct {
	Addr network.Addr
	ID   uint64
}

// Entry is a peer in the book.
type Entry struct {
	Slot, Generation uint32
	Admitted         bool
}

// is reports whether e is that peer, configured or admitted.
func (e Entry) is(o Entry) bool { return e.Slot == o.Slot && e.Generation == o.Generation }

// Book is the address book. The zero Book is empty and admits nobody.
type Book struct {
	mu    sync.Mutex
	first map[Place]Entry
	more  map[Place][]Entry // places with several peers; none of them is in first
	strangers
}

// Watch enters a configured peer. It reports false if another configured peer is at the place,
// unless gone says that it is about to leave. A stranger that was admitted at the address becomes
// the configured peer: it is returned instead, and e is not entered. It is still at the place where it
// was as a stranger, too, until its shard knows.
func (b *Book) Watch(p Place, e Entry, gone func(Entry) bool) (stranger Entry, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, o := range b.at(p, nil) {
		if !o.Admitted && !gone(o) {
			return Entry{}, false
		}
	}
	if s, found := b.admittedAt(p, gone); found {
		b.configure(s)
		s.Admitted = false
		b.put(p, s)
		return s, true
	}
	b.put(p, e)
	return Entry{}, true
}

// Unwatch takes back that Watch made a stranger, which is at the place was, a configured peer at p.
func (b *Book) Unwatch(p, was Place, e Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(p, e)
	b.welcome(was, e)
}

// Enter enters a peer that may share its place, as one does whose name has the address.
func (b *Book) Enter(p Place, e Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.put(p, e)
}

// Oust takes a stranger that was admitted at a place, by the address and, if there is one, the id, off the
// book and returns it; its Slot is 0 if there is none.
func (b *Book) Oust(p Place) Entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.admittedAt(p, func(Entry) bool { return false })
	if ok {
		b.forget(b.index[s.Slot])
	}
	return s
}

// Leave takes a peer off a place. It does nothing if the peer is not there.
func (b *Book) Leave(p Place, e Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(p, e)
}

// Move moves a peer from one place to another. It reports false, and does nothing, if another
// goroutine has the book just now: a shard that cannot wait tries again later.
func (b *Book) Move(from, to Place, e Entry) bool {
	if !b.mu.TryLock() {
		return false
	}
	defer b.mu.Unlock()
	b.drop(from, e)
	b.put(to, e)
	b.moved(to, e)
	return true
}

// At appends the peers at an address to dst: those of the id, then those of whoever is there. It
// reports false if another goroutine has the book just now.
func (b *Book) At(addr network.Addr, id uint64, dst []Entry) ([]Entry, bool) {
	if !b.mu.TryLock() {
		return dst, false
	}
	defer b.mu.Unlock()
	return b.at(Place{Addr: addr}, b.at(Place{addr, id}, dst)), true
}

// at appends the peers at a place.
func (b *Book) at(p Place, dst []Entry) []Entry {
	if e, ok := b.first[p]; ok {
		return append(dst, e)
	}
	return append(dst, b.more[p]...)
}

// put enters e at p, where it may be already. Most places have one peer, which costs no slice.
func (b *Book) put(p Place, e Entry) {
	if b.first == nil {
		b.first, b.more = make(map[Place]Entry), make(map[Place][]Entry)
	}
	b.drop(p, e)
	list := b.at(p, nil)
	if len(list) == 0 {
		b.first[p] = e
		return
	}
	delete(b.first, p)
	b.more[p] = append(list, e)
}

// drop takes e off p.
func (b *Book) drop(p Place, e Entry) {
	if o, ok := b.first[p]; ok {
		if o.is(e) {
			delete(b.first, p)
		}
		return
	}
	list := b.more[p]
	for i, o := range list {
		if o.is(e) {
			list = append(list[:i:i], list[i+1:]...)
			break
		}
	}
	switch {
	case len(list) == 1:
		delete(b.more, p)
		b.first[p] = list[0]
	case len(list) > 1:
		b.more[p] = list
	}
}

// Configured calls f for each configured peer at each place where it is: usually one. The book is locked
// meanwhile, so f must not use it, and datagrams of unknown senders go unanswered.
func (b *Book) Configured(f func(Place, Entry)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for p, e := range b.first {
		if !e.Admitted {
			f(p, e)
		}
	}
	for p, list := range b.more {
		for _, e := range list {
			if !e.Admitted {
				f(p, e)
			}
		}
	}
}

// Answer reports whether an introduction from addr may be answered at now, by the rate of its
// prefix: perSecond introductions, as many saved up.
func (b *Book) Answer(addr network.Addr, now clock.Instant, perSecond int) bool {
	if !b.mu.TryLock() {
		return false
	}
	defer b.mu.Unlock()
	return b.answers.take(&addr, now, perSecond)
}

// bucket is a token bucket: a second's worth of tokens at most.
type bucket struct {
	worth time.Duration
	at    clock.Instant
}

// take takes a token if there is one, at rate tokens a second.
func (b *bucket) take(now clock.Instant, rate int) bool {
	price := time.Second / time.Duration(max(rate, 1))
	if b.at == 0 {
		b.worth = time.Second
	} else {
		b.worth = min(b.worth+now.Sub(b.at), time.Second)
	}
	b.at = now
	if b.worth < price {
		return false
	}
	b.worth -= price
	return true
}
