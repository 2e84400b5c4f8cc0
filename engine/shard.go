package engine

import (
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/internal/network"
	"systole/engine/internal/timer"
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
	index  index
	ring   *ringbuf.MPSC[command]
	// What other shards read that is about peers of this one.
	refusals *ringbuf.MPSC[refusal]

	// Of the present turn.
	reading    clock.Reading
	now        clock.Instant // reading.Now
	drained    clock.Instant // everything that arrived until then has been read
	sure       clock.Instant // the same, even if an error cut the last batch short
	sureAsked  bool          // the sockets were asked whether one did
	readAsked  bool          // an interpreter wants the sockets read
	unfinished bool          // a bound was reached: turn again at once
	dropsAsked bool          // the sockets were asked for their drops in this turn
	stamped    bool          // the present datagram has a kernel's stamp

	// Across turns.
	previous    clock.Reading // of the turn before
	wakeAt      clock.Instant // when the turn before wanted the next one
	lastRead    clock.Instant // when the sockets were last read empty
	lastSure    clock.Instant // and up to when for certain
	failedAt    clock.Instant // when one could not be read last
	grid        time.Duration // the raster of sends
	incarnated  uint64        // the engine's incarnation as of this turn
	alive       int           // peers of this shard that are alive or one-way
	admitted    int           // peers of this shard that are strangers that Accept let in
	linksGone   int           // peers that our side has no way to
	suspended   time.Duration // of the machine, in all, as of suspendedAt
	suspendedAt clock.Instant
	collidedAt  clock.Instant // last IDCollision published
	drops       uint32        // datagrams the kernel dropped before we read them
	leaving     leaving
	work        work
	pause       pauses
	silences    silences
	pupils      pupils
	tokens      bucket         // admissions
	periods     [Classes]int64 // of heartbeats, ns, as planned; 0: as configured
	revisions   uint64         // of periods
	unpassed    []passed       // commands for other shards whose rings were full
	unfreed     []uint32       // slots released in this turn, or that the full ring did not take

	// Scratch, reused for ever.
	in           wire.Header
	out          wire.Header
	beat         detect.Heartbeat
	recorded     recording.Heartbeat
	auth         *wire.Authenticator
	keys         *wire.KeyRing // as of this turn
	subkey       wire.Subkey
	own          authState // to sign with
	expired      [timersPerTurn]uint32
	commandBatch [64]command
	refusal      [1]refusal
	stash        *ringbuf.SPSC[uint32] // free slots for admitted strangers

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
	// wheelShift is the wheel's tick, 2^16 ns = 66 µs: the raster of deadlines. Waking
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

// period returns the send period that p announced, or, before it did, ours.
func (s *shard) period(p *peer) time.Duration {
	if us := p.remote.Get() >> 32; us != 0 {
		return time.Duration(us) * time.Microsecond
	}
	return time.Duration(p.period)
}
