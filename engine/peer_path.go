// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"encoding/binary"
	"hash/maphash"
	"time"

	"systole/engine/internal/network"
	"systole/engine/internal/oneway"
	"systole/ringbuf"
)

// path is the peer's address, the local socket and source by which it is reached, and the delays
// measured between both.
type path struct {
	shown [addrWords]ringbuf.Word // the address, published; the last word has a version
	trips ringbuf.Word            // smoothed round trip <<32 | least lately, in units of 64 ns

	way  oneway.Estimator
	line oneway.Line // least arrival - send, moved by way

	trial    uint64 // the discriminator of the trial, sent to trying and nowhere else
	nextTrip uint32 // least round trip of the present generation, in units of 64 ns; 0: none
	network  uint32 // delay of the newest heartbeat above line, ns
	trying   uint32 // hashAddr of the address on trial; 0: none
	samples  uint16 // of the present generation
	epoch    uint16 // low half of the routes' epoch when socket was chosen
	socket   uint8  // network.NoSocket: no socket has the family of the address
	source   uint8  // see network.Network
	fault    Cause  // why heartbeats cannot be sent to the peer, or reach no peer; NoCause: they do
	class    uint8  // peers with paths alike; see PeerConfig.Class
	linkDown bool   // the interface towards the peer was down when last asked
	named    bool   // a name gives the address; it may be unset
	moved    bool   // the peer is away from its home; see move.go
}

// addrWords words hold an address and, in the low half of the last word, a version.
const addrWords = 4

// begin resets the path for a new peer of a class.
func (q *path) begin(class uint8) {
	q.trips.Set(0)
	q.place(&network.Addr{})
	q.moved = false
	q.renew()
	q.network = 0
	q.socket, q.source, q.fault, q.linkDown, q.named = network.NoSocket, network.AnySource, NoCause, false, false
	q.classify(class)
}

// classify sets the peer's class.
func (q *path) classify(class uint8) { q.class = class }

// renew forgets the measured delays, which were those of another process or another path.
func (q *path) renew() {
	q.way, q.line, q.nextTrip, q.samples = oneway.Estimator{}, oneway.Line{}, 0, 0
}

// place publishes an address and ends any trial. The version changes before and after the other words.
func (q *path) place(a *network.Addr) {
	words := packAddr(a)
	version := uint32(q.shown[addrWords-1].Get())
	q.shown[addrWords-1].Set(words[addrWords-1] | uint64(version+1))
	for i := range addrWords - 1 {
		q.shown[i].Set(words[i])
	}
	q.shown[addrWords-1].Set(words[addrWords-1] | uint64(version+2))
	q.trying = 0
}

// leave sets whether the peer is away from its home.
func (q *path) leave(away bool) { q.moved = away }

// addr returns the owner's view of the address, zero while unknown.
func (q *path) addr() (a network.Addr) {
	var words [addrWords]uint64
	for i := range words {
		words[i] = q.shown[i].Get()
	}
	unpackAddr(&words, &a)
	return a
}

// isAt reports whether a is the address.
func (q *path) isAt(a *network.Addr) bool {
	words := packAddr(a)
	for i := range addrWords - 1 {
		if q.shown[i].Get() != words[i] {
			return false
		}
	}
	return q.shown[addrWords-1].Get()>>32 == words[addrWords-1]>>32 // without the version
}

// readAddr returns the address. Any goroutine may call it. It reports false if the owner kept
// changing the address.
func (q *path) readAddr() (a network.Addr, ok bool) {
	for range verdictTries {
		var words [addrWords]uint64
		last := q.shown[addrWords-1].Load()
		for i := range addrWords - 1 {
			words[i] = q.shown[i].Load()
		}
		if words[addrWords-1] = last; last&1 == 0 && q.shown[addrWords-1].Load() == last {
			unpackAddr(&words, &a)
			return a, true
		}
	}
	return a, false
}

// packAddr returns the words of an address, the version 0.
func packAddr(a *network.Addr) (words [addrWords]uint64) {
	var b [8 * addrWords]byte
	copy(b[:], a[:])
	for i := range words {
		words[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return words
}

// unpackAddr is the inverse of packAddr.
func unpackAddr(words *[addrWords]uint64, a *network.Addr) {
	var b [8 * addrWords]byte
	for i, w := range words {
		binary.BigEndian.PutUint64(b[8*i:], w)
	}
	copy(a[:], b[:])
}

// via sets the socket and the source by which the peer is reached.
func (q *path) via(socket, source uint8) { q.socket, q.source = socket, source }

// asOf records the epoch of the routes by which the socket was chosen.
func (q *path) asOf(epoch uint32) { q.epoch = uint16(epoch) }

// isNamed records that a name gives the address.
func (q *path) isNamed() { q.named = true }

// try puts an address on trial with a discriminator, unless it is on trial already, and returns the
// discriminator of its trial.
func (q *path) try(a *network.Addr, trial uint64) uint64 {
	if h := hashAddr(a); q.trying != h {
		q.trying, q.trial = h, trial
	}
	return q.trial
}

// answered reports whether a datagram with our discriminator your answers the trial of its source.
func (q *path) answered(from *network.Addr, your uint64) bool {
	return q.trying != 0 && q.trial == your && q.trying == hashAddr(from)
}

// hashAddr stands for an address in 32 bits, where it is only compared. The seed is random and
// secret, so nobody can search for two addresses with one hash.
func hashAddr(a *network.Addr) uint32 { return max(uint32(maphash.Bytes(addrSeed, a[:])), 1) }

var addrSeed = maphash.MakeSeed()

// refuse sets why heartbeats cannot be sent to the peer, and reports whether that is new.
func (q *path) refuse(why Cause) bool {
	was := q.fault
	q.fault = why
	return was != why
}

// down sets whether the interface towards the peer is down, and returns the former value.
func (q *path) down(is bool) (was bool) {
	was, q.linkDown = q.linkDown, is
	return was
}

// pathSampleRun is how many heartbeats a generation of least round trips lasts.
const pathSampleRun = 256

// arrived records the delay of a heartbeat.
func (q *path) arrived(h *oneway.Heartbeat) {
	if q.samples++; q.samples == pathSampleRun {
		q.samples = 1
		q.nextGeneration()
	}
	q.network = saturate32(q.way.Arrived(&q.line, h))
}

// unmeasured records that the delay of a heartbeat is not known.
func (q *path) unmeasured() { q.network = 0 }

// nextGeneration replaces the least round trip by that of the last generation.
func (q *path) nextGeneration() {
	if q.nextTrip != 0 {
		q.trips.Set(q.trips.Get()>>32<<32 | uint64(q.nextTrip))
		q.nextTrip = 0
	}
}

// trip records a round trip. The gain of 1/8 is that of RFC 6298.
func (q *path) trip(d time.Duration) {
	sample := max(saturate32(d>>sentUnit), 1)
	packed := q.trips.Get()
	smoothed, least := uint32(packed>>32), uint32(packed)
	if packed == 0 {
		smoothed, least = sample, sample
	}
	smoothed = uint32((7*uint64(smoothed) + uint64(sample)) / 8)
	if q.nextTrip == 0 || sample < q.nextTrip {
		q.nextTrip = sample
	}
	q.trips.Set(uint64(smoothed)<<32 | uint64(min(least, sample)))
}

// roundTrip returns the smoothed round trip, 0 if none was measured.
func (q *path) roundTrip() time.Duration { return time.Duration(q.trips.Get()>>32) << sentUnit }

// leastTrip returns the least round trip of the last two generations, 0 if none was measured.
func (q *path) leastTrip() time.Duration { return time.Duration(uint32(q.trips.Get())) << sentUnit }

// measured fills s.
func (q *path) measured(s *PeerStats) {
	trips := q.trips.Load()
	s.RoundTrip, s.LeastRoundTrip = time.Duration(trips>>32)<<sentUnit, time.Duration(uint32(trips))<<sentUnit
}
