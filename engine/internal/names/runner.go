package names

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// Resolver looks up the addresses of a host; net.Resolver is one. It should return when ctx ends.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Options say whom a Runner asks and tells. Its goroutine, or who calls Turn, calls all of the
// functions, one at a time. None may wait, nor call Close or Turn; else they may call the Runner.
type Options struct {
	Limits Limits
	// Usable reports whether a peer may be watched at an address. nil: at every one.
	Usable func(netip.AddrPort) bool
	// Look returns how a peer fares and where it is watched; the zero AddrPort is where it was
	// last told. A peer that is no more may be anything.
	Look func(Key) (State, netip.AddrPort)
	// Tell passes a move on. It returns false if there was no room for it; the move is then
	// decided anew after 50 ms.
	Tell func(Move) bool
	// Unresolved says, once of a peer, that its host has never resolved to an address it can be
	// watched at. It is looked up on and on. nil: nobody is told.
	Unresolved func(key Key, host string, err error)
}

// Stats are what a Runner has done.
type Stats struct {
	Peers, Hosts int    // that are in it
	Flying       int    // lookups that run and hold a place
	Lingering    int    // lookups that are stuck and hold none
	Lookups      uint64 // begun
	Failures     uint64 // that ended with an error or no address, or were stuck
	Stuck        uint64 // that did not return when their context ended
}

// Runner is a Book with a resolver. Any goroutine may call Add, Remove, Poke and Stats, which
// never wait for a lookup.
type Runner struct {
	resolver Resolver
	options  Options
	book     *Book // the loop's
	poked    poked
	wake     chan struct{}

	mu       sync.Mutex // held for a few stores
	changes  map[uint32]change
	order    []uint32 // the slots of changes, as they came
	returned []answer
	stats    Stats

	ctx       context.Context // of all lookups
	cancel    context.CancelFunc
	beginning time.Time
	ended     chan struct{} // the loop has; nil without one
}

// change is the last that was asked for a slot: a peer is added, or without a host removed.
type change struct {
	key    Key
	host   string
	port   uint16
	vacant bool // removed is whoever has the slot
}

// answer is what a lookup returned.
type answer struct {
	lookup *Lookup
	addrs  []netip.Addr
	err    error
}

// visitsPerRound bounds how long the loop does not look whether it should end.
const visitsPerRound = 1024

// New returns a Runner without goroutines: whatever is due happens in Turn.
func New(resolver Resolver, options Options) *Runner {
	r := &Runner{
		resolver: resolver, options: options, book: NewBook(options.Limits, options.Usable),
		wake: make(chan struct{}, 1), changes: make(map[uint32]change), beginning: time.Now(),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Start returns a Runner whose goroutine does what is due, with one more for each lookup.
func Start(resolver Resolver, options Options) *Runner {
	r := New(resolver, options)
	r.ended = make(chan struct{})
	go r.loop()
	return r
}

// Close ends the Runner: afterwards it calls none of Options. Lookups are abandoned; the goroutine
// of one that ignores its context stays until it returns.
func (r *Runner) Close() {
	r.cancel()
	if r.ended != nil {
		<-r.ended
	}
}

// Add begins to look a peer's host up. A peer with that slot, of another generation, is removed.
// It panics if the slot is not below MaxSlots.
func (r *Runner) Add(key Key, host string, port uint16) {
	r.poked.grow(key.Slot)
	r.change(change{key: key, host: host, port: port})
}

// Remove ends it. A move that was decided on may still be told.
func (r *Runner) Remove(key Key) { r.change(change{key: key}) }

// change notes c for the loop. A slot has one change at most, the last; so they are bounded.
func (r *Runner) change(c change) {
	r.mu.Lock()
	before, pending := r.changes[c.key.Slot]
	if !pending {
		r.order = append(r.order, c.key.Slot)
	}
	switch {
	case c.host != "" || !pending:
		r.changes[c.key.Slot] = c
	case before.key == c.key: // what was to be added would have removed whoever was there
		c.vacant = true
		r.changes[c.key.Slot] = c
	} // else a later peer has the slot already
	r.mu.Unlock()
	r.rouse()
}

// Poke has a peer looked at, because its state changed. It allocates nothing, and takes no lock but
// a channel's. For a peer without a name it only wakes the loop; better spare it.
func (r *Runner) Poke(key Key) {
	if r.poked.add(key.Slot) {
		r.rouse()
	}
}

// Stats returns what the Runner has done.
func (r *Runner) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats
}

// rouse wakes the loop. It never waits.
func (r *Runner) rouse() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
