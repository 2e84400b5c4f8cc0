package engine

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"systole/engine/clock"
)

// NodeEvent is an event about this node. Subscription.OnNode gets it.
//
// For a reader that falls behind, events are merged: Merged counts those skipped. The latest event of
// each cause is never lost, but may come after later events.
type NodeEvent struct {
	Cause NodeCause
	At    clock.Instant // when the event was published
	// Pause is, for LocalPause, how long this node stood still.
	Pause time.Duration
	// ID is, for IDCollision, the id that two processes have. Others is the peers with that id, and
	// Incarnation that of Others[0]. Others is zero if one of the processes is this node; Incarnation
	// is then that of the other process.
	ID          uint64
	Incarnation uint64
	Others      [2]Peer
	Merged      int // events of this cause that were skipped before this one

	engine *Engine // this node's; for its clock
}

// String describes the event in a line for people, as in "this node: local-pause of 312 ms".
func (ev NodeEvent) String() string {
	text := "this node: " + ev.Cause.String()
	switch {
	case ev.Cause == LocalPause:
		text += " of " + inWords(ev.Pause)
	case ev.Cause == LocalSuspect:
		text += ": peers fell silent together, so this node may be the isolated one"
	case ev.Cause == IDCollision && ev.Others[0].IsZero():
		text += ": another process has this node's id " + shortID(ev.ID)
	case ev.Cause == IDCollision:
		a, b := ev.Others[0].identity(), ev.Others[1].identity()
		text += fmt.Sprintf(": two processes have the id %s: %s and %s", shortID(ev.ID), a.text(), b.text())
	case ev.Cause == PromiseAtRisk:
		text += ": measurements show that the promise cannot be kept"
	}
	if ev.Merged > 0 {
		text += fmt.Sprintf("; %d events of this cause before it were merged", ev.Merged)
	}
	return text
}

// LogValue returns the event as a group for structured logs: cause, pause, id (its first eight digits),
// incarnation, and the peers with that id as the groups one and other. What is not known is not in it.
func (ev NodeEvent) LogValue() slog.Value {
	out := []slog.Attr{slog.String("cause", ev.Cause.String())}
	if ev.Pause > 0 {
		out = append(out, slog.Duration("pause", ev.Pause))
	}
	if ev.ID != 0 {
		out = append(out, slog.String("id", shortID(ev.ID)), slog.Uint64("incarnation", ev.Incarnation))
	}
	if !ev.Others[0].IsZero() {
		out = append(out, slog.Any("one", ev.Others[0]), slog.Any("other", ev.Others[1]))
	}
	if ev.Merged > 0 {
		out = append(out, slog.Int("merged", ev.Merged))
	}
	return slog.GroupValue(out...)
}

// NodeCause is the cause of an event about this node.
type NodeCause uint8

const (
	_ NodeCause = iota // the zero NodeEvent's

	// LocalPause: this node was stopped or starved of CPU; its deadlines were moved accordingly.
	LocalPause
	// LocalSuspect: so many peers fell silent together that this node may be the isolated one. No
	// peer is declared failed for a while.
	LocalSuspect
	// IDCollision: another process uses our id, or two peers have one id and different incarnations.
	IDCollision
	// PromiseAtRisk: measurements show that Config.Promise cannot be kept; Engine.Promised says what
	// can.
	PromiseAtRisk

	numNodeCauses
)

var nodeCauseNames = [numNodeCauses]string{"none", "local-pause", "local-suspect", "id-collision", "promise-at-risk"}

// String returns the cause's name.
func (c NodeCause) String() string { return nameOf(c, nodeCauseNames[:], "NodeCause") }

// MarshalText returns the cause's name.
func (c NodeCause) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (c *NodeCause) UnmarshalText(text []byte) error {
	return parseName(c, nodeCauseNames[:], "cause of a node event", text)
}

// record returns ev without pointers.
func (ev *NodeEvent) record() record {
	a, b := &ev.Others[0], &ev.Others[1]
	return record{
		node: true, nodeCause: ev.Cause, at: ev.At, pause: int64(ev.Pause),
		id: ev.ID, incarnation: ev.Incarnation,
		slot: a.slot, generation: a.generation, other: b.slot, otherOf: b.generation,
	}
}

// nodeEvent returns r as a NodeEvent of e.
func (r *record) nodeEvent(e *Engine) NodeEvent {
	ev := NodeEvent{
		Cause: r.nodeCause, At: r.at, Pause: time.Duration(r.pause), ID: r.id, Incarnation: r.incarnation, engine: e,
	}
	if r.other != 0 {
		ev.Others = [2]Peer{{e, r.slot, r.generation}, {e, r.other, r.otherOf}}
	}
	return ev
}

// keptEvents holds the events about this node that the ring of a subscription had no room for: the
// latest one per shard and cause. So an event that is published only once, such as PromiseAtRisk,
// arrives even if the reader has fallen behind.
type keptEvents struct {
	latest []atomic.Pointer[NodeEvent] // by shard and cause: shards store, the reader takes
}

// newKeptEvents returns room for the events of all shards.
func newKeptEvents(shards int) keptEvents {
	return keptEvents{latest: make([]atomic.Pointer[NodeEvent], shards*int(numNodeCauses))}
}

// keep keeps ev in place of an earlier event of its shard and cause. Only the shard calls it.
func (k *keptEvents) keep(shard int, ev NodeEvent) {
	p := &k.latest[shard*int(numNodeCauses)+int(ev.Cause)]
	// The reader may take the earlier event at any time: it counts as merged only if Swap gets it.
	if earlier := p.Swap(nil); earlier != nil {
		ev.Merged = earlier.Merged + 1
	}
	p.Store(&ev)
}

// take removes a kept event and returns it, nil if there is none. Only the reader calls it.
func (k *keptEvents) take() *NodeEvent {
	for i := range k.latest {
		// If the exchange fails, the shard is replacing the event, and wakes the reader afterwards.
		if kept := k.latest[i].Load(); kept != nil && k.latest[i].CompareAndSwap(kept, nil) {
			return kept
		}
	}
	return nil
}

// publishNode passes an event about this node to every subscription.
func (s *shard) publishNode(ev NodeEvent) {
	s.counters.nodeEvents.Add(1)
	ev.At, ev.engine = s.now, s.engine
	r := ev.record()
	for _, sub := range *s.engine.subscriptions.Load() {
		if !sub.ring.TryPush(r) {
			sub.kept.keep(s.number, ev)
		}
		sub.signal()
	}
}
