package engine

import (
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/internal/book"
	"systole/engine/internal/network"
	"systole/engine/internal/timer"
	"systole/engine/internal/udp"
	"systole/engine/recording"
	"systole/ringbuf"
	"systole/wire"
)

// shard is one owner loop: its sockets, its part of the peer table, its wheel and its
// buffers. One goroutine turns it; fields without a type of package ringbuf are that
// goroutine's alone.
type shard struct {
	engine *Engine
	table  *table
	number int
	net    network.Network
	wheel  *timer.Wheel
	ring   *ringbuf.MPSC[command]
	// What other shards have read that is about peers of this one.
	letters *ringbuf.MPSC[letter]

	// Of the present turn.
	reading    clock.Reading
	now        clock.Instant // reading.Now
	drained    clock.Instant // everything that arrived until then has been read
	sure       clock.Instant // the same, even if an error cut the last batch short
	sureAsked  bool          // the sockets were asked whether one did
	readAsked  bool          // commandRead came: the sockets are to be read
	unfinished bool          // a bound was reached: turn again at once
	dropsAsked bool          // the sockets were asked for their drops in this turn
	stamped    bool          // the present datagram has a kernel's stamp

	// Across turns.
	previous   clock.Reading // of the turn before
	wakeAt     clock.Instant // when the turn before wanted the next one
	lastRead   clock.Instant // when the sockets were last read empty
	lastSure   clock.Instant // and up to when for certain
	failedAt   clock.Instant // when one could not be read last
	grid       time.Duration // the grid of sends
	incarnated uint64        // the engine's incarnation as of this turn
	// When it began, if not with the engine.
	incarnatedAt clock.Instant
	alive        int // peers of this shard that are alive or one-way
	linksGone    int // peers that our side has no way to
	// Of alive, those that were admitted.
	aliveStrangers int
	suspended      time.Duration // of the machine, in all, as of suspendedAt
	suspendedAt    clock.Instant
	collidedAt     clock.Instant              // last IDCollision published of a process with our id
	notedAt        [numRefusals]clock.Instant // when a refusal was last noted for the log
	dropsAt        clock.Instant              // when the sockets were last asked for their drops
	drops          uint32                     // datagrams the kernel dropped before we read them
	answered       uint64                     // the sequence of the last answer made without state
	leaving        leaving
	cost           turnCost
	pause          pauses
	silences       silences
	// The same of strangers.
	silentStrangers silences
	learners        learners
	periods         [Classes + 1]int64 // of heartbeats, ns, as planned; 0: as configured
	revisions       uint64             // of periods
	unfreed         []uint32           // slots released in this turn, or that the full ring did not take

	// Scratch, reused for ever.
	in           wire.Header
	out          wire.Header
	beat         detect.Heartbeat
	recorded     recording.Heartbeat
	at           udp.Addr // where a peer is, for the network
	auth         *wire.Authenticator
	keys         *wire.KeyRing // as of this turn
	keyEpoch     uint32        // how often they changed
	pairwise     bool          // some need the peer's id
	key          wire.Key
	own, derived signer // of our datagrams, and of those that no peer keeps one for
	expired      [timersPerTurn]uint32
	commandBatch [64]command
	letter       letter
	opened       [1]letter
	entries      []book.Entry
	homes        map[uint32]udp.Addr   // of peers that have moved, by slot
	stash        *ringbuf.SPSC[uint32] // free slots for strangers; shard 0's
	spare        uint32                // a slot popped from stash and not used yet

	counters counters
	shown    shownEvidence
}

const (
	// batchSize is how many datagrams one system call carries.
	batchSize = network.BatchSize
	// batchesPerTurn bounds the reading of one socket in one turn.
	batchesPerTurn = 8
	// timersPerTurn bounds the timers served in one turn.
	timersPerTurn = 2048
	// wheelShift is the wheel's tick, 2^16 ns = 66 µs: the grid of deadlines. Waking
	// is less exact than that.
	wheelShift = 16
)

// sendTimer and judgeTimer are the two timers of the peer in slot.
func sendTimer(slot uint32) uint32  { return slot << 1 }
func judgeTimer(slot uint32) uint32 { return slot<<1 | 1 }

// state returns the detector's state of the peer in slot.
func (s *shard) state(slot uint32) []uint64 {
	c, i := s.table.at(slot)
	return s.table.detectorState(c, i)
}

// newShard returns shard number i, without its network.
func newShard(e *Engine, i int) *shard {
	s := &shard{
		engine:  e,
		table:   &e.table,
		number:  i,
		ring:    mustRing(ringbuf.NewMPSC[command](commandRing)),
		letters: mustRing(ringbuf.NewMPSC[letter](letterRing)),
		stash:   mustRing(ringbuf.NewSPSC[uint32](stashSize)),
		wheel:   timer.New(wheelShift, 0),
		grid:    grid(e.cfg.Period),
	}
	s.learners.learner, _ = e.table.detector.(detect.Learner)
	if e.cfg.Keys != nil {
		s.auth = wire.NewAuthenticator()
	}
	return s
}

// forget resets the detector of the peer in slot, and its published summary: a new peer or session is
// not judged by the heartbeats of an earlier one.
func (s *shard) forget(slot uint32) {
	state := s.state(slot)
	s.table.detector.Reset(state)
	s.showSummary(slot, state)
}
