package names

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"systole/ringbuf"
)

// Resolver looks up the addresses of a host; net.Resolver is one. It should return when ctx ends.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Options say whom a Runner asks and tells. Its goroutine, or who calls Turn, calls all of the
// functions, one at a time. None may wait, nor call Close or Turn; else they may call the Runner.
type Options struct {
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

// Runner is a Book with a resolver. Any goroutine may call Add, Remove and Poke, which never wait
// for a lookup.
type Runner struct {
	resolver Resolver
	options  Options
	book     *Book         // of the goroutine that calls Turn
	wake     chan struct{} // capacity 1: something is to be done

	poked    *ringbuf.MPSC[Key]
	overflow atomic.Bool // poked was full

	mu    sync.Mutex
	calls []func(now Instant) // to be made by the goroutine that calls Turn, in this order

	ctx       context.Context // of all lookups; ends with Close
	cancel    context.CancelFunc
	beginning time.Time
	ended     chan struct{} // closed when the loop has ended; nil without a loop
}

// pokes is how many pokes wait for the loop; with more, the loop looks at every peer.
const pokes = 1024

// visitsPerRound bounds the time until the loop looks again at what other goroutines have asked for.
const visitsPerRound = 1024

// New returns a Runner without goroutines: whatever is due happens in Turn.
func New(resolver Resolver, options Options) *Runner {
	poked, err := ringbuf.NewMPSC[Key](pokes)
	if err != nil {
		panic(err) // the size is a constant power of two
	}
	r := &Runner{
		resolver: resolver, options: options, book: NewBook(options.Usable),
		wake: make(chan struct{}, 1), poked: poked, beginning: time.Now(),
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
func (r *Runner) Add(key Key, host string, port uint16) {
	r.call(func(now Instant) { r.book.Add(key, host, port, now) })
}

// Remove ends it. A move that was decided on may still be told.
func (r *Runner) Remove(key Key) {
	r.call(func(Instant) { r.book.Remove(key) })
}

// Poke has a peer looked at, because its state changed. It allocates nothing, and takes no lock but
// a channel's. For a peer without a name it wakes the loop in vain.
func (r *Runner) Poke(key Key) {
	if !r.poked.TryPush(key) {
		r.overflow.Store(true)
	}
	r.rouse()
}

// Turn does what is due at now and returns when something is due next, unless Add, Remove or Poke
// is called before. Of a Runner made by New one goroutine calls Turn, which then makes the lookups
// itself, one after the other; they should return at once.
func (r *Runner) Turn(now Instant) (next Instant) {
	for more := true; more && r.ctx.Err() == nil; {
		r.accept(now)
		more = r.startLookup(now)
		more = r.visit(now, visitsPerRound) || more
	}
	return r.book.Next()
}

// loop calls Turn until the Runner is closed.
func (r *Runner) loop() {
	defer close(r.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for r.ctx.Err() == nil {
		next := r.Turn(r.now())
		timer.Reset(time.Duration(next - r.now()))
		select {
		case <-r.ctx.Done():
		case <-r.wake:
		case <-timer.C:
		}
	}
}

// now returns the instant of the loop: the time since the Runner began.
func (r *Runner) now() Instant { return Instant(time.Since(r.beginning)) }

// call has the goroutine that calls Turn call f.
func (r *Runner) call(f func(now Instant)) {
	r.mu.Lock()
	r.calls = append(r.calls, f)
	r.mu.Unlock()
	r.rouse()
}

// rouse wakes the loop. It never waits.
func (r *Runner) rouse() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// accept does what other goroutines have asked for.
func (r *Runner) accept(now Instant) {
	r.mu.Lock()
	calls := r.calls
	r.calls = nil
	r.mu.Unlock()
	for _, f := range calls {
		f(now)
	}
	r.acceptPokes(now)
}

// acceptPokes has the peers looked at that were poked, and every peer if some pokes found no room.
func (r *Runner) acceptPokes(now Instant) {
	if r.overflow.Swap(false) {
		r.book.VisitAll(now)
	}
	var batch [64]Key
	for n := len(batch); n == len(batch); {
		n = r.poked.PopBatch(batch[:])
		for _, key := range batch[:n] {
			r.book.Poke(key, now)
		}
	}
}

// startLookup starts the lookup that is due first, and reports whether one was due.
func (r *Runner) startLookup(now Instant) bool {
	l := r.book.startLookup(now)
	switch {
	case l == nil:
		return false
	case r.ended == nil:
		r.lookUp(l)
	default:
		go r.lookUp(l)
	}
	return true
}

// lookUp makes a lookup.
func (r *Runner) lookUp(l *lookup) {
	ctx, cancel := context.WithTimeout(r.ctx, lookupTimeout)
	defer cancel()
	addrs, err := r.resolver.LookupNetIP(ctx, "ip", l.host.name)
	r.call(func(now Instant) { r.book.endLookup(l, addrs, err, now) })
}

// visit looks at the peers that are due, n at most, and reports whether there may be more.
func (r *Runner) visit(now Instant, n int) bool {
	for range n {
		key, ok := r.book.Visit(now)
		if !ok {
			return false
		}
		state, addr := r.options.Look(key)
		m, err := r.book.Decide(key, state, addr, now)
		if err != nil && r.options.Unresolved != nil {
			r.options.Unresolved(key, r.book.find(key).host.name, err)
		}
		if m.Addr != (netip.AddrPort{}) {
			r.book.Told(m, r.options.Tell(m), now)
		}
	}
	return true
}
