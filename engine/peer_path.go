// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"encoding/binary"
	"hash/maphash"
	"time"

	"systole/engine/internal/network"
	"systole/engine/internal/udp"
	"systole/ringbuf"
)

// path is where a peer is, the local socket and source by which it is reached, and what the way
// costs.
type path struct {
	shown [addrWords]ringbuf.Word // the address, published; the last word has a version
	base  ringbuf.Word            // least arrival - send lately, of two generations
	trips ringbuf.Word            // smoothed round trip <<32 | least lately, in units of 64 ns

	nextBase int64  // least arrival - send of the present generation
	trial    uint64 // the discriminator that was sent to trying, and to nobody else
	nextTrip uint32 // least round trip of the present generation, in units of 64 ns; 0: none
	late     uint32 // sender's lateness of the newest heartbeat, ns
	network  uint32 // its delay above base, ns
	read     uint32 // its wait between stamp and read, ns
	trying   uint32 // a source address that has yet to answer, see hashAddr; 0: none
	samples  uint16 // of the present generation
	epoch    uint16 // of the routes by which socket was chosen, the low half
	socket   uint8  // network.NoSocket: none has its family
	source   uint8  // see network.Network
	fault    Cause  // why the kernel last refused a heartbeat, or OwnNode; NoCause: it did not
	class    uint8  // of the peers whose ways are counted together: see PeerConfig.Class
	linkDown bool   // the interface towards it was down when last asked
	named    bool   // a name gives the address; it may be unset
	moved    bool   // the peer is elsewhere than the configuration has it: see shard.homes
}

// addrWords holds an address and, in the low half of the last word, a version.
const addrWords = 4

// begin starts a path that knows nothing, in a class.
func (q *path) begin(class uint8) {
	q.base.Set(0)
	q.trips.Set(0)
	q.place(&udp.Addr{})
	q.moved = false
	q.nextBase, q.nextTrip, q.samples = 0, 0, 0
	q.late, q.network, q.read = 0, 0, 0
	q.socket, q.source, q.fault, q.linkDown, q.named = network.NoSocket, network.AnySource, NoCause, false, false
	q.classify(class)
}

// classify puts the peer into a class.
func (q *path) classify(class uint8) { q.class = class }

// renew forgets what the way cost, for another process or another way.
func (q *path) renew() { q.nextBase, q.nextTrip, q.samples = 0, 0, 0 }

// place publishes an address. Readers see the version change before and after the rest.
func (q *path) place(a *udp.Addr) {
	words := packAddr(a)
	version := uint32(q.shown[addrWords-1].Get())
	q.shown[addrWords-1].Set(words[addrWords-1] | uint64(version+1))
	for i := range addrWords - 1 {
		q.shown[i].Set(words[i])
	}
	q.shown[addrWords-1].Set(words[addrWords-1] | uint64(version+2))
	q.trying = 0
}

// leave notes whether the peer is elsewhere than the configuration has it.
func (q *path) leave(home bool) { q.moved = home }

// addr returns the owner's view of the address; zero: not known yet.
func (q *path) addr() (a udp.Addr) {
	var words [addrWords]uint64
	for i := range words {
		words[i] = q.shown[i].Get()
	}
	unpackAddr(&words, &a)
	return a
}

// readAddr returns the address to any goroutine; false if the owner wrote all the while.
func (q *path) readAddr() (a udp.Addr, ok bool) {
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
func packAddr(a *udp.Addr) (words [addrWords]uint64) {
	var b [8 * addrWords]byte
	copy(b[:], a[:])
	for i := range words {
		words[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return words
}

// unpackAddr is the inverse of packAddr.
func unpackAddr(words *[addrWords]uint64, a *udp.Addr) {
	var b [8 * addrWords]byte
	for i, w := range words {
		binary.BigEndian.PutUint64(b[8*i:], w)
	}
	copy(a[:], b[:])
}

// via sets the socket and the source by which the peer is reached.
func (q *path) via(socket, source uint8) { q.socket, q.source = socket, source }

// asOf notes the epoch of the routes by which the socket was chosen.
func (q *path) asOf(epoch uint32) { q.epoch = uint16(epoch) }

// isNamed notes that a name gives the address.
func (q *path) isNamed() { q.named = true }

// try notes that a is to be tried with a discriminator, unless it is already, and returns the one to try
// it with.
func (q *path) try(a *udp.Addr, trial uint64) uint64 {
	if h := hashAddr(a); q.trying != h {
		q.trying, q.trial = h, trial
	}
	return q.trial
}

// answered reports whether a datagram from an address answers the trial that went there.
func (q *path) answered(from *udp.Addr, your uint64) bool {
	return q.trying != 0 && q.trial == your && q.trying == hashAddr(from)
}

// hashAddr stands for an address that has only to be told again: it is smaller. Nobody knows the
// seed, so nobody finds two addresses with one hash.
func hashAddr(a *udp.Addr) uint32 { return max(uint32(maphash.Bytes(addrSeed, a[:])), 1) }

var addrSeed = maphash.MakeSeed()

// refuse notes why the kernel does not take heartbeats to the peer, and reports whether that is new.
func (q *path) refuse(why Cause) bool {
	was := q.fault
	q.fault = why
	return was != why
}

// down notes whether the interface towards the peer is down, and reports whether it was.
func (q *path) down(is bool) (was bool) {
	was, q.linkDown = q.linkDown, is
	return was
}

// pathSampleRun is how many heartbeats a generation of the least times lasts.
const pathSampleRun = 256

// arrived takes the times of a heartbeat. Its way is its arrival on our clock less its send instant
// on the sender's: the unknown difference of the clocks is in it and in the least way as well, and
// cancels; two generations let their skew age out.
func (q *path) arrived(way int64, late uint32, read time.Duration) {
	base := int64(q.base.Get())
	if q.samples == 0 && q.nextBase == 0 {
		base, q.nextBase = way, way
	}
	q.nextBase = min(q.nextBase, way)
	base = min(base, way)
	if q.samples++; q.samples == pathSampleRun {
		base, q.nextBase, q.samples = min(q.nextBase, way), way, 1
		q.nextGeneration()
	}
	q.base.Set(uint64(base))
	q.late, q.network, q.read = late, saturate32(time.Duration(way-base)), saturate32(read)
}

// nextGeneration lets the least round trip age.
func (q *path) nextGeneration() {
	if q.nextTrip != 0 {
		q.trips.Set(q.trips.Get()>>32<<32 | uint64(q.nextTrip))
		q.nextTrip = 0
	}
}

// trip takes a round trip. The gain of 1/8 is RFC 6298's.
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

// leastTrip returns the least round trip lately, 0 if none was measured.
func (q *path) leastTrip() time.Duration { return time.Duration(uint32(q.trips.Get())) << sentUnit }

// measured fills s.
func (q *path) measured(s *PeerStats) {
	trips := q.trips.Load()
	s.RoundTrip, s.LeastRoundTrip = time.Duration(trips>>32)<<sentUnit, time.Duration(uint32(trips))<<sentUnit
}
