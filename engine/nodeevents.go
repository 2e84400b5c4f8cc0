package engine

import (
	"sync/atomic"

	"systole/engine/clock"
	"systole/ringbuf"
)

// keptEvents holds the events about this node that a reader's ring had no room for: of each
// cause the last one of each shard. So what is told only once, as PromiseAtRisk is, arrives,
// and a stuck reader costs the shards a few stores.
type keptEvents struct {
	some  atomic.Bool    // there may be one
	words []ringbuf.Word // a window per shard and cause: shards write, the reader reads
	told  []uint64       // how many of each the reader was told of, merged ones counted; its own
}

// keptLayout is two events, each its instant, its pause, an id and an incarnation, and two peers: the
// reader reads one while the shard writes the other.
var keptLayout = ringbuf.Layout{Records: 2, Words: 6}

// nodeCauses is how many causes tell of this node, from LocalPause on.
const nodeCauses = int(PromiseAtRisk-LocalPause) + 1

// newKeptEvents returns room for the events of so many shards.
func newKeptEvents(shards int) keptEvents {
	n := shards * nodeCauses
	return keptEvents{words: make([]ringbuf.Word, n*keptLayout.Size()), told: make([]uint64, n)}
}

// window returns window i.
func (k *keptEvents) window(i int) []ringbuf.Word {
	n := keptLayout.Size()
	return k.words[i*n : (i+1)*n]
}

// keep keeps r, in place of an earlier one of its cause. Only the shard itself calls it.
func (k *keptEvents) keep(shard int, r *record) {
	rec := [...]uint64{
		uint64(r.at), uint64(r.pause), r.id, r.incarnation,
		uint64(r.generation)<<32 | uint64(r.slot), uint64(r.otherOf)<<32 | uint64(r.other),
	}
	keptLayout.Push(k.window(shard*nodeCauses+int(r.cause-LocalPause)), rec[:])
	k.some.Store(true)
}

// next returns an event that was kept and not told. Only the reader calls it.
func (k *keptEvents) next(e *Engine) (Event, bool) {
	// The flag falls before the look, so that nothing that is kept meanwhile is missed.
	if !k.some.Load() || !k.some.Swap(false) {
		return Event{}, false
	}
	for i := range k.told {
		var rec [6]uint64
		n, total := keptLayout.Snapshot(k.window(i), rec[:])
		if total == k.told[i] {
			continue
		}
		k.some.Store(true) // there may be others
		if n == 0 {
			continue // its shard wrote two meanwhile: at the next look
		}
		merged := int(total - k.told[i] - 1)
		k.told[i] = total
		r := record{
			node: true, cause: LocalPause + Cause(i%nodeCauses), at: clock.Instant(rec[0]), pause: int64(rec[1]), id: rec[2], incarnation: rec[3],
			slot: uint32(rec[4]), generation: uint32(rec[4] >> 32), other: uint32(rec[5]), otherOf: uint32(rec[5] >> 32),
		}
		return r.event(e, merged), true
	}
	return Event{}, false
}

// publishNode hands an event about this node to every subscription.
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
