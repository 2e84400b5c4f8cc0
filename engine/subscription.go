package engine

import (
	"context"
	"iter"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"

	"systole/engine/clock"
	"systole/ringbuf"
)

// Subscription delivers events to one reader. It holds a ring of transitions and, for
// what the ring had no room for, one bit per peer that says "look again", and the last event
// of each kind about this node: so a reader that falls behind, or stops, costs the shards
// nothing and loses no latest state.
//
// One goroutine at a time may read a Subscription.
type Subscription struct {
	engine *Engine
	ring   *ringbuf.MPSC[record]
	wake   chan struct{} // capacity 1: something may be there
	closed chan struct{}
	once   sync.Once

	dirty   [maxChunks]atomic.Pointer[dirtyChunk]
	marked  atomic.Bool // some dirty bit is set
	kept    keptEvents  // about this node
	scan    uint32      // the reader's place among the dirty bits
	pending []record    // popped but not delivered
	told    []told      // per slot; the reader's own
}

// told is what the reader was told last of a slot.
type told struct {
	generation      uint32 // of the peer
	version         uint32 // of the slot's verdicts, which goes on from peer to peer
	state           State  // Unknown: nothing was told
	id, incarnation uint64
}

// dirtyChunk is the bits of one chunk of the table.
type dirtyChunk [chunkPeers / 64]atomic.Uint64

const (
	subscriptionRing = 4096
	popBatch         = 64
)

// Subscribe returns a new subscription. Its first events tell the current state of
// every peer, with From equal to To and NoCause. Any goroutine may call it. Close it
// when done.
func (e *Engine) Subscribe() *Subscription {
	ring, err := ringbuf.NewMPSC[record](subscriptionRing)
	if err != nil {
		panic(err) // the size is a constant power of two
	}
	s := &Subscription{
		engine: e, ring: ring,
		wake:   make(chan struct{}, 1),
		closed: make(chan struct{}),
		kept:   newKeptEvents(len(e.shards)),
	}
	e.subscribe(s)
	for slot := uint32(1); slot < e.table.slots.Load(); slot++ {
		s.mark(slot)
	}
	s.signal()
	return s
}

// subscribe adds s to those that shards publish to. The list is copied, so that shards
// read it without a lock.
func (e *Engine) subscribe(s *Subscription) {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := append(slices.Clone(*e.subscriptions.Load()), s)
	e.subscriptions.Store(&list)
}

// unsubscribe takes s off that list.
func (e *Engine) unsubscribe(s *Subscription) {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(*e.subscriptions.Load()), func(o *Subscription) bool { return o == s })
	e.subscriptions.Store(&list)
}

// Events returns the events of a new subscription until ctx is done or the engine is
// closed. The current state of every peer comes first.
func (e *Engine) Events(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		s := e.Subscribe()
		defer s.Close()
		for {
			ev, err := s.Next(ctx)
			if err != nil || !yield(ev) {
				return
			}
		}
	}
}

// Close ends the subscription; a Next that waits returns ErrClosed. Any goroutine may
// call it.
func (s *Subscription) Close() {
	s.once.Do(func() {
		s.engine.unsubscribe(s)
		close(s.closed)
	})
}

// Next waits for the next event. It returns ctx's error when ctx ends first, and
// ErrClosed once the subscription or the engine is closed and every event was delivered.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	for {
		if ev, ok := s.TryNext(); ok {
			return ev, nil
		}
		select {
		case <-s.wake:
			continue
		default:
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		case <-s.closed:
			return Event{}, ErrClosed
		case <-s.engine.done:
			if ev, ok := s.TryNext(); ok {
				return ev, nil
			}
			return Event{}, ErrClosed
		}
	}
}

// Wake returns a channel that is readable when TryNext may have an event: for a reader that waits
// for other things besides, in place of Next. Receive from it first, then call TryNext until there
// is no more event. It is not closed: see Engine.Done.
func (s *Subscription) Wake() <-chan struct{} { return s.wake }

// TryNext returns an event if there is one, without waiting.
func (s *Subscription) TryNext() (Event, bool) {
	for {
		if len(s.pending) == 0 && !s.refill() {
			if ev, ok := s.kept.next(s.engine); ok {
				return ev, true
			}
			return s.nextDirty()
		}
		r := &s.pending[0]
		if !r.node {
			if ev, ok := s.gone(r.slot, r.generation, r.version-1, r.at); ok {
				return ev, true // r is next
			}
		}
		ev, fresh := s.deliver(r)
		s.pending = s.pending[1:]
		if fresh {
			return ev, true
		}
	}
}

// refill pops transitions from the ring.
func (s *Subscription) refill() bool {
	if s.pending == nil || cap(s.pending) < popBatch {
		s.pending = make([]record, popBatch)
	}
	s.pending = s.pending[:popBatch]
	n := s.ring.PopBatch(s.pending)
	s.pending = s.pending[:n:popBatch]
	if n == 0 {
		s.pending = nil
	}
	return n > 0
}

// deliver turns a record into an event unless a later one of its slot went out before.
func (s *Subscription) deliver(r *record) (Event, bool) {
	if r.node {
		return r.event(s.engine, 0), true
	}
	t := s.toldOf(r.slot)
	last := t.version
	if t.state == Unknown {
		last = r.version - 1
	}
	if int32(r.version-last) <= 0 {
		return Event{}, false
	}
	*t = told{r.generation, r.version, r.to, r.id, r.incarnation}
	return r.event(s.engine, int(r.version-last-1)), true
}

// gone returns the removal of the peer that the reader knows in slot, if it was not told of
// it and another generation has the slot since. The removal was decided at the instant at, and
// was the slot's transition number version, at the latest.
func (s *Subscription) gone(slot, generation, version uint32, at clock.Instant) (Event, bool) {
	t := s.toldOf(slot)
	if t.state == Unknown || t.state == Removed || int32(generation-t.generation) <= 0 {
		return Event{}, false
	}
	cause := ByCaller
	if s.engine.cfg.Accept.Anyone && (t.state == Failed || t.state == Left) {
		cause = Forgotten
	}
	return s.deliver(&record{
		slot: slot, generation: t.generation, version: version, from: t.state, to: Removed,
		cause: cause, at: at, id: t.id, incarnation: t.incarnation,
	})
}

// toldOf returns what the reader was told last of slot.
func (s *Subscription) toldOf(slot uint32) *told {
	for uint32(len(s.told)) <= slot {
		s.told = append(s.told, make([]told, chunkPeers)...)
	}
	return &s.told[slot]
}

// nextDirty delivers the current state of the next marked peer.
func (s *Subscription) nextDirty() (Event, bool) {
	for s.marked.Load() {
		slot, ok := s.takeDirty()
		if !ok {
			return Event{}, false
		}
		if ev, ok := s.current(slot); ok {
			return ev, true
		}
	}
	return Event{}, false
}

// takeDirty clears and returns one marked slot. It goes round all chunks once, and
// unmarks the subscription before the last look, so that no mark is missed.
func (s *Subscription) takeDirty() (uint32, bool) {
	slots := s.engine.table.slots.Load()
	words := (slots + 63) / 64
	for pass := range 2 {
		if pass == 1 {
			s.marked.Store(false)
		}
		for range words {
			if s.scan >= words {
				s.scan = 0
			}
			c := s.dirty[s.scan*64>>chunkBits].Load()
			if c != nil {
				word := &c[s.scan%(chunkPeers/64)]
				if w := word.Load(); w != 0 {
					bit := uint32(bits.TrailingZeros64(w))
					word.And(^(uint64(1) << bit))
					if pass == 1 {
						s.marked.Store(true)
					}
					return s.scan*64 + bit, true
				}
			}
			s.scan++
		}
	}
	return 0, false
}

// current returns the published state of the peer in slot as an event. If the reader has yet
// to hear that another one is gone from there, that comes first, and slot is marked anew.
func (s *Subscription) current(slot uint32) (Event, bool) {
	p := s.engine.table.peer(slot)
	v, ok := p.verdict.read()
	if !ok {
		return Event{}, false
	}
	r := record{
		slot: slot, generation: v.generation, version: v.version, from: v.from, to: v.state,
		cause: v.cause, at: v.at, suspicion: float32(v.suspicion),
		id: p.session.id.Load(), incarnation: p.session.incarnation.Load(),
	}
	if again, _, _, _ := unpackStatus(p.verdict.status.Load()); again != v.generation {
		s.mark(slot) // it changed hands meanwhile, and r may be of both
		return Event{}, false
	}
	if r.at == 0 {
		r.at = s.engine.reading().Now // the slot is being filled anew: it was before
	}
	ended := v.version - 1
	if v.state == Unknown {
		ended = v.version // the one who has the slot has no transition yet
	}
	if ev, ok := s.gone(slot, v.generation, ended, r.at); ok {
		s.mark(slot)
		return ev, true
	}
	first := s.toldOf(slot).state == Unknown
	if v.state == Unknown || first && v.state == Removed {
		return Event{}, false
	}
	if first {
		r.from, r.cause = r.to, NoCause
	}
	return s.deliver(&r)
}

// mark says that the reader should look at slot. Shards call it.
func (s *Subscription) mark(slot uint32) {
	p := &s.dirty[slot>>chunkBits]
	c := p.Load()
	for c == nil {
		p.CompareAndSwap(nil, new(dirtyChunk))
		c = p.Load()
	}
	place := slot & (chunkPeers - 1)
	c[place/64].Or(1 << (place % 64))
	s.marked.Store(true)
}

// signal wakes the reader if it waits.
func (s *Subscription) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// offer hands a transition to the reader. Shards call it; it never waits.
func (s *Subscription) offer(r *record) {
	if !s.ring.TryPush(*r) {
		s.mark(r.slot)
	}
	s.signal()
}

// publish hands a transition to every subscription.
func (s *shard) publish(p *peer, slot uint32, from, to State, cause Cause, at clock.Instant, suspicion float64) {
	subscriptions := *s.engine.subscriptions.Load()
	if len(subscriptions) == 0 {
		return
	}
	r := record{
		slot: slot, generation: p.verdict.generation(), version: uint32(p.verdict.version.Get() / 2),
		from: from, to: to, cause: cause, at: s.now, suspicion: float32(suspicion),
		id: p.session.id.Get(), incarnation: p.session.incarnation.Get(),
		lag: int64(s.now.Sub(at)), sender: p.path.late, network: p.path.network, read: p.path.read,
	}
	if p.deadline.heard {
		r.silence = int64(s.now.Sub(p.deadline.from))
	}
	for _, sub := range subscriptions {
		sub.offer(&r)
	}
}
