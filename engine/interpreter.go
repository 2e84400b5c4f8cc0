package engine

import (
	"time"

	"systole/engine/clock"
	"systole/engine/internal/timer"
)

// Interpreter follows the levels of every peer of an engine, for one subscriber: off the
// loops, by what they publish. It has no clock and no goroutine: a program's own loop
// calls Step, then TryNext until there is nothing more. Engine.Interpret is the running form.
//
// A level is raised only on evidence up to the instant at which the peer's loop had read
// its sockets empty, later by what this node stood still since the peer was heard. So a
// process that was stopped, or whose loop is late, raises nobody's level for that.
//
// One goroutine at a time may use an Interpreter. It takes about 120 bytes per peer.
type Interpreter struct {
	engine *Engine
	levels Levels
	events *Subscription // tells which peers to look at
	wheel  *timer.Wheel
	sum    Summary // scratch
	fired  [256]uint32

	now   clock.Instant
	due   clock.Instant // what the last Step returned
	work  work
	stood lateness
	asked uint64 // shards asked to read in this Step, one bit each
	looks uint64 // how often a peer was judged

	subjects [][]subject // by slot, in chunks of chunkPeers
	queue    []uint32    // slots with something to tell, each once
	head     int         // of queue
	over     []leftover
}

// subject is what an interpreter knows of the peer in one slot.
type subject struct {
	Standing
	id         uint64
	silence    time.Duration
	suspicion  float32
	generation uint32
	changes    uint32 // of the level, since the reader was told
	told       uint8  // the level that the reader knows
	state      State
	cause      Cause
	queued     bool
}

// leftover is the last event of a peer whose slot another has taken.
type leftover struct {
	slot  uint32
	event LevelEvent
}

// LevelEvent tells that a peer's level has changed, From and To being different. Per
// peer, events come in order, and the latest level always arrives; to a reader that falls
// behind changes are merged. A peer that leaves or is removed ends at level 0, with an
// event if the reader knows it at another.
type LevelEvent struct {
	Peer             Peer
	ID               uint64 // the peer's id, 0 while unknown
	Incarnation      uint64 // the peer's incarnation
	From, To         int    // 0: none; i: the i-th of Levels.List
	FromName, ToName string // "" for none
	Suspicion        float64
	Silence          time.Duration // since the last arrival; 0 if nothing ever arrived
	Since            clock.Instant // when To was entered
	State            State         // of the peer at that instant
	Cause            Cause         // of the peer's last transition of State
	Merged           int           // changes of this peer's level not delivered before this one
}

// Interpreter returns an interpreter of this engine for l, at which the program's own loop
// steps. It returns the faults of l, joined. Any goroutine may call it. Close it when done.
func (e *Engine) Interpreter(l Levels) (*Interpreter, error) {
	if err := l.Validate(); err != nil {
		return nil, err
	}
	l.List = append([]Level(nil), l.List...)
	return &Interpreter{
		engine: e, levels: l, events: e.Subscribe(), wheel: timer.New(wheelShift, 0),
	}, nil
}

// Close ends the interpreter. Any goroutine may call it.
func (in *Interpreter) Close() { in.events.Close() }

const (
	// eventsPerStep and firesPerStep bound a Step, so that its user is never held up for
	// more than some milliseconds.
	eventsPerStep = 4096
	firesPerStep  = 4096
	// lookEvery is the longest time without a look at a peer that is judged: a heartbeat,
	// or what the detector learned, may have brought its deadline forward.
	lookEvery = time.Second
	// A shard that was asked to read is given readRetry, or a readPatience-th of what it is
	// late, before the next look, at most maxReadRetry.
	readRetry    = 250 * time.Microsecond
	maxReadRetry = 10 * time.Millisecond
	readPatience = 8
)

// Step judges the peers that are due at now and returns when the next ones are. It must
// also be called when Wake is readable: then a peer's state has changed. A Step that comes
// late delays levels by as much more, since the lateness may be this node's.
func (in *Interpreter) Step(now clock.Instant) clock.Instant {
	in.now = max(in.now, now)
	in.asked = 0
	threshold := in.engine.shards[0].pauseThreshold()
	if worked, surely := in.work.until(); in.now.Sub(worked) > threshold {
		in.stood.note(max(in.due, surely), in.now, threshold)
	}
	in.work.begin(in.now, in.due == in.work.began)
	more := in.hear()
	more = in.fire() || more
	in.due = in.wheel.Next()
	if more {
		in.due = in.now
	}
	if in.engine.stopping.Load() {
		in.due = clock.Never
	}
	return in.due
}

// Wake returns a channel that can be read when Step should be called before it is due.
func (in *Interpreter) Wake() <-chan struct{} { return in.events.wake }

// hear looks at the peers whose state has changed and reports whether there may be more.
func (in *Interpreter) hear() (more bool) {
	for range eventsPerStep {
		ev, ok := in.events.TryNext()
		if !ok {
			return false
		}
		if !ev.Peer.IsZero() {
			in.check(ev.Peer.slot)
		}
	}
	return true
}

// fire looks at the peers that are due and reports whether there may be more.
func (in *Interpreter) fire() (more bool) {
	for range firesPerStep / len(in.fired) {
		n, more := in.wheel.Advance(in.now, in.fired[:])
		for _, slot := range in.fired[:n] {
			in.check(slot)
		}
		if !more {
			return false
		}
	}
	return true
}

// check judges the peer in slot by what is published of it now.
func (in *Interpreter) check(slot uint32) {
	in.looks++
	in.work.units++
	s := &in.sum
	generation, ok := in.engine.summarize(slot, s)
	if !ok {
		in.wheel.Set(slot, in.now.Add(readRetry))
		return
	}
	if s.State == Unknown {
		return // its shard is about to see it
	}
	sub := in.subject(slot)
	if sub.generation != generation {
		in.succeed(sub, slot, generation)
	}
	s.Paused = max(s.Paused, in.stood.shift(s.Arrival))
	before := sub.Level
	next := in.levels.Judge(in.engine.table.detector, s, in.now, &sub.Standing)
	if sub.Level != before {
		in.changed(sub, slot)
	}
	in.arm(sub, slot, next)
}

// arm sets the next look at the peer in slot, due at next if nothing happens before.
func (in *Interpreter) arm(sub *subject, slot uint32, next clock.Instant) {
	s := &in.sum
	if s.State != Alive && s.State != OneWay && s.State != Suspect {
		in.wheel.Cancel(slot) // what changes it is an event
		return
	}
	step := in.engine.shards[0].grid
	switch {
	case next <= in.now:
		// Due by now, but not by what its shard has read, or in a time of grace.
		in.ask(slot)
		late := in.now.Sub(next) / readPatience
		next = max(s.Grace, in.now.Add(min(max(late, readRetry), maxReadRetry)))
	case next > in.now+2*clock.Instant(step):
		// As in shard.armJudge: on a raster, so that peers that live wake nobody singly.
		raster := clock.Instant(step)
		next = (min(next, in.now.Add(lookEvery)) - raster) / raster * raster
	}
	if s.State == Alive && len(s.Words) == 0 || s.State != Suspect && sub.Level > 0 {
		next = min(next, in.now.Add(step)) // its next heartbeat is the first, or may clear it
	}
	in.wheel.Set(slot, next)
}

// ask has the shard of slot read its sockets, unless it is about to turn anyway.
func (in *Interpreter) ask(slot uint32) {
	s := in.engine.shards[in.engine.shardOf(slot)]
	if bit := uint64(1) << s.number; in.asked&bit == 0 {
		in.asked |= bit
		if s.ring.Len() == 0 {
			s.post(command{kind: commandRead})
		}
	}
}

// subject returns what is known of the peer in slot.
func (in *Interpreter) subject(slot uint32) *subject {
	for uint32(len(in.subjects)) <= slot>>chunkBits {
		in.subjects = append(in.subjects, make([]subject, chunkPeers))
	}
	return &in.subjects[slot>>chunkBits][slot&(chunkPeers-1)]
}

// succeed gives a slot's subject to the peer that now has the slot. What the reader still
// has to be told of the one before is kept apart: only peers that it knows at a level are,
// so a reader that is stuck lets no more pile up than it was told of.
func (in *Interpreter) succeed(sub *subject, slot uint32, generation uint32) {
	if sub.told != 0 {
		sub.move(0, in.now)
		sub.changes++
		sub.state, sub.cause = Removed, ByCaller
		in.over = append(in.over, leftover{slot, in.event(sub, slot)})
	}
	*sub = subject{generation: generation, queued: sub.queued}
}

// changed notes that the level of the peer in slot is another.
func (in *Interpreter) changed(sub *subject, slot uint32) {
	s := &in.sum
	sub.changes++
	sub.id, sub.state, sub.cause = s.ID, s.State, s.Cause
	sub.suspicion, sub.silence = float32(s.Suspicion(in.engine.table.detector)), 0
	if s.Arrival != 0 {
		sub.silence = max(in.now.Sub(s.Arrival), 0)
	}
	in.enqueue(sub, slot)
}

// enqueue puts slot where TryNext finds it.
func (in *Interpreter) enqueue(sub *subject, slot uint32) {
	if !sub.queued {
		sub.queued = true
		if in.head > len(in.queue)/2 {
			in.queue = in.queue[:copy(in.queue, in.queue[in.head:])]
			in.head = 0
		}
		in.queue = append(in.queue, slot)
	}
}
