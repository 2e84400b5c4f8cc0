package engine

import (
	"container/heap"
	"sync"
	"sync/atomic"
	"time"

	"systole/engine/clock"
	"systole/engine/internal/evidence"
	"systole/engine/internal/timer"
)

// contexts ends the contexts of Peer.Context. One goroutine judges the peers that have contexts, by the
// rules of package evidence; in a simulated world, the turns do.
//
// A shard marks each peer that has a transition. A peer with contexts is also judged when its suspicion may
// have reached the lowest of their levels, and once a second: a transition may have been published just
// before the shard could know that there are contexts.
type contexts struct {
	engine  *Engine
	on      atomic.Bool    // some peer is followed: shards mark peers
	changed *slotSet       // peers with a transition; nil: there never were contexts
	wake    chan struct{}  // capacity 1: there is something to do before due
	running sync.WaitGroup // the goroutine

	mu     sync.Mutex // guards what follows
	closed bool
	peers  map[uint32]*followed // by slot
	wheel  *timer.Wheel         // of slots
	pauses LoopPauses
	due    clock.Instant // when the next step is due
	checks int           // peers judged in the last step
	fired  [fireBatch]uint32
	seen   look           // scratch
	over   []*peerContext // ended, and to be cancelled with mu unlocked
}

// followed is a peer that has contexts, or had some lately.
type followed struct {
	Peer
	id, incarnation uint64        // that the contexts are for
	failures        uint32        // PeerStats.Failures as of the last look
	version         uint32        // of the verdict as of the last look
	idle            bool          // there were no contexts at the last check
	at              clock.Instant // the next check
	pruneAt         clock.Instant // when to look for contexts that their parents have ended
	waiting         peerContexts
}

// fireBatch bounds the peers judged, by mark and by timer, while the lock is held, so that a caller of
// Context waits no longer than some 0.1 ms.
const fireBatch = 128

// begin prepares c for e.
func (c *contexts) begin(e *Engine) {
	c.engine, c.wake, c.peers = e, make(chan struct{}, 1), make(map[uint32]*followed)
}

// note records a transition of the peer in slot. Shards call it; it never waits.
func (c *contexts) note(slot uint32) {
	if c.on.Load() {
		c.changed.mark(slot)
		c.signal()
	}
}

// signal wakes the goroutine.
func (c *contexts) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// add enters a context of p. If it has to end at once, add returns why.
func (c *contexts) add(p Peer, x *peerContext) *PeerFailedError {
	if p.State() == Removed { // its slot may be another peer's
		return &PeerFailedError{Peer: p, ID: p.ID(), State: Removed, Cause: p.removal()}
	}
	now := c.engine.reading().Now
	c.mu.Lock()
	defer c.unlock()
	if c.closed {
		return &PeerFailedError{Peer: p, ID: p.ID(), State: Removed, Cause: Closed}
	}
	f := c.follow(p, now)
	if f == nil {
		return &PeerFailedError{Peer: p, State: Removed, Cause: p.removal()}
	}
	l := c.look(f)
	if now > c.due && now.Sub(c.due) > pauseThreshold(c.pauses.Grid) {
		l.suspicion = min(l.suspicion, l.ofState) // a step is late: it judges whether this node stood still
	}
	var err *PeerFailedError
	if l.ends(x.level) {
		err = f.failed(l)
	} else {
		x.peer = f
		heap.Push(&f.waiting, x)
		f.idle = false
	}
	if x.place == 0 || f.at <= now {
		c.arm(f, l, now)
		if f.at < c.due {
			c.hurry()
		}
	}
	return err
}

// hurry makes the next step come before it is due.
func (c *contexts) hurry() {
	if c.engine.cfg.world != nil {
		c.engine.shards[0].net.Wake()
		return
	}
	c.signal()
}

// remove forgets a context.
func (c *contexts) remove(x *peerContext) {
	c.mu.Lock()
	if x.place >= 0 {
		heap.Remove(&x.peer.waiting, x.place)
	}
	c.mu.Unlock()
}

// unlock unlocks mu, and cancels the contexts that have ended: that calls methods of their parents, which
// are the program's.
func (c *contexts) unlock() {
	over := c.over
	c.over = nil
	c.mu.Unlock()
	for _, x := range over {
		x.cancel(x.err)
	}
}

// follow returns what is known of p, nil if a later peer has its slot. It ends the contexts of an earlier one.
func (c *contexts) follow(p Peer, now clock.Instant) *followed {
	f := c.peers[p.slot]
	switch {
	case f == nil:
	case f.generation == p.generation:
		return f
	case int32(p.generation-f.generation) < 0:
		return nil
	default:
		c.end(f, &look{state: Removed, cause: f.removal()}, len(f.waiting))
	}
	f = &followed{Peer: p, pruneAt: now.Add(evidence.Every)}
	c.peers[p.slot] = f
	if !c.on.Load() {
		c.start()
	}
	return f
}

// start begins to follow peers.
func (c *contexts) start() {
	if c.wheel == nil {
		c.wheel, c.changed = timer.New(wheelShift, 0), new(slotSet)
	}
	c.pauses, c.due, c.checks = LoopPauses{Grid: c.engine.Grid()}, clock.Never, 0
	c.on.Store(true)
	if c.engine.cfg.world == nil {
		c.running.Add(1)
		go c.run()
	}
}

// run steps until there are no contexts any more.
func (c *contexts) run() {
	defer c.running.Done()
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-wait.C:
		case <-c.wake:
		}
		next, more := c.step(clock.Now())
		if !more {
			return
		}
		if next == clock.Never {
			wait.Stop()
		} else {
			wait.Reset(max(next.Sub(clock.Now()), 0))
		}
	}
}

// turn steps in a simulated world, and returns when the next step is due.
func (c *contexts) turn(now clock.Instant) clock.Instant {
	for c.on.Load() {
		next, more := c.step(now)
		if more && next > now {
			return next
		}
	}
	return clock.Never
}

// step judges the peers that have changed, and those that are due at now. It returns when the next step is
// due, and false if no peer is followed any more.
func (c *contexts) step(now clock.Instant) (clock.Instant, bool) {
	c.mu.Lock()
	defer c.unlock()
	if c.closed {
		c.on.Store(false)
		return clock.Never, false
	}
	c.pauses.Begin(now, c.due, c.checks)
	c.checks = 0
	unread := c.readChanged(now)
	n, unfired := c.wheel.Advance(now, c.fired[:])
	for _, slot := range c.fired[:n] {
		c.check(c.peers[slot], now)
	}
	if c.due = c.wheel.Next(); unread || unfired {
		c.due = now
	}
	if len(c.peers) == 0 {
		c.on.Store(false)
	}
	return c.due, len(c.peers) > 0
}

// readChanged judges the peers that had a transition, and reports whether there may be more of them.
func (c *contexts) readChanged(now clock.Instant) (more bool) {
	for range fireBatch {
		slot, ok := c.changed.take(&c.engine.table.slots)
		if !ok {
			return false
		}
		if f := c.peers[slot]; f != nil {
			c.check(f, now)
		}
	}
	return true
}

// check ends the contexts of f that have to end, and arms the next check. A peer without contexts is
// followed for a second more, since the next request may come soon.
func (c *contexts) check(f *followed, now clock.Instant) {
	c.checks++
	l := c.look(f)
	if now >= f.pruneAt {
		c.prune(f)
		f.pruneAt = now.Add(evidence.Every)
	}
	for len(f.waiting) > 0 && l.ends(f.waiting[0].level) {
		c.end(f, l, 1)
	}
	if len(f.waiting) == 0 && (f.idle || l.gone) {
		c.wheel.Cancel(f.slot)
		delete(c.peers, f.slot)
		return
	}
	f.idle = len(f.waiting) == 0
	c.arm(f, l, now)
}

// prune forgets the contexts of f that their parents have ended.
func (c *contexts) prune(f *followed) {
	for i := len(f.waiting) - 1; i >= 0; i-- { // what Remove moves to i was looked at before
		if f.waiting[i].ctx.Err() != nil {
			heap.Remove(&f.waiting, i)
		}
	}
}

// arm sets the next check of f.
func (c *contexts) arm(f *followed, l *look, now clock.Instant) {
	f.at = now.Add(evidence.Every)
	if s := &l.summary; len(f.waiting) > 0 && (s.State == Alive || s.State == OneWay || s.State == Suspect) {
		check := evidence.Check{
			Now: now, Due: s.Deadline(c.engine.table.detector, f.waiting[0].level), Grace: s.Grace, Grid: c.pauses.Grid,
			Soon: s.State == Alive && s.Arrival == 0,
		}
		at, poll := check.Next()
		if poll {
			f.Poll(now)
		}
		f.at = min(f.at, at)
	} else if s.State == Unknown {
		f.at = now.Add(c.pauses.Grid) // its shard has not seen it yet, or publishes just now
	}
	c.wheel.Set(f.slot, f.at)
}

// end takes the n contexts of f with the lowest levels off it, because of l.
func (c *contexts) end(f *followed, l *look, n int) {
	for range n {
		x := heap.Pop(&f.waiting).(*peerContext)
		x.err = f.failed(l)
		c.over = append(c.over, x)
	}
}

// idTries bounds the readings of a peer whose process changes just now.
const idTries = 4

// look is one reading of a peer.
type look struct {
	summary            Summary
	gone               bool // contexts end, whatever their level
	state              State
	cause              Cause
	suspicion, ofState float64 // what counts; and of that the part that the loop has decided
}

// ends reports whether l ends a context of a level. One of a level that is no number ends at once.
func (l *look) ends(level float64) bool { return l.gone || !(l.suspicion < level) }

// failed returns why a context ends.
func (f *followed) failed(l *look) *PeerFailedError {
	err := &PeerFailedError{
		Peer: f.Peer, ID: f.id, Incarnation: f.incarnation, State: l.state, Cause: l.cause, Suspicion: l.suspicion,
	}
	if !l.gone && l.state != Suspect {
		err.Cause = Silence
	}
	return err
}

// look reads what is published of f. It ends the contexts that were for an earlier incarnation, or that a
// failure or a goodbye in the meantime has ended.
func (c *contexts) look(f *followed) *look {
	r := f.record()
	v, _ := r.verdict.read() // before the summary, which then is not older
	l := &c.seen
	s := &l.summary
	*l = look{}
	for range idTries {
		if *s = f.Summary(); r.session.id.Load() == s.ID {
			break // else the id is that of the incarnation before
		}
	}
	l.state, l.cause = s.State, s.Cause
	switch {
	case f.State() == Removed:
		l.gone, l.state, l.cause = true, Removed, f.removal()
		return l
	case s.State == Unknown || v.generation != f.generation:
		s.State, l.state = Unknown, Connecting
		return l
	}
	c.renew(f, s, &v)
	if v.state == Failed || v.state == Left {
		l.gone, l.state, l.cause = true, v.state, v.cause
	}
	l.gone = l.gone || s.State == Failed || s.State == Left
	s.Excuse(&c.pauses)
	if s.State == Suspect {
		l.ofState = s.SuspectLevel
	}
	l.suspicion = evidence.Counts(s.Suspicion(c.engine.table.detector), l.ofState, s.ReadTo, s.Grace)
	return l
}

// renew ends the contexts of f if the peer has restarted, failed or left since the last look, and is back.
func (c *contexts) renew(f *followed, s *Summary, v *shownVerdict) {
	failures := uint32(f.record().counts.judged.Load())
	l := &look{gone: true, state: s.State, cause: s.Cause}
	restarted := f.incarnation != 0 && (f.incarnation != s.Incarnation || f.id != s.ID)
	back := s.State != Failed && s.State != Left && v.state != Failed && v.state != Left
	switch {
	case restarted:
		l.cause = Restarted
	case failures != f.failures && back:
		l.state = Failed
	case v.version != f.version && (v.from == Failed || v.from == Left) && back:
		l.state = v.from
	default:
		l = nil
	}
	if l != nil {
		c.end(f, l, len(f.waiting))
	}
	f.id, f.incarnation, f.failures, f.version = s.ID, s.Incarnation, failures, v.version
}

// removal returns why a peer was removed: ByCaller if it is not known any more.
func (p Peer) removal() Cause {
	if p.engine.stopping.Load() {
		return Closed
	}
	if v, ok := p.record().verdict.read(); ok && v.generation == p.generation && v.state == Removed {
		return v.cause
	}
	return ByCaller
}

// close ends all contexts, and waits for the goroutine. All peers are Removed.
func (c *contexts) close() {
	c.mu.Lock()
	c.closed = true
	for slot, f := range c.peers {
		c.end(f, &look{gone: true, state: Removed, cause: Closed}, len(f.waiting))
		c.wheel.Cancel(slot)
		delete(c.peers, slot)
	}
	c.unlock()
	c.signal()
	c.running.Wait()
}
