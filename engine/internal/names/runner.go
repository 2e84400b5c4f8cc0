package names

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"systole/engine/clock"
	"systole/ringbuf"
)

// Key identifies a peer: its slot, and a generation that differs from earlier peers of that slot.
type Key struct{ Slot, Generation uint32 }

// State is the state of a peer. The zero State is Connecting.
type State uint8

const (
	Connecting State = iota // never heard
	Alive                   // heard
	Suspect                 // suspected of having failed
	Failed                  // failed or left
)

// Resolver is the part of net.Resolver that looks up addresses. It should return when ctx ends.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Options are functions of the engine, all required. The goroutine of the Runner, or of Turn, calls
// them. They must not block, nor call Close or Turn.
type Options struct {
	// Usable reports whether a peer can be watched at an address.
	Usable func(netip.AddrPort) bool
	// Status returns the state of a peer and the address at which it is watched, the zero AddrPort if
	// that is the one of its last Move. The status of a removed peer does not matter.
	Status func(Key) (State, netip.AddrPort)
	// Move moves a peer to an address. It returns false if it cannot at present; the peer is then
	// checked again after 50 ms. With try set, the present address is listed as well, so a peer that
	// has become Alive there should stay.
	Move func(key Key, addr netip.AddrPort, try bool) bool
	// Unresolved reports, once per peer, that its host has never resolved to a usable address.
	Unresolved func(key Key, host string, err error)
}

// Runner looks up names and moves peers. Any goroutine may call Add, Remove and StateChanged, which
// do not wait for lookups.
type Runner struct {
	resolver Resolver
	table    *table        // owned by the goroutine that calls Turn
	wake     chan struct{} // capacity 1

	changed  *ringbuf.MPSC[Key] // peers whose states changed
	overflow atomic.Bool        // changed was full

	mu    sync.Mutex
	calls []func(now clock.Instant) // posted for the goroutine that calls Turn

	ctx    context.Context // of all lookups, until Close
	cancel context.CancelFunc
	start  time.Time
	ended  chan struct{} // closed when the loop has ended; nil without a loop
}

// maxChanged bounds the changes of states that wait for the loop. Beyond that, every peer is checked.
const maxChanged = 1024

// New returns a Runner without goroutines. All that is due happens in Turn.
func New(resolver Resolver, options Options) *Runner {
	changed, err := ringbuf.NewMPSC[Key](maxChanged)
	if err != nil {
		panic(err) // the size is a constant power of two
	}
	r := &Runner{
		resolver: resolver, table: newTable(options), changed: changed,
		wake: make(chan struct{}, 1), start: time.Now(),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Start returns a Runner with a goroutine of its own and one for each lookup.
func Start(resolver Resolver, options Options) *Runner {
	r := New(resolver, options)
	r.ended = make(chan struct{})
	go r.loop()
	return r
}

// Close ends the Runner, which then calls none of Options. Close cancels lookups and does not wait for
// them.
func (r *Runner) Close() {
	r.cancel()
	if r.ended != nil {
		<-r.ended
	}
}

// Add adds a peer and looks up its host. An earlier peer with that slot is removed.
func (r *Runner) Add(key Key, host string, port uint16) {
	r.post(func(now clock.Instant) { r.table.add(key, host, port, now) })
}

// Remove removes a peer. It does nothing if the peer was removed before. A last Move may follow.
func (r *Runner) Remove(key Key) {
	r.post(func(clock.Instant) { r.table.remove(key) })
}

// StateChanged schedules a check of a peer whose state changed. It is for the engine's hot path: it
// allocates nothing and does not block.
func (r *Runner) StateChanged(key Key) {
	if !r.changed.TryPush(key) {
		r.overflow.Store(true)
	}
	r.signal()
}

// Turn does what is due at now and returns when something is due next, clock.Never if nothing is. Add,
// Remove and StateChanged ask for a Turn at once. Turn is for a Runner made by New, and for one
// goroutine. It calls the resolver, which should return at once.
func (r *Runner) Turn(now clock.Instant) (next clock.Instant) {
	for r.step(now) {
	}
	return r.table.next()
}

// loop does what is due until Close.
func (r *Runner) loop() {
	defer close(r.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for r.ctx.Err() == nil {
		for r.step(r.now()) {
		}
		timer.Reset(r.table.next().Sub(r.now()))
		select {
		case <-r.ctx.Done():
		case <-r.wake:
		case <-timer.C:
		}
	}
}

// now returns the instant of the loop: the time since the Runner was made.
func (r *Runner) now() clock.Instant { return clock.Instant(time.Since(r.start)) }

// step starts one lookup and checks one peer, if due, and reports whether it did either.
func (r *Runner) step(now clock.Instant) bool {
	if r.ctx.Err() != nil {
		return false
	}
	r.receive(now)
	l := r.table.startLookup(now)
	switch {
	case l == nil:
	case r.ended == nil:
		r.lookUp(l)
	default:
		go r.lookUp(l)
	}
	checked := r.table.checkNext(now)
	return l != nil || checked
}

// post queues f for the goroutine that calls Turn.
func (r *Runner) post(f func(now clock.Instant)) {
	r.mu.Lock()
	r.calls = append(r.calls, f)
	r.mu.Unlock()
	r.signal()
}

// signal wakes the loop. It does not block.
func (r *Runner) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// receive handles calls and changes that other goroutines have queued.
func (r *Runner) receive(now clock.Instant) {
	r.mu.Lock()
	calls := r.calls
	r.calls = nil
	r.mu.Unlock()
	for _, f := range calls {
		f(now)
	}
	if r.overflow.Swap(false) {
		r.table.checkAll(now)
	}
	var key [1]Key
	for r.changed.PopBatch(key[:]) > 0 {
		r.table.stateChanged(key[0], now)
	}
}

// lookUp calls the resolver and posts the result.
func (r *Runner) lookUp(l *lookup) {
	ctx, cancel := context.WithTimeout(r.ctx, lookupTimeout)
	defer cancel()
	addrs, err := r.resolver.LookupNetIP(ctx, "ip", l.host.name)
	r.post(func(now clock.Instant) { r.table.endLookup(l, addrs, err, now) })
}
