package engine

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"systole/engine/clock"
	"systole/ringbuf"
	"systole/wire"
)

// MaxRoom is how many bytes of a heartbeat all carriers of an engine share: what a datagram with a tag
// leaves. A carrier takes its Room and the 4 bytes before each message.
const MaxRoom = wire.MaxSize - wire.HeaderSize - wire.TagSize

// FirstProgramType is the lowest message type that is free for programs. Those below are reserved for
// packages of this module.
const FirstProgramType = 0x8000

// Carrier carries messages of one type: it sends bodies with the heartbeats of this node, and delivers
// those that came with the heartbeats of peers. It copies bodies and has no callbacks. Any goroutine may
// call its methods.
//
// A message is as unreliable as the heartbeat that it is part of. The latest wins: Set replaces the
// body before it, and a slow reader gets, of the messages that arrived, the newest of each peer.
type Carrier struct {
	engine      *Engine
	messageType uint16
	room        int
	wake        chan struct{} // capacity 1: a message may wait
	closed      atomic.Bool

	in      inbox
	reading sync.Mutex    // held by TryNext
	taken   messageRecord // scratch of TryNext

	out     outbox
	setting sync.Mutex // held by Set
	given   bodyRecord // scratch of Set
}

// CarryOptions configures a carrier.
type CarryOptions struct {
	// Room is the length of the longest body, sent or received, in bytes: from 1 to 1076. The rooms of
	// all carriers of an engine, each plus 4, add up to MaxRoom at most.
	Room int
	// Reserved claims a type below FirstProgramType, for a package of this module.
	Reserved bool
}

// Delivery is one message of a peer.
type Delivery struct {
	Peer        Peer          // may be Removed by now
	Incarnation uint64        // of the peer's process that sent it; Peer may have restarted since
	Sequence    uint64        // of the heartbeat that it came with
	At          clock.Instant // when that heartbeat arrived
	Body        []byte        // a copy
	// Merged is how many messages this one has replaced before they were delivered: of Peer, or of a
	// removed peer whose place in the table Peer has got.
	Merged int
}

// ErrTypeTaken: another carrier of the engine has the message type.
var ErrTypeTaken = errors.New("engine: message type is taken; close the carrier that has it, or choose another type")

// RoomError says that there is too little room: for a further carrier beside those of its engine (Carry), or
// for a body in its carrier (Set).
type RoomError struct {
	Size int // the Room that was asked for, or the size of the body, in bytes
	Left int // the longest that there is room for, in bytes; 0 if there is none

	body bool // of Set
}

// Error says what would fit.
func (e *RoomError) Error() string {
	if e.body {
		return fmt.Sprintf("engine: a body of %d bytes does not fit the carrier's room of %d", e.Size, e.Left)
	}
	return fmt.Sprintf("engine: no room for messages of %d bytes: of the %d bytes that all carriers share, %d are left",
		e.Size, MaxRoom, e.Left)
}

// Carry claims a message type for a carrier, which sends and receives messages of that type from the
// next turn on. It returns a *FieldError for a type that is reserved or a Room out of range, ErrTypeTaken, a
// *RoomError if other carriers leave too little room, or ErrClosed. Any goroutine may call it.
//
// Until Close a carrier takes 100 KiB of memory, besides Room + 64 bytes per slot of the peer table, 256
// slots at a time, and 2·Room + 100 bytes for each peer that Set has given a body of its own.
func (e *Engine) Carry(messageType uint16, o CarryOptions) (*Carrier, error) {
	if messageType < FirstProgramType && !o.Reserved {
		return nil, fieldError("messageType", "%#x is reserved; choose one from %#x on", messageType, FirstProgramType)
	}
	if longest := MaxRoom - wire.MessageHeaderSize; o.Room < 1 || o.Room > longest {
		return nil, fieldError("Room", "%d is not within 1 to %d", o.Room, longest)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopping.Load() {
		return nil, ErrClosed
	}
	carriers := *e.carriers.Load()
	left := MaxRoom - wire.MessageHeaderSize
	for _, c := range carriers {
		if c.messageType == messageType {
			return nil, ErrTypeTaken
		}
		left -= c.room + wire.MessageHeaderSize
	}
	if o.Room > left {
		return nil, &RoomError{Size: o.Room, Left: max(left, 0)}
	}
	c := newCarrier(e, messageType, o.Room)
	carriers = append(slices.Clone(carriers), c)
	e.carriers.Store(&carriers)
	return c, nil
}

// newCarrier returns a carrier with room for the messages of all present slots. e.mu is held.
func newCarrier(e *Engine, messageType uint16, room int) *Carrier {
	c := &Carrier{engine: e, messageType: messageType, room: room, wake: make(chan struct{}, 1)}
	c.in.layout = ringbuf.Layout{Records: 1, Words: messageBody + bodyWords(room)}
	c.out.layout = ringbuf.Layout{Records: 2, Words: 1 + bodyWords(room)}
	c.out.all = c.out.newWindow()
	for slot := uint32(0); slot < e.table.slots.Load(); slot += chunkPeers {
		c.in.reserve(slot)
	}
	return c
}

// Set sends body with each heartbeat to p, from the next one on, until it is replaced. For the zero Peer
// it sends body to every peer, present and future, that has none of its own; a nil body ends that. For
// another p it gives p a body of its own; a nil body takes it away. An empty body that is not nil is a
// message without bytes. The body is copied.
//
// A peer gets messages once it has proved to hear this node. A stranger gets as many bytes of messages
// as came from it, and so none if it sends none.
//
// Set returns a *RoomError if body is longer than the carrier's Room, ErrNoPeer if p was removed, or ErrClosed. It does not wait for the loop.
func (c *Carrier) Set(p Peer, body []byte) error {
	if len(body) > c.room {
		return &RoomError{Size: len(body), Left: c.room, body: true}
	}
	c.setting.Lock()
	defer c.setting.Unlock()
	if c.ended() {
		return ErrClosed
	}
	if p.IsZero() {
		c.out.set(&c.out.all, 0, body, &c.given)
		return nil
	}
	if !c.reaches(p) {
		return ErrNoPeer
	}
	c.out.set(c.out.window(p.slot), p.generation, body, &c.given)
	return nil
}

// Push sends p one heartbeat ahead of the schedule, so that what Set has set arrives soon: at once, or
// an eighth of the period after the last heartbeat. A stranger that has sent too little, and a peer
// that failed or left, get it with the next heartbeat. Push returns ErrNoPeer if p is zero or was
// removed, ErrBusy if the command ring is full, or ErrClosed. It does not wait for the loop.
func (c *Carrier) Push(p Peer) error {
	switch {
	case c.ended():
		return ErrClosed
	case !c.reaches(p):
		return ErrNoPeer
	case !c.engine.tell(command{kind: commandPush, slot: p.slot, generation: p.generation}):
		return ErrBusy
	}
	return nil
}

// ended reports whether the carrier or its engine is closed.
func (c *Carrier) ended() bool { return c.closed.Load() || c.engine.stopping.Load() }

// reaches reports whether p is a peer of the carrier's engine and is not removed.
func (c *Carrier) reaches(p Peer) bool { return p.engine == c.engine && p.State() != Removed }

// TryNext returns the newest message of a peer that sent one since the last that was delivered, false if
// there is none. Peers take turns. The Body is in the memory of buf; if buf has less capacity than the
// message, the Body is in new memory, so a buf of Room bytes always does.
//
// A message is delivered if the heartbeat that it came with was accepted: it was authentic, of the
// peer's present session and later than any before, it echoed this node's present incarnation, and
// it was not held back on its path. The heartbeat that begins a session delivers nothing.
func (c *Carrier) TryNext(buf []byte) (Delivery, bool) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.closed.Load() {
		return Delivery{}, false
	}
	slot, merged, ok := c.in.take(&c.engine.table.slots, &c.taken)
	if !ok {
		return Delivery{}, false
	}
	return c.taken.delivery(c.engine, slot, merged, buf), true
}

// Wake returns a channel that is readable when TryNext may have a message. Receive from it first, then
// call TryNext until there is no more message. It is not closed: see Engine.Done.
func (c *Carrier) Wake() <-chan struct{} { return c.wake }

// Close ends the carrier: its bodies are no longer sent, what waits is not delivered, and its type and
// room are free. A second call does nothing.
func (c *Carrier) Close() {
	e := c.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	c.closed.Store(true)
	carriers := slices.DeleteFunc(slices.Clone(*e.carriers.Load()), func(o *Carrier) bool { return o == c })
	e.carriers.Store(&carriers)
}

// wakeReaders wakes the readers of all carriers for which messages came.
func (s *shard) wakeReaders() {
	for _, c := range s.carriers {
		if c.in.news.Load() && c.in.news.Swap(false) {
			c.signal()
		}
	}
}

// signal wakes a reader that waits.
func (c *Carrier) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}
