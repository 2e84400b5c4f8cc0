package engine

import (
	"sync/atomic"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/internal/udp"
	"systole/ringbuf"
	"systole/wire"
)

// The table holds every peer of the engine in chunks that never move, without a
// pointer for the collector to walk. A slot is an index into it. Each slot has one
// owner: the goroutine in AddPeer that has just taken it from the free list, then,
// handed over through a command ring, a shard. Only fields of type ringbuf.Word and
// the two windows are read by others.

const (
	chunkBits  = 8
	chunkPeers = 1 << chunkBits
	maxChunks  = 1 << 12
	maxPeers   = chunkPeers * maxChunks
)

// peer is everything the engine keeps of one peer, apart from the detector's state,
// the two windows and, with keys, the peer's authentication state.
type peer struct {
	// Published: the owner writes, anybody reads. See verdict.go for the first three.
	status  ringbuf.Word // generation, state, from, cause
	version ringbuf.Word // twice the number of transitions, odd while one is written
	decided ringbuf.Word // clock.Instant of the last transition
	level   ringbuf.Word // math.Float64bits of the suspicion at the last transition
	owner   ringbuf.Word // the number of the owning shard, plus 1; 0: none

	sent       ringbuf.Word // the last sequence handed to the kernel
	sentFrom   ringbuf.Word // the sequence before the first: see Engine.sequences
	received   ringbuf.Word // heartbeats accepted
	lostIn     ringbuf.Word // sequences of the peer that never came
	lostOut    ringbuf.Word // sequences of ours that the peer says never came
	odd        ringbuf.Word // duplicated<<32 | reordered
	missed     ringbuf.Word // our heartbeats skipped or refused by the kernel
	mistakes   ringbuf.Word // suspicions taken back
	watched    ringbuf.Word // ns between heartbeats, added up
	lastSent   ringbuf.Word // clock.Instant of the last heartbeat the kernel took
	remote     ringbuf.Word // the peer's period, µs <<32 | ours to it, µs
	progress   ringbuf.Word // the peer application's counter
	known      ringbuf.Word // the peer's id
	life       ringbuf.Word // the peer's incarnation
	pathBase   ringbuf.Word // least arrival - send lately, of two generations
	roundTrips ringbuf.Word // smoothed round trip, ns <<32 | least, ns
	// What this node's own faults take off the evidence; see Summary.
	pausedBefore ringbuf.Word // the shard's sum of own pauses at the newest arrival, ns
	graceTo      ringbuf.Word // clock.Instant before which there is no verdict

	peerOwned
}

// peerOwned is the part of a peer that its owner alone touches.
type peerOwned struct {
	// Receiving.
	arrival       clock.Instant // of the newest heartbeat
	replay        wire.ReplayWindow
	firstSeq      uint64 // the first heartbeat of this life that came
	candidate     uint64 // a greater incarnation that has not yet proved to hear us
	candidateSeq  uint64
	candidateAt   clock.Instant
	overLife      uint64        // the incarnation of who had this address before, and was failed or had left
	answeredAt    clock.Instant // last answer to a candidate
	nextPathBase  int64         // least arrival - send of the present generation
	drops         uint32        // the shard's count of overflows when this peer was last read
	late          uint32        // sender's lateness of the newest heartbeat, ns
	network       uint32        // its delay above pathBase, ns
	read          uint32        // its wait between stamp and read, ns
	minPeriod     uint32        // the peer accepts no shorter period, µs
	slowed        uint32        // grid steps: a period announced but not yet acknowledged; 0: none
	pathSamples   uint16        // of the generation of nextPathBase
	flags         peerFlags
	theirVerdict  wire.Verdict
	extensions    uint8 // of the deadline, for overflows
	solicitations uint8 // sent in this silence
	freeKicks     uint8 // heartbeats of a handshake that need no gap

	// Judging. The timer of judgeTimer(slot) is armed at or before checkAt.
	checkAt   clock.Instant // next look at this peer
	timerAt   clock.Instant // when the judge timer is armed; 0: it is not
	suspectAt clock.Instant // the detector's deadline for tempFail
	failAt    clock.Instant // and for permFail

	// Sending.
	nextSend    clock.Instant    // the schedule, without lateness
	takenBefore clock.Instant    // lastSent before this turn
	period      int64            // ns, in force
	slowedSeq   uint32           // the sequence that announced a slower period, low half; 0: none yet
	refusedSeq  uint32           // last sequence sent when the port first refused, low half
	sentAt      [sentRing]uint32 // low 32 bits of the send instants in units of 64 ns
	socket      uint8
	class       uint8 // see PeerConfig.Class
	_           [2]byte
	lostBefore  uint32 // lostIn, in former lives
	overID      uint32 // the low half of the id that overLife is of
	wanted      uint32 // µs, the period that the configuration asks for
	generation  uint32
	addr        udp.Addr
}

// counts returns the published words that start from 0 with every new peer.
func (p *peer) counts() []*ringbuf.Word {
	return []*ringbuf.Word{
		&p.decided, &p.level, &p.owner, &p.sent, &p.sentFrom, &p.received, &p.lostIn, &p.lostOut, &p.odd, &p.missed,
		&p.mistakes, &p.watched, &p.lastSent, &p.remote, &p.progress, &p.known, &p.life, &p.pathBase, &p.roundTrips,
		&p.pausedBefore, &p.graceTo,
	}
}

// sentRing is how many send instants are kept: echoes older than that many heartbeats
// give no round trip.
const sentRing = 8

// sentUnit is the unit of sentAt, as a shift: 64 ns, so that 32 bits last 4.5 minutes.
const sentUnit = 6

// peerFlags are facts about a peer that are either so or not.
type peerFlags uint16

const (
	flagPinned     peerFlags = 1 << iota // the id was given, not learned
	flagAdmitted                         // a stranger that Accept let in
	flagProven                           // an admitted stranger has proved that it hears us
	flagLinkGone                         // our side has no way to it
	flagLinkDown                         // the interface towards it was down when last asked
	flagNamed                            // given by name; addr may be unset
	flagAwaited                          // registered by address for an unknown id
	flagLeaving                          // we are saying goodbye to it
	flagKick                             // send at once
	flagDegraded                         // the peer says that it is degraded
	flagPlanned                          // its period is the one that the promise takes
	flagHandedOver                       // and not yet taken in: see handover.go
	flagRefused                          // its port was unreachable once in this silence
	flagSucceeded                        // another process has its address; life is unproven's
)

// chunk is chunkPeers peers and their slabs.
type chunk struct {
	peers     [chunkPeers]peer
	samples   []ringbuf.Word // windows of the last heartbeats
	summaries []ringbuf.Word // windows of the detector's summary
	detectors []uint64
	auth      []authState // empty without keys
}

// table is the chunks and the shape of their slabs.
type table struct {
	chunks   [maxChunks]atomic.Pointer[chunk]
	samples  ringbuf.Layout
	summary  ringbuf.Layout
	words    int // of detector state
	keyed    bool
	detector detect.Detector
}

// sampleWords is the size of one record of the window of heartbeats: see sample.go.
const sampleWords = 4

// at returns the chunk of slot and the place in it. The slot was handed out before,
// so the chunk is there.
func (t *table) at(slot uint32) (*chunk, uint32) {
	return t.chunks[slot>>chunkBits].Load(), slot & (chunkPeers - 1)
}

// peer returns the peer in slot.
func (t *table) peer(slot uint32) *peer {
	c, i := t.at(slot)
	return &c.peers[i]
}

// detectorState returns the detector's words of place i.
func (t *table) detectorState(c *chunk, i uint32) []uint64 {
	return c.detectors[int(i)*t.words : int(i+1)*t.words]
}

// sampleWindow returns the window of heartbeats of place i.
func (t *table) sampleWindow(c *chunk, i uint32) []ringbuf.Word {
	n := t.samples.Size()
	return c.samples[int(i)*n : int(i+1)*n]
}

// summaryWindow returns the window of detector summaries of place i.
func (t *table) summaryWindow(c *chunk, i uint32) []ringbuf.Word {
	n := t.summary.Size()
	return c.summaries[int(i)*n : int(i+1)*n]
}

// extend adds the chunk that holds slot.
func (t *table) extend(slot uint32) {
	c := &chunk{
		samples:   make([]ringbuf.Word, chunkPeers*t.samples.Size()),
		summaries: make([]ringbuf.Word, chunkPeers*t.summary.Size()),
		detectors: make([]uint64, chunkPeers*t.words),
	}
	if t.keyed {
		c.auth = make([]authState, chunkPeers)
	}
	t.chunks[slot>>chunkBits].Store(c)
}
