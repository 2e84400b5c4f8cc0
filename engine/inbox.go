package engine

import (
	"encoding/binary"
	"sync/atomic"

	"systole/engine/clock"
	"systole/ringbuf"
)

// inbox is the messages that came for one carrier: the newest of each peer. It has a place per slot of
// the peer table. The shard that owns the slot writes it, and one reader at a time reads it. A place
// is a window of one record, so a message replaces the one before it.
type inbox struct {
	layout  ringbuf.Layout
	chunks  [maxChunks]atomic.Pointer[inboxChunk]
	waiting slotSet     // places that the reader has to read
	news    atomic.Bool // a message came since the reader was last woken
}

// inboxChunk is the places of one chunk of the table.
type inboxChunk struct {
	windows []ringbuf.Word
	read    [chunkPeers]uint64 // the reader's: count of the last message that it read
}

// The words of a record.
const (
	messagePeer        = iota // generation of the peer<<32 | bytes of the body
	messageIncarnation        // of the sender
	messageSequence           // of the heartbeat
	messageArrival            // clock.Instant of the heartbeat
	messageCount              // messages in this place so far
	messageBody
)

// bodyWords returns how many words a body of n bytes takes.
func bodyWords(n int) int { return (n + 7) / 8 }

// maxBodyWords is the size of the longest body.
const maxBodyWords = (MaxRoom + 7) / 8

// messageRecord has room for any record.
type messageRecord [messageBody + maxBodyWords]uint64

// reserve allocates the places of the chunk that slot is in. One goroutine at a time may call it.
func (b *inbox) reserve(slot uint32) {
	b.waiting.reserve(slot)
	if p := &b.chunks[slot>>chunkBits]; p.Load() == nil {
		p.Store(&inboxChunk{windows: make([]ringbuf.Word, chunkPeers*b.layout.Size())})
	}
}

// window returns the place of index i of c.
func (b *inbox) window(c *inboxChunk, i uint32) []ringbuf.Word {
	n := b.layout.Size()
	return c.windows[int(i)*n : int(i+1)*n]
}

// put replaces the message in the place of slot. The shard of the slot calls it.
func (b *inbox) put(slot uint32, rec *messageRecord) {
	c := b.chunks[slot>>chunkBits].Load()
	if c == nil {
		return // the carrier was closed before the slot existed
	}
	w := b.window(c, slot&(chunkPeers-1))
	rec[messageCount] = b.layout.Total(w) + 1
	b.layout.Push(w, rec[:b.layout.Words])
	b.waiting.mark(slot)
	b.news.Store(true)
}

// take reads a message that was not read yet into rec, and returns its slot and how many messages of
// that place it has replaced unread. slots is the number of slots of the table. It reports false if no
// message waits. One reader at a time may call it.
func (b *inbox) take(slots *atomic.Uint32, rec *messageRecord) (slot uint32, merged int, ok bool) {
	for {
		slot, ok := b.waiting.take(slots)
		if !ok {
			return 0, 0, false
		}
		c, i := b.chunks[slot>>chunkBits].Load(), slot&(chunkPeers-1)
		if !b.layout.Last(b.window(c, i), rec[:b.layout.Words]) {
			continue // a shard is writing, and marks the slot when it has written
		}
		if count := rec[messageCount]; count != c.read[i] {
			merged = int(count - c.read[i] - 1)
			c.read[i] = count
			return slot, merged, true
		}
	}
}

// delivery returns the message in rec, of slot of e. The body is copied into buf, or into new memory if
// buf is too short.
func (rec *messageRecord) delivery(e *Engine, slot uint32, merged int, buf []byte) Delivery {
	n := int(uint32(rec[messagePeer]))
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	unpackBody(buf, rec[messageBody:])
	return Delivery{
		Peer:        Peer{e, slot, uint32(rec[messagePeer] >> 32)},
		Incarnation: rec[messageIncarnation], Sequence: rec[messageSequence],
		At: clock.Instant(rec[messageArrival]), Body: buf, Merged: merged,
	}
}

// packBody copies bytes into words, which are as many as bodyWords says or more.
func packBody(words []uint64, b []byte) {
	for ; len(b) >= 8; b, words = b[8:], words[1:] {
		words[0] = binary.LittleEndian.Uint64(b)
	}
	if len(b) > 0 {
		var last [8]byte
		copy(last[:], b)
		words[0] = binary.LittleEndian.Uint64(last[:])
	}
}

// unpackBody is the inverse of packBody.
func unpackBody(b []byte, words []uint64) {
	for ; len(b) >= 8; b, words = b[8:], words[1:] {
		binary.LittleEndian.PutUint64(b, words[0])
	}
	if len(b) > 0 {
		var last [8]byte
		binary.LittleEndian.PutUint64(last[:], words[0])
		copy(b, last[:])
	}
}
