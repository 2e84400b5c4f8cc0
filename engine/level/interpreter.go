package level

import (
	"container/list"
	"time"

	"systole/engine"
	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/internal/evidence"
	"systole/engine/internal/timer"
)

// Interpreter follows the levels of every peer of an engine, for one subscriber: off the
// engine's loops, by the summaries that they publish. It has no clock and no goroutine: a program's
// own loop calls Step, then TryNext until there is nothing more. Run is the running form.
//
// Silence counts up to the instant at which the peer's loop had read its sockets empty, less
// what this node stood still since the peer was heard. So a process that was stopped, or whose
// loop is late, raises nobody's level for that.
//
// One goroutine at a time may use an Interpreter. It takes about 200 bytes per peer, of which its
// subscription takes 30.
type Interpreter struct {
	levels   List
	detector detect.Detector
	events   *engine.Subscription // says which peers to check
	pauses   engine.LoopPauses
	wheel    *timer.Wheel // of places in subjects
	fired    [256]uint32
	summary  engine.Summary // scratch

	now    clock.Instant
	due    clock.Instant // what the last Step returned
	checks int           // peers that were judged in the last Step

	places   map[engine.Peer]uint32 // in subjects
	subjects []*subject             // nil: free
	free     []uint32
	queue    list.List // of the *subjects whose level the reader does not know
}

// subject is what an interpreter knows of one peer.
type subject struct {
	State
	peer      engine.Peer
	id        uint64
	silence   time.Duration
	queued    *list.Element // the place in the queue; nil: none
	suspicion float32
	changes   uint32 // of the level, since known
	known     uint8  // the level that the reader knows
	state     engine.State
	cause     engine.Cause
}

// NewInterpreter returns an interpreter of e for l, at which the program's own loop
// steps. It returns the faults of l, joined. Any goroutine may call it. Close it when done.
func NewInterpreter(e *engine.Engine, l List) (*Interpreter, error) {
	if err := l.Validate(); err != nil {
		return nil, err
	}
	return &Interpreter{
		levels: append(List(nil), l...), detector: e.Detector(), events: e.Subscribe(),
		pauses: engine.LoopPauses{Grid: e.Grid()}, wheel: timer.New(wheelShift, 0), places: make(map[engine.Peer]uint32),
	}, nil
}

// Close ends the interpreter. Any goroutine may call it.
func (in *Interpreter) Close() { in.events.Close() }

const (
	// wheelShift is the wheel's tick, 2^16 ns = 66 µs.
	wheelShift = 16
	// eventsPerStep and firesPerStep bound a Step, so that its user is never held up for
	// more than some milliseconds.
	eventsPerStep = 4096
	firesPerStep  = 4096
)

// Step judges the peers that are due at now and returns when the next ones are. It must
// also be called when Wake is readable: then a peer's state has changed. A Step that comes
// late delays levels by as much again, since the whole node may have been late.
func (in *Interpreter) Step(now clock.Instant) clock.Instant {
	in.now = max(in.now, now)
	in.pauses.Begin(in.now, in.due, in.checks)
	in.checks = 0
	more := in.readEvents()
	more = in.fire() || more
	in.due = in.wheel.Next()
	if more {
		in.due = in.now
	}
	return in.due
}

// Wake returns a channel that can be read when Step should be called before it is due.
func (in *Interpreter) Wake() <-chan struct{} { return in.events.Wake() }

// readEvents checks the peers whose state has changed and reports whether there may be more.
func (in *Interpreter) readEvents() (more bool) {
	for range eventsPerStep {
		ev, ok := in.events.TryNext()
		switch {
		case !ok:
			return false
		case ev.To == engine.Removed:
			in.remove(&ev)
		default:
			in.check(in.place(ev.Peer))
		}
	}
	return true
}

// fire checks the peers that are due and reports whether there may be more.
func (in *Interpreter) fire() (more bool) {
	for range firesPerStep / len(in.fired) {
		n, more := in.wheel.Advance(in.now, in.fired[:])
		for _, place := range in.fired[:n] {
			in.check(place)
		}
		if !more {
			return false
		}
	}
	return true
}

// check judges the peer at a place by what is published of it now.
func (in *Interpreter) check(place uint32) {
	in.checks++
	sub, s := in.subjects[place], &in.summary
	if *s = sub.peer.Summary(); s.State == engine.Unknown {
		in.wheel.Set(place, in.now.Add(evidence.MinPoll)) // the event of its removal is to come
		return
	}
	s.Excuse(&in.pauses)
	before := sub.Level
	next := in.levels.Judge(in.detector, s, in.now, &sub.State)
	if sub.Level != before {
		in.changed(sub)
	}
	in.arm(place, next)
}

// arm sets the next check of the peer at a place, due at next if nothing happens before.
func (in *Interpreter) arm(place uint32, next clock.Instant) {
	sub, s := in.subjects[place], &in.summary
	if s.State != engine.Alive && s.State != engine.OneWay && s.State != engine.Suspect {
		in.wheel.Cancel(place) // what changes it is an event
		return
	}
	c := evidence.Check{
		Now: in.now, Due: next, Grace: s.Grace, Grid: in.pauses.Grid,
		Soon: s.State == engine.Alive && s.Arrival == 0 || s.State != engine.Suspect && sub.Level > 0,
	}
	next, poll := c.Next()
	if poll {
		sub.peer.Poll(in.now)
	}
	in.wheel.Set(place, next)
}

// place returns the place of a peer.
func (in *Interpreter) place(p engine.Peer) uint32 {
	place, ok := in.places[p]
	if ok {
		return place
	}
	if n := len(in.free); n > 0 {
		place, in.free = in.free[n-1], in.free[:n-1]
	} else {
		place, in.subjects = uint32(len(in.subjects)), append(in.subjects, nil)
	}
	in.places[p], in.subjects[place] = place, &subject{peer: p}
	return place
}

// remove ends a peer that was removed. It stays in the queue if the reader knows it at a level: so
// only as many pile up before a reader that is stuck.
func (in *Interpreter) remove(ev *engine.Event) {
	place, ok := in.places[ev.Peer]
	if !ok {
		return
	}
	sub := in.subjects[place]
	in.wheel.Cancel(place)
	delete(in.places, ev.Peer)
	in.subjects[place], in.free = nil, append(in.free, place)
	if sub.Level == 0 {
		return
	}
	sub.move(0, in.now)
	sub.changes++
	sub.id, sub.state, sub.cause = ev.ID, ev.To, ev.Cause
	sub.suspicion, sub.silence = float32(ev.Suspicion), ev.Silence
	in.enqueue(sub)
}

// changed notes that the level of a peer is another.
func (in *Interpreter) changed(sub *subject) {
	s := &in.summary
	sub.changes++
	sub.id, sub.state, sub.cause = s.ID, s.State, s.Cause
	sub.suspicion, sub.silence = float32(s.Suspicion(in.detector)), 0
	if s.Arrival != 0 {
		sub.silence = max(in.now.Sub(s.Arrival), 0)
	}
	in.enqueue(sub)
}
