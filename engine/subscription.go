package engine

import (
	"context"
	"iter"
	"slices"
	"sync"

	"systole/engine/clock"
	"systole/ringbuf"
)

// Subscription delivers events to one reader: Next and TryNext return those of peers, OnNode gets those
// about this node.
//
// Shards push events into a ring. When the ring is full, a shard instead sets a bit per peer, by which
// the reader looks up the peer's current state, and keeps the latest node event of each cause. So a
// slow or stuck reader never delays a shard and always gets the latest state.
//
// One goroutine at a time may call Next or TryNext.
type Subscription struct {
	// OnNode, if it is set, gets the events about this node. Next and TryNext call it, on the
	// goroutine of the reader, so each event comes in its place among the events of peers. Set it
	// before the first call of Next or TryNext.
	OnNode func(NodeEvent)

	engine *Engine
	ring   *ringbuf.MPSC[record]
	wake   chan struct{} // capacity 1: there may be an event
	closed chan struct{}
	once   sync.Once // guards the closing of closed

	dirty slotSet    // peers that the reader has to look up
	kept  keptEvents // events about this node

	// The reader's own.
	batch   [popBatch]record // popped from the ring
	pending []record         // the part of batch not yet delivered
	last    []delivered      // by slot
}

// delivered describes the last event of a slot that the reader got.
type delivered struct {
	generation      uint32 // of the peer
	version         uint32 // of the slot's verdict; grows across generations
	state           State  // Unknown: no event yet
	id, incarnation uint64
}

const (
	subscriptionRing = 4096
	popBatch         = 64
)

// Subscribe returns a new subscription. Its first events report the current state of
// every peer, with From equal to To and NoCause. Any goroutine may call it. Close it
// when done.
func (e *Engine) Subscribe() *Subscription {
	s := &Subscription{
		engine: e,
		ring:   mustRing(ringbuf.NewMPSC[record](subscriptionRing)),
		wake:   make(chan struct{}, 1),
		closed: make(chan struct{}),
		kept:   newKeptEvents(len(e.shards)),
	}
	e.subscribe(s)
	for slot := uint32(1); slot < e.table.slots.Load(); slot++ {
		s.dirty.mark(slot)
	}
	s.signal()
	return s
}

// subscribe adds s to the subscriptions of e. Shards read the list without a lock, so it is replaced
// by a copy.
func (e *Engine) subscribe(s *Subscription) {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := append(slices.Clone(*e.subscriptions.Load()), s)
	e.subscriptions.Store(&list)
}

// unsubscribe removes s from the subscriptions of e.
func (e *Engine) unsubscribe(s *Subscription) {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(*e.subscriptions.Load()), func(o *Subscription) bool { return o == s })
	e.subscriptions.Store(&list)
}

// Events returns an iterator over the events of peers of a new subscription: first the current state
// of every peer. It ends as soon as ctx is done, even if events wait, and once the engine is closed and all
// events were delivered. Each range over it is a subscription of its own.
func (e *Engine) Events(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		s := e.Subscribe()
		defer s.Close()
		for ctx.Err() == nil {
			ev, err := s.Next(ctx)
			if err != nil || !yield(ev) {
				return
			}
		}
	}
}

// Close ends the subscription. A waiting Next then returns ErrClosed. Any goroutine may call it.
func (s *Subscription) Close() {
	s.once.Do(func() {
		s.engine.unsubscribe(s)
		close(s.closed)
	})
}

// Next waits for the next event of a peer. It returns ctx's error when ctx ends first, and
// ErrClosed once the subscription or the engine is closed and every event was delivered.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	for {
		if ev, ok := s.TryNext(); ok {
			return ev, nil
		}
		var err error
		select {
		case <-s.wake:
			continue
		case <-ctx.Done():
			err = ctx.Err()
		case <-s.closed:
			err = ErrClosed
		case <-s.engine.done:
			err = ErrClosed
		}
		if ev, ok := s.TryNext(); ok {
			return ev, nil // published before the end
		}
		return Event{}, err
	}
}

// Wake returns a channel that is readable when there may be an event of either kind: for a reader
// that waits for other things besides, in place of Next. Receive from it first, then call TryNext
// until there is no more event. It is not closed: see Engine.Done.
func (s *Subscription) Wake() <-chan struct{} { return s.wake }

// TryNext returns an event of a peer if there is one, without waiting.
func (s *Subscription) TryNext() (Event, bool) {
	for {
		if len(s.pending) == 0 && !s.refill() {
			for ev := s.kept.take(); ev != nil; ev = s.kept.take() {
				s.deliverNode(*ev)
			}
			return s.nextDirty()
		}
		r := &s.pending[0]
		if r.node {
			s.pending = s.pending[1:]
			s.deliverNode(r.nodeEvent(s.engine))
			continue
		}
		if ev, ok := s.missedRemoval(r.slot, r.generation, r.version-1, r.at); ok {
			return ev, true // r stays pending
		}
		ev, fresh := s.deliver(r)
		s.pending = s.pending[1:]
		if fresh {
			return ev, true
		}
	}
}

// refill pops events from the ring. It reports whether there were any.
func (s *Subscription) refill() bool {
	n := s.ring.PopBatch(s.batch[:])
	s.pending = s.batch[:n]
	return n > 0
}

// deliverNode passes an event about this node to the reader, if it wants those.
func (s *Subscription) deliverNode(ev NodeEvent) {
	if s.OnNode != nil {
		s.OnNode(ev)
	}
}

// deliver returns r as an event, unless the reader got a later one of the slot.
func (s *Subscription) deliver(r *record) (Event, bool) {
	d := s.lastOf(r.slot)
	before := d.version
	if d.state == Unknown {
		before = r.version - 1
	}
	if int32(r.version-before) <= 0 {
		return Event{}, false
	}
	*d = delivered{r.generation, r.version, r.to, r.id, r.incarnation}
	return r.event(s.engine, int(r.version-before-1)), true
}

// missedRemoval returns the removal of the peer that the reader last knew in slot, if the reader
// missed it and a peer of a later generation has the slot. The removal was decided by at, and the
// verdict's version was at most version.
func (s *Subscription) missedRemoval(slot, generation, version uint32, at clock.Instant) (Event, bool) {
	d := s.lastOf(slot)
	if d.state == Unknown || d.state == Removed || int32(generation-d.generation) <= 0 {
		return Event{}, false
	}
	cause := ByCaller
	if s.engine.cfg.Accept.Anyone && (d.state == Failed || d.state == Left) {
		cause = Forgotten
	}
	return s.deliver(&record{
		slot: slot, generation: d.generation, version: version, from: d.state, to: Removed,
		cause: cause, at: at, id: d.id, incarnation: d.incarnation,
	})
}

// lastOf returns the last delivered event of slot.
func (s *Subscription) lastOf(slot uint32) *delivered {
	for uint32(len(s.last)) <= slot {
		s.last = append(s.last, make([]delivered, chunkPeers)...)
	}
	return &s.last[slot]
}

// nextDirty delivers the current state of the next marked slot.
func (s *Subscription) nextDirty() (Event, bool) {
	for {
		slot, ok := s.dirty.take(&s.engine.table.slots)
		if !ok {
			return Event{}, false
		}
		if ev, ok := s.current(slot); ok {
			return ev, true
		}
	}
}

// current returns the published state of the peer in slot as an event. If the reader missed the
// removal of an earlier peer in slot, current returns that event and marks slot again.
func (s *Subscription) current(slot uint32) (Event, bool) {
	p := s.engine.table.peer(slot)
	v, ok := p.verdict.read()
	if !ok {
		return Event{}, false
	}
	r := record{
		slot: slot, generation: v.generation, version: v.version, from: v.from, to: v.state,
		cause: v.cause, slow: v.slow, at: v.at, suspicion: float32(v.suspicion),
		id: p.session.id.Load(), incarnation: p.session.incarnation.Load(),
	}
	if again, _, _, _ := unpackStatus(p.verdict.status.Load()); again != v.generation {
		s.dirty.mark(slot) // the slot was reused meanwhile: r may mix both peers
		return Event{}, false
	}
	if r.at == 0 {
		r.at = s.engine.reading().Now // the new peer has no transition yet: the removal is over by now
	}
	ended := v.version - 1
	if v.state == Unknown {
		ended = v.version // the new peer has no transition yet
	}
	if ev, ok := s.missedRemoval(slot, v.generation, ended, r.at); ok {
		s.dirty.mark(slot)
		return ev, true
	}
	first := s.lastOf(slot).state == Unknown
	if v.state == Unknown || first && v.state == Removed {
		return Event{}, false
	}
	if first {
		r.from, r.cause = r.to, NoCause
	}
	return s.deliver(&r)
}

// signal wakes the reader if it waits.
func (s *Subscription) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// offer passes a transition to the reader. Shards call it; it never waits.
func (s *Subscription) offer(r *record) {
	if !s.ring.TryPush(*r) {
		s.dirty.mark(r.slot)
	}
	s.signal()
}

// publish passes a transition to every subscription.
func (s *shard) publish(p *peer, slot uint32, from, to State, cause Cause, at clock.Instant, suspicion float64) {
	subscriptions := *s.engine.subscriptions.Load()
	if len(subscriptions) == 0 {
		return
	}
	r := record{
		slot: slot, generation: p.verdict.generation(), version: uint32(p.verdict.version.Get() / 2),
		from: from, to: to, cause: cause, slow: p.verdict.isSlow(), at: s.now, suspicion: float32(suspicion),
		id: p.session.id.Get(), incarnation: p.session.incarnation.Get(),
		lag: int64(s.now.Sub(at)), delays: s.table.newest(slot).Delays,
	}
	sendWait, _ := s.table.wait(slot)
	r.sendWait = int64(sendWait)
	if p.deadline.heard {
		r.silence = int64(s.now.Sub(p.deadline.from))
	}
	for _, sub := range subscriptions {
		sub.offer(&r)
	}
}
