package engine

import "sync/atomic"

// keptEvents holds the events about this node that the ring of a subscription had no room for: the
// latest one per shard and cause. So an event that is published only once, such as PromiseAtRisk,
// arrives even if the reader has fallen behind.
type keptEvents struct {
	latest []atomic.Pointer[keptEvent] // by shard and cause: shards store, the reader takes
}

// keptEvent is a kept event, and how many earlier ones it replaced.
type keptEvent struct {
	record
	merged int
}

// nodeCauses is the number of causes of events about this node; LocalPause is the first.
const nodeCauses = int(PromiseAtRisk-LocalPause) + 1

// newKeptEvents returns room for the events of all shards.
func newKeptEvents(shards int) keptEvents {
	return keptEvents{latest: make([]atomic.Pointer[keptEvent], shards*nodeCauses)}
}

// keep keeps r in place of an earlier event of its shard and cause. Only the shard calls it.
func (k *keptEvents) keep(shard int, r *record) {
	p := &k.latest[shard*nodeCauses+int(r.cause-LocalPause)]
	kept := &keptEvent{record: *r}
	// The reader may take the earlier event at any time: it counts as merged only if Swap gets it.
	if earlier := p.Swap(nil); earlier != nil {
		kept.merged = earlier.merged + 1
	}
	p.Store(kept)
}

// take removes a kept event and returns it. Only the reader calls it.
func (k *keptEvents) take(e *Engine) (Event, bool) {
	for i := range k.latest {
		// If the exchange fails, the shard is replacing the event, and wakes the reader afterwards.
		if kept := k.latest[i].Load(); kept != nil && k.latest[i].CompareAndSwap(kept, nil) {
			return kept.event(e, kept.merged), true
		}
	}
	return Event{}, false
}

// publishNode passes an event about this node to every subscription.
func (s *shard) publishNode(r record) {
	s.counters.nodeEvents.Add(1)
	r.node, r.at = true, s.now
	for _, sub := range *s.engine.subscriptions.Load() {
		if !sub.ring.TryPush(r) {
			sub.kept.keep(s.number, &r)
		}
		sub.signal()
	}
}
