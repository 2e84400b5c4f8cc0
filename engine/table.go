package engine

import (
	"sync/atomic"

	"systole/engine/detect"
	"systole/engine/internal/udp"
	"systole/ringbuf"
	"systole/wire"
)

// The table holds every peer of the engine in chunks that never move, without a pointer for the
// collector to walk. A slot is an index into it. The shard that owns a slot is slot mod shards,
// for life: it alone writes the slot's peer, also while the slot is free. Others read fields of
// type ringbuf.Word and the two windows.

const (
	chunkBits  = 8
	chunkPeers = 1 << chunkBits
	maxChunks  = 1 << (wire.SlotBits - chunkBits)
	// maxSlots is how many slots there are; slot 0 is nobody's, see wire.Slot.
	maxSlots = chunkPeers * maxChunks
	maxPeers = maxSlots - 1
)

// peer is everything the engine keeps of one peer, apart from the detector's state, the two
// windows and, with keys, the authentication state. Each part is written by one file alone,
// which has its name.
type peer struct {
	verdict  verdict  // peer_verdict.go: the state, and why
	session  session  // peer_session.go: which process it is, and what came from it
	deadline deadline // peer_deadline.go: until when it may be silent
	sends    sends    // peer_sends.go: what was written to it
	pace     pace     // peer_pace.go: how often it is written to
	path     path     // peer_path.go: where it is, and what its way costs
	counts   counts   // peer_counts.go: what happened
}

// chunk is chunkPeers peers and their slabs.
type chunk struct {
	peers     *[chunkPeers]peer // apart, so that it takes whole pages, as do the windows together
	samples   []ringbuf.Word    // windows of the last heartbeats
	summaries []ringbuf.Word    // windows of the detector's summary
	detectors []uint64
	auth      []authState // empty without keys
}

// table is the chunks and the shape of their slabs.
type table struct {
	chunks   [maxChunks]atomic.Pointer[chunk]
	slots    atomic.Uint32 // slots that exist, slot 0 included
	samples  ringbuf.Layout
	summary  ringbuf.Layout
	words    int // of detector state
	keyed    bool
	detector detect.Detector
}

const (
	// sampleWords is the size of an encoded Sample; see sample.go.
	sampleWords = 4
	// summaryRecords is the size of a summary window: readers read one while the owner writes the
	// other.
	summaryRecords = 2
)

// at returns the chunk of slot and the place in it. The slot exists, so the chunk is there.
func (t *table) at(slot uint32) (*chunk, uint32) {
	return t.chunks[slot>>chunkBits].Load(), slot & (chunkPeers - 1)
}

// peer returns the peer in slot, which exists.
func (t *table) peer(slot uint32) *peer {
	c, i := t.at(slot)
	return &c.peers[i]
}

// detectorState returns the detector's words of place i.
func (t *table) detectorState(c *chunk, i uint32) []uint64 {
	return c.detectors[int(i)*t.words : int(i+1)*t.words]
}

// sampleWindow returns the window of heartbeats of place i.
func (t *table) sampleWindow(c *chunk, i uint32) []ringbuf.Word {
	n := t.samples.Size()
	return c.samples[int(i)*n : int(i+1)*n]
}

// summaryWindow returns the window of detector summaries of place i.
func (t *table) summaryWindow(c *chunk, i uint32) []ringbuf.Word {
	n := t.summary.Size()
	return c.summaries[int(i)*n : int(i+1)*n]
}

// extend adds a slot and returns it; false if there are as many as there can be. One goroutine at
// a time calls it.
func (t *table) extend() (uint32, bool) {
	slot := max(t.slots.Load(), 1)
	if slot >= maxSlots {
		return 0, false
	}
	if t.chunks[slot>>chunkBits].Load() == nil {
		n := chunkPeers * t.samples.Size()
		windows := make([]ringbuf.Word, n+chunkPeers*t.summary.Size())
		c := &chunk{
			peers: new([chunkPeers]peer), samples: windows[:n:n], summaries: windows[n:],
			detectors: make([]uint64, chunkPeers*t.words),
		}
		if t.keyed {
			c.auth = make([]authState, chunkPeers)
		}
		t.chunks[slot>>chunkBits].Store(c)
	}
	t.slots.Store(slot + 1)
	return slot, true
}

// shardOf returns the number of the shard that owns slot.
func (e *Engine) shardOf(slot uint32) int { return udp.ShardOf(slot, len(e.shards)) }

// nextGeneration returns the generation of the next peer in a free slot.
func (t *table) nextGeneration(slot uint32) uint32 {
	generation, _, _, _ := unpackStatus(t.peer(slot).verdict.status.Load())
	return max(generation+1, 1)
}
