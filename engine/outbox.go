package engine

import (
	"sync/atomic"

	"systole/ringbuf"
)

// outbox is the bodies that one carrier sends: one for all peers, and others for single peers. One
// goroutine at a time sets them, and the shards read them. A body is a window of two records, so a
// shard always finds a whole body while the next one is written.
type outbox struct {
	layout ringbuf.Layout
	all    bodyWindow
	own    [maxChunks]atomic.Pointer[ownBodies]
}

// bodyWindow holds records of a head and a body. The head is the generation of the peer, 0 for all
// peers, <<32 | the bytes of the body plus one; a low half of 0 means no body.
type bodyWindow struct{ words []ringbuf.Word }

// ownBodies is the bodies of single peers of one chunk of the table, nil until the first is set.
type ownBodies [chunkPeers]atomic.Pointer[bodyWindow]

// bodyRecord has room for any record.
type bodyRecord [1 + maxBodyWords]uint64

// newWindow returns a window without a body.
func (o *outbox) newWindow() bodyWindow {
	return bodyWindow{make([]ringbuf.Word, o.layout.Size())}
}

// window returns the window of the body for one peer, and makes it if there is none. The goroutine that
// sets bodies calls it.
func (o *outbox) window(slot uint32) *bodyWindow {
	chunk := &o.own[slot>>chunkBits]
	if chunk.Load() == nil {
		chunk.Store(new(ownBodies))
	}
	w := &chunk.Load()[slot&(chunkPeers-1)]
	if w.Load() == nil {
		made := o.newWindow()
		w.Store(&made)
	}
	return w.Load()
}

// set replaces the body in w, by none if body is nil. rec is scratch.
func (o *outbox) set(w *bodyWindow, generation uint32, body []byte, rec *bodyRecord) {
	rec[0] = uint64(generation) << 32
	if body != nil {
		rec[0] |= uint64(len(body) + 1)
	}
	packBody(rec[1:], body)
	o.layout.Push(w.words, rec[:o.layout.Words])
}

// body reads into rec the body that the peer in slot gets: its own, else the one for all. It returns
// how many bytes the body has, false if there is none. Shards call it.
func (o *outbox) body(slot, generation uint32, rec *bodyRecord) (int, bool) {
	if chunk := o.own[slot>>chunkBits].Load(); chunk != nil {
		if w := chunk[slot&(chunkPeers-1)].Load(); w != nil {
			if n, ok := o.read(w, generation, rec); ok {
				return n, true
			}
		}
	}
	return o.read(&o.all, 0, rec)
}

// read reads the body in w into rec. It reports false if there is none, or one for a former peer.
func (o *outbox) read(w *bodyWindow, generation uint32, rec *bodyRecord) (int, bool) {
	if !o.layout.Last(w.words, rec[:o.layout.Words]) || rec[0]>>32 != uint64(generation) {
		return 0, false
	}
	n := int(uint32(rec[0]))
	return n - 1, n > 0
}
