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

// Options are functions of the caller. The Runner's goroutine, or the caller of Turn, calls them, one
// at a time. They must not wait, and must not call Close or Turn.
type Options struct {
	// Usable reports whether a peer can be watched at an address.
	Usable func(netip.AddrPort) bool
	// Status returns the state of a peer and where it is watched. The zero AddrPort means: at the
	// address of its last Move. The status of a peer that was removed may be anything.
	Status func(Key) (State, netip.AddrPort)
	// Move has a peer watched at an address. It returns false if there is no room for the move, which
	// is then considered anew after 50 ms. With try set, the present address is listed as well, and
	// the peer is not Alive there; if it is by the time of the move, the move should be ignored.
	Move func(key Key, addr netip.AddrPort, try bool) bool
	// Unresolved reports, once per peer, that its host has not resolved to a usable address.
	Unresolved func(key Key, host string, err error)
}

// Runner is a Book with a resolver. Any goroutine may call Add, Remove and StateChanged,
// which never wait for a lookup.
type Runner struct {
	resolver Resolver
	book     *Book         // of the goroutine that calls Turn
	wake     chan struct{} // capacity 1: something is to be done

	changed  *ringbuf.MPSC[Key] // peers whose states changed
	overflow atomic.Bool        // changed was full

	mu    sync.Mutex
	calls []func(now Instant) // to be made by the goroutine that calls Turn, in this order

	ctx       context.Context // of all lookups; ends with Close
	cancel    context.CancelFunc
	beginning time.Time
	ended     chan struct{} // closed when the loop has ended; nil without a loop
}

// maxChanged is how many changes of states wait for the loop. With more, it checks every peer.
const maxChanged = 1024

// New returns a Runner without goroutines: whatever is due happens in Turn.
func New(resolver Resolver, options Options) *Runner {
	changed, err := ringbuf.NewMPSC[Key](maxChanged)
	if err != nil {
		panic(err) // the size is a constant power of two
	}
	r := &Runner{
		resolver: resolver, book: NewBook(options), changed: changed,
		wake: make(chan struct{}, 1), beginning: time.Now(),
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
	r.post(func(now Instant) { r.book.Add(key, host, port, now) })
}

// Remove ends it. A move that was decided on may still be told.
func (r *Runner) Remove(key Key) {
	r.post(func(Instant) { r.book.Remove(key) })
}

// StateChanged has a peer with a name checked because its state changed. It allocates nothing, and
// takes no lock but a channel's.
func (r *Runner) StateChanged(key Key) {
	if !r.changed.TryPush(key) {
		r.overflow.Store(true)
	}
	r.signal()
}

// Turn does what is due at now and returns when something is due next, unless Add, Remove or
// StateChanged is called before. Turn is for a Runner made by New; one goroutine calls it. It makes
// lookups itself, one after the other, so they should return at once.
func (r *Runner) Turn(now Instant) (next Instant) {
	for r.step(now) {
	}
	return r.book.Next()
}

// loop does what is due until the Runner is closed.
func (r *Runner) loop() {
	defer close(r.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for r.ctx.Err() == nil {
		for r.step(r.now()) {
		}
		timer.Reset(time.Duration(r.book.Next() - r.now()))
		select {
		case <-r.ctx.Done():
		case <-r.wake:
		case <-timer.C:
		}
	}
}

// step starts one lookup and checks one peer, if they are due, and reports whether any was.
func (r *Runner) step(now Instant) bool {
	if r.ctx.Err() != nil {
		return false
	}
	r.receive(now)
	started, checked := r.startLookup(now), r.book.checkNext(now)
	return started || checked
}

// now returns the instant of the loop: the time since the Runner began.
func (r *Runner) now() Instant { return Instant(time.Since(r.beginning)) }

// post has the goroutine that calls Turn call f.
func (r *Runner) post(f func(now Instant)) {
	r.mu.Lock()
	r.calls = append(r.calls, f)
	r.mu.Unlock()
	r.signal()
}

// signal wakes the loop and does not wait.
func (r *Runner) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// receive handles what other goroutines have posted.
func (r *Runner) receive(now Instant) {
	r.mu.Lock()
	calls := r.calls
	r.calls = nil
	r.mu.Unlock()
	for _, f := range calls {
		f(now)
	}
	if r.overflow.Swap(false) {
		r.book.checkAll(now)
	}
	var batch [64]Key
	for n := len(batch); n == len(batch); {
		n = r.changed.PopBatch(batch[:])
		for _, key := range batch[:n] {
			r.book.stateChanged(key, now)
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
	r.post(func(now Instant) { r.book.endLookup(l, addrs, err, now) })
}
