package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"systole/engine"
	"systole/engine/clock"
)

// verdicts are the events of an engine.
type verdicts struct {
	Suspected, Failed, LocalPauses uint64
	// Lag is the time from the deadline to the suspicion, Delivery that to the subscriber's goroutine,
	// of the first maxLags suspicions.
	Lag, Delivery []time.Duration
}

// maxLags bounds the memory of verdicts.
const maxLags = 100_000

// verdictLog collects verdicts from begin to end.
type verdictLog struct {
	mu       sync.Mutex // guards what follows
	counting bool
	verdicts
	events []engine.Event // the first maxEvents, of peers
}

// maxEvents bounds the events that are kept.
const maxEvents = 1000

// begin starts collecting.
func (v *verdictLog) begin() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.counting, v.verdicts, v.events = true, verdicts{}, nil
}

// end stops collecting, and returns what was collected.
func (v *verdictLog) end() verdicts {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.counting = false
	return v.verdicts
}

// kept returns the first events since begin.
func (v *verdictLog) kept() []engine.Event {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.events)
}

// watch notes events until the engine closes.
func (v *verdictLog) watch(events *engine.Subscription) {
	events.OnNode = v.noteNode
	for {
		ev, err := events.Next(context.Background())
		if err != nil {
			return
		}
		v.note(&ev, clock.Now())
	}
}

// note notes an event that the subscriber's goroutine received at the instant now.
func (v *verdictLog) note(ev *engine.Event, now clock.Instant) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.counting && len(v.events) < maxEvents {
		v.events = append(v.events, *ev)
	}
	switch {
	case !v.counting:
	case ev.To == engine.Suspect:
		v.Suspected++
		if deadline := ev.At.Add(-ev.Lag); len(v.Lag) < maxLags {
			v.Lag, v.Delivery = append(v.Lag, ev.Lag), append(v.Delivery, now.Sub(deadline))
		}
	case ev.To == engine.Failed:
		v.Failed++
	}
}

// noteNode notes an event of the node itself.
func (v *verdictLog) noteNode(ev engine.NodeEvent) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.counting && ev.Cause == engine.LocalPause {
		v.LocalPauses++
	}
}
