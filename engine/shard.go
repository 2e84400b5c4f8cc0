package engine

import (
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/internal/book"
	"systole/engine/internal/network"
	"systole/engine/internal/timer"
	"systole/engine/recording"
	"systole/ringbuf"
	"systole/wire"
)

// shard is an owner loop with its sockets, its part of the peer table, its timers and its buffers. Only
// its goroutine uses a shard, except the rings and the fields of types from package ringbuf.
type shard struct {
	engine  *Engine
	table   *table
	number  int
	net     network.Network
	wheel   *timer.Wheel
	ring    *ringbuf.MPSC[command]
	letters *ringbuf.MPSC[letter] // from shards that received what concerns a peer of this one
	grid    time.Duration         // step of the grid of sends

	// Of the present turn.
	reading    clock.Reading
	now        clock.Instant // reading.Now
	span       uint64        // spanOf(now)
	drained    clock.Instant // all earlier arrivals have been read
	sure       clock.Instant // the same for certain: no error cut the last batch short
	sureAsked  bool          // the sockets were asked whether one did
	readAsked  bool          // Peer.Poll wants the sockets read
	dropsAsked bool          // the sockets were asked for their drops
	unfinished bool          // a bound was reached: turn again at once
	delays     Delays        // of the present datagram: Source, Host, Read
	cut        bool          // it arrived later than now, and counts as if it had arrived then

	// Of the previous turns.
	previous     clock.Reading // of the previous turn
	wakeAt       clock.Instant // when this turn was due
	lastRead     clock.Instant // when the sockets were last read empty
	lastSure     clock.Instant // the same for certain
	failedAt     clock.Instant // when a socket last failed to be read
	errorsAt     clock.Instant // when an error queue was last read
	suspended    time.Duration // total suspension of the machine, as of suspendedAt
	suspendedAt  clock.Instant
	collidedAt   clock.Instant              // last IDCollision with a process that has our id
	notedAt      [numRefusals]clock.Instant // last note for the log
	dropsAt      clock.Instant              // when the sockets were last asked for their drops
	drops        uint32                     // datagrams that the kernel dropped
	overflowAt   clock.Instant              // when drops last grew
	answered     uint64                     // sequence of the last stateless answer
	incarnated   uint64                     // Engine.incarnation as of this turn
	incarnatedAt clock.Instant              // when it changed; 0: never
	leaving      leaving
	cost         turnCost
	pause        pauses
	learners     learners
	carriers     []*Carrier // Engine.carriers as of this turn
	unfreed      []uint32   // slots of removed peers that AddPeer has not got yet

	// Peers that are alive or one-way, and the strangers among them.
	alive, aliveStrangers int
	linksGone             int // peers to which our side has no way
	// Silences of configured peers and of strangers.
	silences, silentStrangers silences

	// Authentication.
	auth         *wire.Authenticator
	keys         *wire.KeyRing // Engine.keys as of this turn
	keyEpoch     uint32        // number of changes of keys
	pairwise     bool          // keys has pairwise keys
	key          wire.Key      // scratch
	own, derived signer        // for our datagrams, and for those of senders without a peer

	// Strangers.
	stash *ringbuf.MPSC[uint32] // free slots; of shard 0 only
	spare uint32                // a slot popped from stash and not used yet
	homes map[uint32]home       // of peers that have moved, by slot

	// Scratch.
	in           wire.Header
	inBelow      wire.Header
	taken        [wire.MaxSize + 1]byte // a datagram of Config.Arrivals
	fromBelow    network.Addr           // where it came from
	out          wire.Header
	beat         detect.Heartbeat
	recorded     recording.Heartbeat
	at           network.Addr // a peer's address, as an argument
	expired      [timersPerTurn]uint32
	commandBatch [64]command
	letter       letter
	opened       [1]letter
	entries      []book.Entry
	message      messageRecord
	body         bodyRecord
	value        [MaxRoom]byte // of a message
	section      [MaxRoom]byte // messages of a heartbeat

	counters counters
	figures  figures // of all peers but strangers
	tallies  tallies // of the present turn, for figures
	shown    shownEvidence
}

const (
	// batchSize is the number of datagrams per system call.
	batchSize = network.BatchSize
	// batchesPerTurn bounds the batches read from a socket in one turn.
	batchesPerTurn = 8
	// timersPerTurn bounds the timers served in one turn.
	timersPerTurn = 2048
	// wheelShift sets the resolution of deadlines to 2^16 ns = 66 µs. Wake-ups are less exact.
	wheelShift = 16
)

// sendTimer and judgeTimer return the ids of the two timers of the peer in slot.
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
		stash:   mustRing(ringbuf.NewMPSC[uint32](stashSize)),
		wheel:   timer.New(wheelShift, 0),
		grid:    grid(e.cfg.Period),
	}
	s.learners.learner, _ = e.table.detector.(learner)
	if e.cfg.Keys != nil {
		s.auth = wire.NewAuthenticator()
	}
	return s
}

// forget resets the detector of the peer in slot, its published summary, its follow-ups and whether it is
// slow: a new peer or session is not judged by the heartbeats of an earlier one.
func (s *shard) forget(slot uint32) {
	p := s.table.peer(slot)
	p.slow.begin()
	p.verdict.flag(slowBit, false)
	state := s.state(slot)
	s.table.detector.Reset(state)
	s.showSummary(slot, state)
	s.table.forgetWaits(slot)
}
