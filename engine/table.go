package engine

import (
	"sync/atomic"

	"systole/engine/detect"
	"systole/engine/internal/network"
	"systole/engine/internal/prefetch"
	"systole/ringbuf"
	"systole/wire"
)

// The table holds the peers of the engine, in chunks that never move and hold no pointers for the
// garbage collector. A slot is an index into the table. Slot mod shards is the shard that owns the slot
// for ever: it alone writes to the slot's peer, even while the slot is free. Other goroutines read
// fields of type ringbuf.Word, and the two windows.

const (
	chunkBits  = 8
	chunkPeers = 1 << chunkBits
	maxChunks  = 1 << (wire.SlotBits - chunkBits)
	// maxSlots is the number of slots. Slot 0 is not used; see wire.Slot.
	maxSlots = chunkPeers * maxChunks
	maxPeers = maxSlots - 1
)

// peer is the record of one peer. Not in it are the detector's state, the two windows, the
// authentication state and what follow-ups tell. Each part is written to by one file only.
type peer struct {
	verdict  verdict  // peer_verdict.go: its state, and why
	session  session  // peer_session.go: its process, and what was received from it
	deadline deadline // peer_deadline.go: until when it may be silent
	sends    sends    // peer_sends.go: what was sent to it
	pace     pace     // peer_pace.go: the periods of heartbeats
	path     path     // peer_path.go: its address, and the delays to it
	counts   counts   // peer_counts.go: its counters
	slow     slow     // peer_slow.go: the delay that arises at its side
}

// chunk is chunkPeers peers and their slabs.
type chunk struct {
	peers     *[chunkPeers]peer    // an allocation of its own, of whole pages
	samples   []ringbuf.Word       // windows of the last heartbeats
	summaries []ringbuf.Word       // windows of the detector's summary; one allocation with samples
	waits     []ringbuf.Word       // told by the peers' follow-ups: SendWait <<32 | WireDelay, ns; 0: nothing
	detectors []uint64             // state of the detector
	handOffs  []uint64             // to tell the peers: sequence <<32 | wait, ns; wait 0: nothing, or told. Empty unless table.follows
	auth      []authState          // empty without keys
	figures   *[chunkPeers]figures // nil without Config.PeerHistograms
	labels    atomic.Pointer[labelChunk]
	below     []ringbuf.Word // clock.Instant up to which Config.Arrivals was read, 0: it does not watch the peer; empty without it
}

// table is the peer table.
type table struct {
	chunks   [maxChunks]atomic.Pointer[chunk]
	slots    atomic.Uint32 // number of slots in use or free, slot 0 included
	samples  ringbuf.Layout
	summary  ringbuf.Layout
	words    int  // of the detector's state of a peer
	keyed    bool // chunks have authentication state
	taken    bool // chunks have instants of Config.Arrivals
	follows  bool // this node sends follow-ups
	figured  bool // chunks have figures
	detector detect.Detector
}

// summaryRecords is the size of a summary window: readers read one while the owner writes the other.
const summaryRecords = 2

// at returns the chunk of slot and the index in it. The slot must exist.
func (t *table) at(slot uint32) (*chunk, uint32) {
	return t.chunks[slot>>chunkBits].Load(), slot & (chunkPeers - 1)
}

// peer returns the peer in slot. The slot must exist.
func (t *table) peer(slot uint32) *peer {
	c, i := t.at(slot)
	return &c.peers[i]
}

// detectorState returns the detector's state of index i of c.
func (t *table) detectorState(c *chunk, i uint32) []uint64 {
	return c.detectors[int(i)*t.words : int(i+1)*t.words]
}

// sampleWindow returns the window of heartbeats of index i of c.
func (t *table) sampleWindow(c *chunk, i uint32) []ringbuf.Word {
	n := t.samples.Size()
	return c.samples[int(i)*n : int(i+1)*n]
}

// summaryWindow returns the window of detector summaries of index i of c.
func (t *table) summaryWindow(c *chunk, i uint32) []ringbuf.Word {
	n := t.summary.Size()
	return c.summaries[int(i)*n : int(i+1)*n]
}

// prefetch asks for the memory of the peer in slot that a heartbeat of it touches.
func (t *table) prefetch(slot uint32) {
	c, i := t.at(slot)
	prefetch.Value(&c.peers[i])
	prefetch.Slice(t.detectorState(c, i))
	prefetch.Slice(t.summaryWindow(c, i))
	prefetch.Slice(t.sampleWindow(c, i))
}

// extend adds a slot and returns it, or false if the table is full. One goroutine at a time may call
// it.
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
			waits: make([]ringbuf.Word, chunkPeers), detectors: make([]uint64, chunkPeers*t.words),
		}
		if t.follows {
			c.handOffs = make([]uint64, chunkPeers)
		}
		if t.keyed {
			c.auth = make([]authState, chunkPeers)
		}
		if t.figured {
			c.figures = new([chunkPeers]figures)
		}
		if t.taken {
			c.below = make([]ringbuf.Word, chunkPeers)
		}
		t.chunks[slot>>chunkBits].Store(c)
	}
	t.slots.Store(slot + 1)
	return slot, true
}

// shardOf returns the number of the shard that owns slot.
func (e *Engine) shardOf(slot uint32) int { return network.ShardOf(slot, len(e.shards)) }

// nextGeneration returns the generation of the next peer in slot, which is free.
func (t *table) nextGeneration(slot uint32) uint32 {
	generation, _, _, _ := unpackStatus(t.peer(slot).verdict.status.Load())
	return max(generation+1, 1)
}
