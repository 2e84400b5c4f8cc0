package engine

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/internal/book"
	"systole/engine/internal/names"
	"systole/engine/internal/timer"
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
	degraded     atomic.Bool
	periods      [Classes]atomic.Int64 // as replanned, ns; 0: Config.Period
	revisions    atomic.Uint64         // of periods
	atRisk       bool                  // the background goroutine's
	progress     atomic.Uint64
	sessions     atomic.Uint64 // that have begun
	minReceive   uint32        // µs
	suspectLevel float64
	failLevel    float64
	secret       [32]byte // of the discriminators that are made without state

	table    table
	shards   []*shard
	book     book.Book
	freed    *ringbuf.MPSC[uint32]
	notes    *ringbuf.MPSC[note]
	refusals refusals // the logging goroutine's

	mu      sync.Mutex // protects what follows, for AddPeer and its like
	free    []uint32
	named   map[uint32]named  // by slot
	byName  map[named]uint32  // slots
	zoned   map[uint32]zoned  // by slot
	leaving map[uint32]uint32 // generations of peers that RemovePeer was called for, by slot
	closed  bool

	subscriptions atomic.Pointer[[]*Subscription]
	interfaces    interfaces
	names         *names.Runner
	asked         chan struct{} // capacity 1: the background goroutine has work
	twins         twins         // the background goroutine's
	reviseAt      clock.Instant // in a simulated world: when periods are next revised
	departures    atomic.Int32  // shards that have said all goodbyes
	departed      chan struct{} // closed when all have
	stop          context.CancelFunc
	stopping      atomic.Bool
	ended         atomic.Bool   // nobody is watched any more
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
		named:      make(map[uint32]named),
		zoned:      make(map[uint32]zoned),
		byName:     make(map[named]uint32),
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
	if e.notes, err = ringbuf.NewMPSC[note](noteRing); err != nil {
		return nil, err
	}
	if err := e.drawSecret(); err != nil {
		return nil, err
	}
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

// drawSecret draws what makes discriminators that are made without state unpredictable.
func (e *Engine) drawSecret() error {
	if w := e.cfg.Network; w != nil {
		binary.BigEndian.PutUint64(e.secret[:], w.Random())
		return nil
	}
	if _, err := rand.Read(e.secret[:]); err != nil {
		return fmt.Errorf("engine: draw a secret: %w", err)
	}
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
	letters, err := ringbuf.NewMPSC[letter](letterRing)
	if err != nil {
		return nil, err
	}
	stash, err := ringbuf.NewSPSC[uint32](stashSize)
	if err != nil {
		return nil, err
	}
	s := &shard{
		engine: e, table: &e.table, number: i, ring: ring, letters: letters, stash: stash,
		wheel: timer.New(wheelShift, 0),
		grid:  grid(e.cfg.Period),
	}
	s.learners.learner, _ = e.table.detector.(detect.Learner)
	var seed [32]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, fmt.Errorf("engine: seed discriminators: %w", err)
	}
	s.chance = mrand.NewChaCha8(seed)
	if e.cfg.Keys != nil {
		s.auth = wire.NewAuthenticator()
	}
	return s, nil
}

// ID returns this node's id. Any goroutine may call it.
func (e *Engine) ID() uint64 { return e.id }

// Incarnation returns the incarnation of this node. Any goroutine may call it.
func (e *Engine) Incarnation() uint64 { return e.incarnation.Load() }

// Reincarnate begins a new incarnation of this node, as a restart would: peers that have declared it
// failed for good take it back, and see it restarted. Handles, subscriptions and counters stay. It
// returns the new incarnation, which follows the wall clock, and is greater than the one before.
// Any goroutine may call it.
func (e *Engine) Reincarnate() uint64 {
	for {
		now := e.incarnation.Load()
		next := max(uint64(e.reading().Wall), now+1)
		if e.incarnation.CompareAndSwap(now, next) {
			return next
		}
	}
}

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
	if err := ring.Validate(); err != nil {
		return fieldError("Keys", "%w", err)
	}
	e.keys.Store(ring)
	return nil
}

// Grid returns the raster of this node's sends, a whole fraction of Config.Period of at most 4 ms:
// the loops turn on it anyway. Any goroutine may call it.
func (e *Engine) Grid() time.Duration { return e.shards[0].grid }

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
	next = min(next, max(e.simulatedTurn(s.now), s.now+1))
	s.wakeAt = next
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
