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
	"systole/engine/internal/book"
	"systole/engine/internal/names"
	"systole/engine/internal/network"
	"systole/ringbuf"
	"systole/wire"
)

// Engine watches peers, and sends heartbeats by which they watch this node. Any goroutine may call
// its methods, except Turn.
type Engine struct {
	cfg          Config
	id           uint64
	incarnation  atomic.Uint64
	keys         atomic.Pointer[wire.KeyRing]
	degraded     atomic.Bool
	progress     atomic.Uint64
	periods      [Classes + 1]atomic.Int64 // revised periods in ns; 0: Config.Period
	sessions     atomic.Uint64             // number of sessions that began
	minReceive   uint32                    // Config.MinReceivePeriod in µs
	suspectLevel float64
	failLevel    float64
	secret       [32]byte // key of the stateless discriminators

	table         table
	labels        labels
	shards        []*shard
	book          book.Book
	freed         *ringbuf.MPSC[uint32]
	notes         chan note
	subscriptions atomic.Pointer[[]*Subscription]
	carriers      atomic.Pointer[[]*Carrier]
	contexts      contexts // of Peer.Context
	interfaces    interfaces
	names         *names.Runner
	asked         chan struct{} // capacity 1: shard 0 is short of free slots

	// Of the background goroutine.
	twins    twins
	reviseAt clock.Instant // next revision of periods
	atRisk   bool          // PromiseAtRisk was published

	// Of the logging goroutine.
	refusals refusals

	mu      sync.Mutex          // guards the fields of this group
	free    []uint32            // free slots
	named   map[uint32]named    // peers with a name, by slot
	byName  map[named]names.Key // the peers with a name, by it
	zoned   map[uint32]zoned    // peers whose address names an interface, by slot
	options map[uint32]options  // of configured peers, by slot, unless they are the default
	leaving map[uint32]uint32   // generations of peers that RemovePeer was called for, by slot

	setting    chan struct{}      // capacity 1: SetPeers runs
	toldOwn    bool               // of SetPeers: the log knows that lists have this node in them
	departures atomic.Int32       // number of shards that have sent all goodbyes
	departed   chan struct{}      // closed when all shards have
	stop       context.CancelFunc // ends the background and the logging goroutine
	stopping   atomic.Bool        // Close was called; set while mu is held
	ended      atomic.Bool        // the loops have ended
	turning    sync.Mutex         // held by Turn; Close locks it before it closes the sockets
	running    sync.WaitGroup     // goroutines that Close waits for
	done       chan struct{}      // closed at the end of Close
}

var (
	// ErrClosed: the engine was closed or shut down.
	ErrClosed = errors.New("engine: closed")
	// ErrNoPeer: the peer was removed, or is of another engine.
	ErrNoPeer = errors.New("engine: no such peer; it was removed")
	// ErrDuplicate: a peer with that name, or that address and id, was added before.
	ErrDuplicate = errors.New("engine: peer is watched already")
	// ErrBusy: the command ring of a shard is full. Call Turn, or try again later.
	ErrBusy = errors.New("engine: command ring full; the loop has not turned")
	// ErrFull: the peer table is full.
	ErrFull = fmt.Errorf("engine: table full at %d peers", maxPeers)
)

// Open starts an engine. It returns the joined faults of cfg, or why a socket, a privilege or a
// thread is not available; then nothing stays open.
func Open(cfg Config) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	e := newEngine(cfg.withDefaults())
	if err := e.openSockets(); err != nil {
		return nil, err
	}
	if err := e.start(); err != nil {
		return nil, errors.Join(err, e.closeSockets())
	}
	e.announce()
	return e, nil
}

// Package enginetest opens engines on simulated hosts by network.OpenEngine.
func init() { network.OpenEngine = openSimulated }

// openSimulated opens an engine on a simulated host.
func openSimulated(cfg Config, world network.World) (*Engine, error) {
	if !cfg.Manual || len(cfg.Listen) > 0 {
		return nil, fieldError("Manual", "a simulated host has its own loop and address: set Manual, and no Listen")
	}
	cfg.world = world
	return Open(cfg)
}

// newEngine returns an engine without sockets. cfg is valid and has its defaults.
func newEngine(cfg Config) *Engine {
	e := &Engine{
		cfg:        cfg,
		id:         cfg.ID,
		minReceive: uint32(cfg.MinReceivePeriod / time.Microsecond),
		named:      make(map[uint32]named),
		zoned:      make(map[uint32]zoned),
		byName:     make(map[named]names.Key),
		leaving:    make(map[uint32]uint32),
		options:    make(map[uint32]options),
		setting:    make(chan struct{}, 1),
		freed:      mustRing(ringbuf.NewMPSC[uint32](commandRing)),
		notes:      make(chan note, maxNotes),
		asked:      make(chan struct{}, 1),
		departed:   make(chan struct{}),
		done:       make(chan struct{}),
	}
	e.labels.table = &e.table
	e.identify()
	e.keys.Store(cfg.Keys)
	e.subscriptions.Store(new([]*Subscription))
	e.carriers.Store(new([]*Carrier))
	e.contexts.begin(e)
	d := cfg.Detector
	e.suspectLevel, e.failLevel = d.Levels()
	e.table.detector = d
	e.table.words = d.Words()
	e.table.samples = ringbuf.Layout{Records: cfg.Window, Words: sampleWords}
	e.table.summary = ringbuf.Layout{Records: summaryRecords, Words: d.Summary()}
	e.table.keyed = cfg.Keys != nil
	e.table.taken = cfg.Arrivals != nil
	e.table.figured = cfg.PeerHistograms
	e.table.follows = cfg.StampSends > 0 || cfg.Arrivals != nil
	for i := range cfg.Shards {
		e.shards = append(e.shards, newShard(e, i))
	}
	return e
}

// identify sets the id, the incarnation and the secret.
func (e *Engine) identify() {
	if e.id == 0 {
		e.id = e.random() | 1
	}
	incarnation := e.cfg.Incarnation
	if incarnation == 0 {
		incarnation = uint64(e.reading().Wall)
	}
	e.incarnation.Store(incarnation)
	if e.cfg.world != nil {
		binary.BigEndian.PutUint64(e.secret[:], e.random())
		return
	}
	rand.Read(e.secret[:]) // never fails
}

// random returns 64 bits from crypto/rand, or from the simulated world.
func (e *Engine) random() uint64 {
	if e.cfg.world != nil {
		return e.cfg.world.Random()
	}
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:])
}

// mustRing returns ring. An error would mean that its size, a constant, is not a power of two.
func mustRing[R any](ring R, err error) R {
	if err != nil {
		panic(err)
	}
	return ring
}

// reading reads both clocks of the kernel or of the simulated host.
func (e *Engine) reading() clock.Reading {
	if e.cfg.world != nil {
		return e.cfg.world.Now()
	}
	return clock.Read()
}

// ID returns this node's id. Any goroutine may call it.
func (e *Engine) ID() uint64 { return e.id }

// Incarnation returns the incarnation of this node. Any goroutine may call it.
func (e *Engine) Incarnation() uint64 { return e.incarnation.Load() }

// Reincarnate begins a new incarnation of this node, as a restart does: peers that have declared this
// node failed for good see it restarted, and alive. Handles, subscriptions and counters stay. It
// returns the new incarnation: the wall clock in nanoseconds, or the previous incarnation plus one if
// that is greater. Any goroutine may call it.
func (e *Engine) Reincarnate() uint64 {
	for {
		now := e.incarnation.Load()
		next := max(uint64(e.reading().Wall), now+1)
		if e.incarnation.CompareAndSwap(now, next) {
			return next
		}
	}
}

// SetProgress sets the progress counter that every heartbeat carries, such as work done or a log
// position; peers read it in PeerStats. Any goroutine may call it; it costs one store.
func (e *Engine) SetProgress(n uint64) { e.progress.Store(n) }

// SetKeys replaces the key ring, as one step of a rotation; see wire.KeyRing. The new ring takes
// effect with each shard's next turn. No heartbeat is lost if both rings accept the keys in use. It
// returns a *FieldError for a faulty or nil ring, or if the engine was opened without keys:
// authentication is turned on or off by Open only. Any goroutine may call it.
func (e *Engine) SetKeys(ring *wire.KeyRing) error {
	if e.cfg.Keys == nil || ring == nil {
		return fieldError("Keys", "authentication is turned on or off by Open only")
	}
	if err := ring.Validate(); err != nil {
		return fieldError("Keys", "%w", err)
	}
	e.keys.Store(ring)
	return nil
}

// Grid returns the step of the grid of this node's sends, a whole fraction of Config.Period of at most 4 ms:
// the loops turn on it anyway. Any goroutine may call it.
func (e *Engine) Grid() time.Duration { return e.shards[0].grid }

// SetDegraded sets the degraded flag that every heartbeat carries: this node works, but not well. Any
// goroutine may call it.
func (e *Engine) SetDegraded(on bool) { e.degraded.Store(on) }

// Turn does the work that is due, and returns when to call it again: then, or as soon as one of
// Descriptors is readable. It is for engines opened with Config.Manual, and returns an error on
// others. Readings must not go back. It returns ErrClosed once Close was called; Close waits for a
// running Turn. One goroutine at a time may call it.
func (e *Engine) Turn(r clock.Reading) (clock.Instant, error) {
	if !e.cfg.Manual {
		return 0, errors.New("engine: Turn needs Config.Manual")
	}
	next, err := e.turnOnce(r)
	if err == nil && e.cfg.world != nil {
		next = e.rest(next)
	}
	return next, err
}

// turnOnce turns the only shard, unless the engine is closed.
func (e *Engine) turnOnce(r clock.Reading) (clock.Instant, error) {
	e.turning.Lock()
	defer e.turning.Unlock()
	if e.stopping.Load() {
		return 0, ErrClosed
	}
	s := e.shards[0]
	s.net.Drain()
	if e.cfg.world == nil {
		s.watchSuspension(r.Now)
	}
	return s.turn(r), nil
}

// rest ends a turn in a simulated world. It does the work of the other goroutines, and tells the world
// how long the loop would wait. The turn is over, so rest may close the engine.
func (e *Engine) rest(next clock.Instant) clock.Instant {
	s := e.shards[0]
	next = min(next, max(e.simulatedTurn(s.now), s.now+1))
	s.wakeAt = next
	if s.leaving.done() {
		_ = e.Close() // closing a simulated host's socket cannot fail
	}
	e.cfg.world.Rest(next, s.quiet())
	return next
}

// Descriptors returns the file descriptors that the loop of a program polls between turns, for
// reading. They are valid until Close; only the engine reads from them. Without Config.Manual there
// are none, nor on systems other than Linux: there a program turns once per Grid, or as often as
// it wants its peers to be answered. Any goroutine may call it.
func (e *Engine) Descriptors() []int {
	if n, ok := e.shards[0].net.(interface{ descriptors() []int }); ok && e.cfg.Manual {
		return n.descriptors()
	}
	return nil
}

// announce logs what an operator should know about the configuration.
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
