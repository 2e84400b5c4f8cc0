package engine

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/internal/timer"
	"systole/engine/internal/udp"
	"systole/ringbuf"
	"systole/wire"
)

// Engine watches peers and is watched by them. Any goroutine may call its methods,
// except Turn, which belongs to one.
type Engine struct {
	cfg          Config
	id           uint64
	incarnation  atomic.Uint64
	keys         atomic.Pointer[wire.KeyRing]
	acknowledged atomic.Bool // some peer has named our incarnation
	degraded     atomic.Bool
	periods      [Classes]atomic.Int64 // as replanned, ns; 0: Config.Period
	revisions    atomic.Uint64         // of periods
	atRisk       bool                  // the background goroutine's
	progress     atomic.Uint64
	sequences    atomic.Uint64 // the last sequence to any peer that was removed
	minReceive   uint32        // µs
	suspectLevel float64
	failLevel    float64

	table   table
	shards  []*shard
	awaited awaited
	slots   atomic.Uint32 // handed out so far; the table holds them
	freed   *ringbuf.MPSC[uint32]

	mu    sync.Mutex // protects what follows, for AddPeer and its like
	free  []uint32
	byID  map[uint64]uint32    // slots by ids that callers gave
	names map[uint32]namedPeer // by slot
	// Generations, by slot, of peers that RemovePeer was called for, until the slot is used again.
	leaving map[uint32]uint32
	closed  bool

	subscriptions atomic.Pointer[[]*Subscription]
	interfaces    interfaces
	asked         chan struct{} // capacity 1: the background goroutine has work
	resolveAt     clock.Instant // in a simulated world: when names are next looked up
	reviseAt      clock.Instant // and periods revised
	departures    atomic.Int32  // shards that have said all goodbyes
	departed      chan struct{} // closed when all have
	stop          context.CancelFunc
	stopping      atomic.Bool
	turning       sync.Mutex    // held by Turn; Close takes it before it closes the sockets
	done          chan struct{} // closed when every goroutine of ours has ended
	running       sync.WaitGroup
}

// Open starts an engine on its sockets. It returns the joined faults of cfg, or the
// first socket, privilege or thread that could not be had, having let go of the rest.
func Open(cfg Config) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	e, err := newEngine(cfg.withDefaults())
	if err != nil {
		return nil, err
	}
	if err := e.openSockets(); err != nil {
		return nil, err
	}
	if err := e.start(); err != nil {
		return nil, errors.Join(err, e.closeSockets())
	}
	e.announce()
	return e, nil
}

// newEngine returns an engine without sockets. cfg is valid and complete.
func newEngine(cfg Config) (*Engine, error) {
	e := &Engine{
		cfg:        cfg,
		id:         cfg.ID,
		minReceive: uint32(cfg.MinReceivePeriod / time.Microsecond),
		byID:       make(map[uint64]uint32),
		names:      make(map[uint32]namedPeer),
		leaving:    make(map[uint32]uint32),
		asked:      make(chan struct{}, 1),
		departed:   make(chan struct{}),
		done:       make(chan struct{}),
	}
	if err := e.chooseName(); err != nil {
		return nil, err
	}
	e.keys.Store(cfg.Keys)
	e.subscriptions.Store(new([]*Subscription))
	d := cfg.Detector
	e.suspectLevel, e.failLevel = d.Levels()
	e.table.detector = d
	e.table.words = d.Words()
	e.table.samples = ringbuf.Layout{Records: cfg.Window, Words: sampleWords}
	e.table.summary = ringbuf.Layout{Records: summaryRecords, Words: d.Summary()}
	e.table.keyed = cfg.Keys != nil
	freed, err := ringbuf.NewMPSC[uint32](commandRing)
	if err != nil {
		return nil, err
	}
	e.freed = freed
	for i := range cfg.Shards {
		s, err := newShard(e, i)
		if err != nil {
			return nil, err
		}
		e.shards = append(e.shards, s)
	}
	return e, nil
}

// chooseName sets the id and the incarnation that the configuration leaves open.
func (e *Engine) chooseName() error {
	incarnation, world := e.cfg.Incarnation, e.cfg.Network
	if e.id == 0 && world != nil {
		e.id = world.Random() | 1
	}
	if e.id == 0 {
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return fmt.Errorf("engine: choose a random id: %w", err)
		}
		e.id = binary.BigEndian.Uint64(b[:]) | 1
	}
	if incarnation == 0 {
		incarnation = uint64(e.reading().Wall)
	}
	e.incarnation.Store(incarnation)
	return nil
}

// reading reads both clocks: the kernel's, or the simulated host's.
func (e *Engine) reading() clock.Reading {
	if e.cfg.Network != nil {
		return e.cfg.Network.Now()
	}
	return clock.Read()
}

// summaryRecords is how many detector summaries a reader can find: one to read while
// the owner writes another.
const summaryRecords = 2

// newShard returns shard number i, without its network.
func newShard(e *Engine, i int) (*shard, error) {
	ring, err := ringbuf.NewMPSC[command](commandRing)
	if err != nil {
		return nil, err
	}
	refusals, err := ringbuf.NewMPSC[refusal](refusalRing)
	if err != nil {
		return nil, err
	}
	stash, err := ringbuf.NewSPSC[uint32](stashSize)
	if err != nil {
		return nil, err
	}
	s := &shard{
		engine: e, table: &e.table, number: i, ring: ring, refusals: refusals, stash: stash,
		wheel: timer.New(wheelShift, 0),
		grid:  grid(e.cfg.Period),
	}
	s.pupils.learner, _ = e.table.detector.(detect.Learner)
	s.tokens.rate = e.cfg.Accept.PerSecond/e.cfg.Shards + 1
	if e.cfg.Keys != nil {
		s.auth = wire.NewAuthenticator()
	}
	return s, nil
}

// ID returns this node's id. Any goroutine may call it.
func (e *Engine) ID() uint64 { return e.id }

// Incarnation returns the incarnation of this node. Any goroutine may call it.
func (e *Engine) Incarnation() uint64 { return e.incarnation.Load() }

// SetProgress sets the counter that rides on every heartbeat for peers to read: work
// done, a log position, a tick. Any goroutine may call it; it costs one store.
func (e *Engine) SetProgress(n uint64) { e.progress.Store(n) }

// SetKeys replaces the key ring, in a step of a rotation; see wire.KeyRing. It takes
// effect with each shard's next turn, and no heartbeat is lost if both rings accept the
// keys that are sent with. It is refused on an engine opened without keys, and nil is:
// authentication cannot be turned on or off in one life. Any goroutine may call it.
func (e *Engine) SetKeys(ring *wire.KeyRing) error {
	if e.cfg.Keys == nil || ring == nil {
		return fieldError("Keys", "authentication is turned on or off at Open only")
	}
	e.keys.Store(ring)
	return nil
}

// SetDegraded tells peers that this node works, but not well. Any goroutine may call it.
func (e *Engine) SetDegraded(on bool) { e.degraded.Store(on) }

// Turn does the work that is due and returns when the next turn is due, or as soon as a
// descriptor of Descriptors is readable. For engines opened with Config.Manual; one
// goroutine at a time may call it, always with a reading not before the last one. It returns
// ErrClosed once Close was called, which waits for a turn that has begun.
func (e *Engine) Turn(r clock.Reading) (clock.Instant, error) {
	if !e.cfg.Manual {
		return 0, ErrManual
	}
	next, err := e.turnOnce(r)
	if err == nil && e.cfg.Network != nil {
		next = e.rest(next)
	}
	return next, err
}

// turnOnce turns the one shard, unless the engine is closed.
func (e *Engine) turnOnce(r clock.Reading) (clock.Instant, error) {
	e.turning.Lock()
	defer e.turning.Unlock()
	if e.stopping.Load() {
		return 0, ErrClosed
	}
	s := e.shards[0]
	s.net.Drain()
	if e.cfg.Network == nil {
		s.watchSuspension(r.Now)
	}
	return s.turn(r), nil
}

// rest ends a turn in a simulated world: what goroutines do elsewhere is done at once, and
// the world is told how long the loop would wait. The turn is over, so it may close.
func (e *Engine) rest(next clock.Instant) clock.Instant {
	s := e.shards[0]
	e.backgroundTurn(s.now)
	if s.leaving.done {
		_ = e.Close() // closing a simulated host's socket cannot fail
	}
	e.cfg.Network.Rest(next, s.quiet())
	return next
}

// Descriptors returns the file descriptors that a program with a loop of its own polls
// for reading beside the instant that Turn returned: one wakes for commands, the others
// have datagrams or errors. Read nothing from them. They are valid until Close.
func (e *Engine) Descriptors() []int {
	if n, ok := e.shards[0].net.(*sockets); ok && e.cfg.Manual {
		return n.descriptors()
	}
	return nil
}

// shardOf returns the shard on which the heartbeats of sender id arrive.
func (e *Engine) shardOf(id uint64) int { return udp.ShardOf(id, len(e.shards)) }

// announce says what an operator should know once.
func (e *Engine) announce() {
	log := e.cfg.Logger
	if log == nil {
		return
	}
	if e.cfg.Keys == nil {
		log.Warn("heartbeats are not authenticated: anyone on the path can forge them; set Config.Keys")
	}
	stats := e.Stats()
	for _, shortage := range stats.Shortages() {
		log.Warn("socket buffer is smaller than this many peers need", "shortage", shortage)
	}
}
